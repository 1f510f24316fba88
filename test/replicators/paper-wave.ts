/** A wave without clusters, for replicators that ask nothing of Kafka: its topics, groups and names, as preflight would have found them. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { type ClustersFile, parseClusters } from '../../kafka/clusters.ts';
import { openStorage } from '../../migration/storage.ts';
import type { Wave } from '../../migration/wave.ts';
import type { Inquiry, Job, Leg } from '../../replicators/replicator.ts';

export interface Paper {
  readonly replicator: PlanInput['replicator'];
  readonly topics: Readonly<Record<string, number>>;
  readonly groups?: readonly string[];
  readonly plan?: Partial<PlanInput>;
  /** Under `replicators` in clusters.yaml. */
  readonly places?: object;
  readonly env?: Record<string, string>;
  readonly clusters?: object;
  /** Topics that the target has. */
  readonly targetTopics?: readonly string[];
  readonly transactional?: readonly string[];
  /** Of the target; by default there is one. */
  readonly authorizer?: boolean;
  readonly clusterIds?: { readonly source: string; readonly target: string };
  /** What the clusters answer, as far as a replicator asks. */
  readonly answers?: { readonly source?: object; readonly target?: object };
}

export interface OnPaper {
  readonly wave: Wave;
  readonly file: ClustersFile;
  readonly inquiry: Inquiry;
  leg(direction: Leg['direction']): Leg;
  /** What `run` is given; `end` tells it to. */
  job(direction: Leg['direction']): {
    readonly job: Job;
    readonly end: () => void;
    readonly progress: () => Progressed;
    readonly notes: () => readonly string[];
  };
}

type Progressed = Parameters<Job['onProgress']>[0];

export const sourcePassword = 'planted-source-password';

/** Of plan `orders`, wave `all`, from `legacy` to `next`. */
export function onPaper(paper: Paper): OnPaper {
  const plan = parsePlan({
    name: 'orders',
    source: 'legacy',
    target: 'next',
    topics: { include: ['.*'] },
    replicator: paper.replicator,
    ...paper.plan,
  });
  const env = { SOURCE_PASSWORD: sourcePassword, ...paper.env };
  const login = (username: string) => ({
    sasl: { mechanism: 'scram-sha-512', username, password: { env: 'SOURCE_PASSWORD' } },
  });
  const text = JSON.stringify({
    legacy: { bootstrap: 'legacy-1:9093', tls: {}, ...login('cutover'), forward: login('forward') },
    next: { bootstrap: 'next-1:9093', tls: {}, ...login('cutover'), reverse: login('reverse') },
    ...paper.clusters,
    ...(paper.places && { replicators: paper.places }),
  });
  const file = parseClusters(text, '/etc/clusters.yaml', env);
  const clusters = {
    source: { name: 'legacy', config: file.cluster('legacy'), ...paper.answers?.source },
    target: { name: 'next', config: file.cluster('next'), ...paper.answers?.target },
  };
  const topics = Object.entries(paper.topics).map(([name, partitions]) => ({
    name,
    partitions,
    topicId: `id-of-${name}`,
    replicationFactor: 3,
    configs: {},
  }));
  const groups = paper.groups ?? [];
  const { source = 'legacy-id', target = 'next-id' } = paper.clusterIds ?? {};
  const inventory = {
    structural: {
      sourceClusterId: source,
      targetClusterId: target,
      topics,
      groups: groups.map((group) => ({ group, type: 'classic' })),
      acls: [],
      quotas: [],
    },
    measured: {
      source: { authorizer: true },
      target: { authorizer: paper.authorizer ?? true },
    },
  };
  const facts = {
    targetTopics: Object.fromEntries((paper.targetTopics ?? []).map((name) => [name, {}])),
    transactional: Object.fromEntries((paper.transactional ?? []).map((name) => [name, 'a marker'])),
    inForce: {},
    shapes: [],
  };
  const wave = {
    plan,
    migration: plan.name,
    wave: 'all',
    clusters,
    beforeSend: () => {},
    storage: openStorage({ directory: mkdtempSync(join(tmpdir(), 'kafka-cutover-paper-')) }),
    inventory,
    whole: inventory,
    topics,
    topicNames: topics.map(({ name }) => name),
    partitions: topics.flatMap(({ name, partitions }) =>
      Array.from({ length: partitions }, (_, partition) => ({ topic: name, partition })),
    ),
    groups,
    ours: {
      source: { own: 'User:cutover', forward: 'User:forward', reverse: 'User:reverse' },
      target: { own: 'User:cutover', forward: 'User:forward', reverse: 'User:reverse' },
    },
  } as unknown as Wave;
  const leg = (direction: Leg['direction']): Leg => ({ wave, direction, file, signal: new AbortController().signal });
  return {
    wave,
    file,
    inquiry: { plan, file, clusters, inventory, facts, running: false } as unknown as Inquiry,
    leg,
    job(direction) {
      const ending = new AbortController();
      let latest: Progressed = [];
      let noted: readonly string[] = [];
      const job: Job = {
        ...leg(direction),
        signal: ending.signal,
        shard: 0,
        shards: 1,
        weights: null,
        maxBytesPerSecond: 0,
        mirrorPair: () => Promise.reject(new Error('not ours to connect')),
        onProgress: (partitions, notes = []) => {
          latest = partitions;
          noted = notes;
        },
      };
      return { job, end: () => ending.abort(), progress: () => latest, notes: () => noted };
    },
  };
}

/** Told to end, it returns, or says that it was told to in the middle of a request. */
export async function endOf(running: Promise<void>): Promise<void> {
  await running.catch((error: Error) => {
    if (error.name !== 'AbortError') throw error;
  });
}
