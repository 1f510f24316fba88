/** What the tests of this folder share: both clusters, topics, and records written where and by whom a test says. */
import { after } from 'node:test';
import { deleteRecordsV2 } from '@platformatic/kafka';
import { encodeBatch } from '../../kafka/batches.ts';
import { Cluster } from '../../kafka/cluster.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import { kafkaError } from '../../kafka/kafka-errors.ts';
import { createTopic } from '../../kafka/topics.ts';
import { rawProduce } from '../../kafka/wire.ts';
import type { Clusters } from '../../migration/change.ts';
import { openStorage, type Storage } from '../../migration/storage.ts';

/** Both clusters under our own principal; closed when the file ends. */
export async function connectBoth(file: ClustersFile): Promise<Clusters> {
  const source = await Cluster.connect(file.cluster('legacy'));
  const target = await Cluster.connect(file.cluster('next'));
  after(() => Promise.all([source.close(), target.close()]));
  return { source, target };
}

/** A cluster client that cannot reach anything: what a process sees while the cluster is down. */
export async function disconnected(file: ClustersFile, name: string): Promise<Cluster> {
  const cluster = await Cluster.connect(file.cluster(name));
  await cluster.close();
  return cluster;
}

export async function createOnBoth(clusters: Clusters, name: string, partitions = 1): Promise<void> {
  for (const cluster of [clusters.source, clusters.target]) {
    await createTopic(cluster, { name, partitions, replicationFactor: 1, configs: {} });
  }
}

export interface Writing {
  readonly partition?: number;
  /** A producer without an id when left out. */
  readonly producerId?: bigint;
  readonly baseSequence?: number;
  /** Of the values; `v` by default. */
  readonly prefix?: string;
  /** Of the first record; the others follow by a millisecond each. */
  readonly fromMs?: bigint;
}

/** Writes one batch of numbered records with fixed timestamps, so that two logs can be made equal; gives its offset. */
export async function write(cluster: Cluster, topic: string, count: number, how: Writing = {}): Promise<bigint> {
  const { partition = 0, prefix = 'v', fromMs = 1_700_000_000_000n, ...producer } = how;
  const records = Array.from({ length: count }, (_, i) => ({
    timestamp: fromMs + BigInt(i),
    key: Buffer.from(`k${i}`),
    value: Buffer.from(`${prefix}${i}`),
  }));
  const deadline = Date.now() + 5_000;
  for (;;) {
    const leader = (await cluster.metadata([topic])).topics.get(topic)?.partitions[partition]?.leader ?? -1;
    const [answer] = await cluster.call({ broker: leader }, rawProduce, {
      timeoutMs: 10_000,
      topics: [{ topic, partitions: [{ partition, records: [encodeBatch({ records, ...producer }).bytes] }] }],
    });
    if (answer?.errorCode === 0) return answer.baseOffset;
    // The leader of a new topic may not know it yet.
    if (answer?.errorCode !== kafkaError.notLeaderOrFollower || Date.now() > deadline) {
      throw new Error(`not written: ${answer?.errorCode} ${answer?.errorMessage}`);
    }
  }
}

/** Moves the log's start, as DeleteRecords does. */
export async function deleteRecords(cluster: Cluster, topic: string, partition: number, offset: bigint): Promise<void> {
  const leader = (await cluster.metadata([topic])).topics.get(topic)?.partitions[partition]?.leader ?? -1;
  const partitions = [{ partitionIndex: partition, offset }];
  const answer = await cluster.call({ broker: leader }, deleteRecordsV2.api, [{ name: topic, partitions }], 10_000);
  const errorCode = answer.topics[0]?.partitions[0]?.errorCode;
  if (errorCode !== 0) throw new Error(`not deleted: ${errorCode}`);
}

/** Storage as another process would open it: nothing remembered. */
export const freshStorage = (clusters: Clusters): Storage => openStorage(clusters);

/** Storage in memory, for tests of what is decided and not of where it stands. */
export function memoryStorage(beforeEach: () => Promise<void> = async () => {}): Storage {
  const artifacts = new Map<string, Buffer>();
  return {
    degraded: null,
    async put(name, bytes) {
      await beforeEach();
      artifacts.set(name, bytes);
      return '';
    },
    async putAll(all) {
      await beforeEach();
      for (const { name, bytes } of all) artifacts.set(name, bytes);
      return all.map(() => '');
    },
    async get(name) {
      await beforeEach();
      const bytes = artifacts.get(name);
      return bytes ? { bytes, sha256: '' } : null;
    },
    async list(prefix) {
      await beforeEach();
      return [...artifacts.keys()].filter((name) => name.startsWith(prefix)).sort();
    },
    async getAll(prefix) {
      await beforeEach();
      const below = [...artifacts].filter(([name]) => name.startsWith(prefix));
      return below.map(([name, bytes]) => ({ name, bytes })).sort((a, b) => (a.name < b.name ? -1 : 1));
    },
  };
}
