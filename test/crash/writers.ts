/**
 * Applications that try to write to both clusters all the time, as if nobody had told them anything: on each cluster one on a connection
 * that it keeps for as long as it holds, and one that connects anew for every record. Each numbers its records; a number is used again
 * when the cluster has refused it, so a record that was written in spite of a refusal stands in the log twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '@platformatic/kafka';
import type { Acknowledgement } from '../../examples/demo/judge.ts';
import { encodeBatch } from '../../kafka/batches.ts';
import type { ClusterConfig } from '../../kafka/clusters.ts';
import { openConnection } from '../../kafka/login.ts';
import { inTheirVersion } from '../../kafka/versions.ts';
import { dropConnection, rawProduce } from '../../kafka/wire.ts';

/** A record that was taken, and the moment at which it was sent; `at` is when that was known. */
export interface Accepted extends Acknowledgement {
  readonly sentAt: number;
}

/** NOT_LEADER, REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS_AFTER_APPEND, ...: whatever is not a plain no may have been written. */
const refusals: ReadonlySet<number> = new Set([3, 29]);
const requestTimeoutMs = 5_000;

type How = 'old' | 'fresh';

export interface WritersSetup {
  readonly topic: string;
  readonly partitions: number;
  /** Logins of one application, by the cluster's name. */
  readonly clusters: Readonly<Record<'legacy' | 'next', ClusterConfig>>;
  /** A try begins this long after the last one began, or when that is over. */
  readonly everyMs: number;
}

export class Writers implements AsyncDisposable {
  readonly accepted: Accepted[] = [];
  refused = 0;
  /** Nobody can say whether they were written. */
  unclear = 0;
  /** Tries that are over, of each of the four. */
  readonly #tries = new Map<string, number>();
  readonly #setup: WritersSetup;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[];

  constructor(setup: WritersSetup) {
    this.#setup = setup;
    this.#running = (['legacy', 'next'] as const).flatMap((cluster) =>
      (['old', 'fresh'] as const).map((how) => this.#write(cluster, how)),
    );
  }

  /** Whether a cluster has taken records, on either kind of connection, that were sent since then. */
  takenBy(cluster: string, sinceMs: number): boolean {
    const lately = this.accepted.filter((one) => one.cluster === cluster && one.sentAt >= sinceMs);
    return (['old', 'fresh'] satisfies How[]).every((how) => lately.some(({ producer }) => producer.includes(how)));
  }

  /** True from when each of them has tried so many times more. */
  triedAgain(times: number): () => boolean {
    const wanted = [...this.#tries].map(([writer, tries]) => [writer, tries + times] as const);
    return () => wanted.every(([writer, tries]) => (this.#tries.get(writer) ?? 0) >= tries);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async #write(cluster: 'legacy' | 'next', how: How): Promise<void> {
    const { topic, partitions, everyMs } = this.#setup;
    let connection: Connection | null = null;
    let life = 0;
    let sequences = new Array<number>(partitions).fill(0);
    for (let turn = 0; !this.#stop.signal.aborted; turn++) {
      const began = performance.now();
      const partition = turn % partitions;
      const sequence = sequences[partition] ?? 0;
      const producer = `${cluster}-${how}-${life}`;
      const sentAt = performance.timeOrigin + performance.now();
      let sent = false;
      try {
        connection ??= await this.#connect(cluster);
        sent = true;
        const { code, baseOffset } = await writeNumbered(connection, { topic, partition, producer, sequence });
        if (code === 0) {
          const at = performance.timeOrigin + performance.now();
          this.accepted.push({
            at,
            sentAt,
            cluster,
            topic,
            partition,
            baseOffset,
            producer,
            firstSequence: sequence,
            count: 1,
          });
          sequences[partition] = sequence + 1;
          sent = false;
        } else if (refusals.has(code)) {
          this.refused++;
          sent = false;
        }
      } catch {
        if (connection) dropConnection(connection);
        connection = null;
      }
      if (sent) {
        // From here on it is another producer: the numbers of this one end with the record in doubt.
        this.unclear++;
        life++;
        sequences = new Array<number>(partitions).fill(0);
      }
      const writer = `${cluster}-${how}`;
      this.#tries.set(writer, (this.#tries.get(writer) ?? 0) + 1);
      if (how === 'fresh' && connection) {
        dropConnection(connection);
        connection = null;
      }
      await sleep(Math.max(0, began + everyMs - performance.now()), undefined, { signal: this.#stop.signal }).catch(
        () => undefined,
      );
    }
    if (connection) dropConnection(connection);
  }

  #connect(cluster: 'legacy' | 'next'): Promise<Connection> {
    return connectTo(this.#setup.clusters[cluster]);
  }
}

/** To the first broker of a cluster that has one. */
export function connectTo(config: ClusterConfig): Promise<Connection> {
  const [address = ''] = config.bootstrap;
  const [host = '', port] = address.split(':');
  const options = { clientId: 'crash-writer', requestTimeoutMs, connectTimeoutMs: requestTimeoutMs };
  return openConnection(config, options, host, Number(port));
}

export interface NumberedRecord {
  readonly topic: string;
  readonly partition: number;
  readonly producer: string;
  readonly sequence: number;
}

/** Writes one record; Kafka's error code, 0 where it was taken. */
export async function writeNumbered(
  connection: Connection,
  { topic, partition, producer, sequence }: NumberedRecord,
): Promise<{ readonly code: number; readonly baseOffset: string }> {
  const [answer] = await (await inTheirVersion(connection, rawProduce)).async(connection, {
    timeoutMs: requestTimeoutMs,
    topics: [{ topic, partitions: [{ partition, records: [numbered(producer, sequence)] }] }],
  });
  return { code: answer?.errorCode ?? -1, baseOffset: String(answer?.baseOffset) };
}

function numbered(producer: string, sequence: number): Buffer {
  const header = (key: string, value: string) => ({ key: Buffer.from(key), value: Buffer.from(value) });
  const value = Buffer.from(`${producer} ${sequence}`);
  const headers = [header('producer', producer), header('sequence', String(sequence))];
  return encodeBatch({ records: [{ timestamp: BigInt(Date.now()), key: value, value, headers }] }).bytes;
}
