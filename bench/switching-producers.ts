/**
 * Two producers of one application, which write all partitions at a steady rate and move when the webhook says so. Everything that waits is
 * sent in one request, one request at a time; what a cluster refuses is kept and sent again, unchanged, until one takes it.
 *
 * Started by rows/write-pause.ts with the settings of examples/demo/application.ts in its environment, APP_RATE and APP_VALUE_BYTES.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Message, Producer } from 'kafkajs';
import { connectProducer, listen, readSettings, type SwitchRequest, until } from '../examples/demo/application.ts';

/** What `GET /report` answers: of each producer, when each cluster in turn acknowledged its first and its last. */
export interface SwitchReport {
  readonly acknowledged: number;
  readonly refused: number;
  readonly stints: readonly (readonly Stint[])[];
}

export interface Stint {
  readonly cluster: string;
  /** Milliseconds since 1970. */
  readonly firstAt: number;
  lastAt: number;
}

const producersOfApplication = 2;
const tickMs = 10;
const retryPauseMs = 20;
/** Of one partition in one request, so that no batch is larger than a broker takes. */
const recordsMax = 500;
const moveTimeoutMs = 20_000;

const settings = readSettings();
const [topic = '', partitions = 1] = Object.entries(settings.topics)[0] ?? [];
const recordsPerSecond = Number(process.env.APP_RATE) / producersOfApplication;
const value = randomBytes(Number(process.env.APP_VALUE_BYTES));

class Application {
  readonly stints: Stint[] = [];
  acknowledged = 0;
  refused = 0;
  #cluster = settings.firstCluster;
  #producer: Producer | null = null;
  #waiting = 0;
  #next = 0;
  #batch: Message[][] = [];
  #sending = false;

  async start(): Promise<void> {
    this.#producer = await connectProducer(settings, this.#cluster, moveTimeoutMs);
    const began = performance.now();
    let made = 0;
    const timer = setInterval(() => {
      if (finishing) return clearInterval(timer);
      const due = Math.floor(((performance.now() - began) * recordsPerSecond) / 1_000);
      this.#waiting += due - made;
      made = due;
    }, tickMs);
    void this.#send();
  }

  /** Resolves when the cluster has acknowledged something. */
  async moveTo(cluster: string): Promise<void> {
    if (this.#cluster !== cluster) {
      const previous = this.#producer;
      this.#producer = null;
      await until('the last answer', moveTimeoutMs, () => !this.#sending);
      this.#cluster = cluster;
      this.#producer = await connectProducer(settings, cluster, moveTimeoutMs);
      previous?.disconnect().catch((error: Error) => console.error(error.message));
    }
    await until('an acknowledgement', moveTimeoutMs, () => this.stints.at(-1)?.cluster === cluster);
  }

  /** Resolves when nothing waits any more. */
  finished(): Promise<void> {
    return until('the last records', moveTimeoutMs, () => this.#waiting === 0 && this.#batch.length === 0);
  }

  async #send(): Promise<void> {
    for (;;) {
      if (this.#batch.length === 0) this.#batch = this.#take();
      const producer = this.#producer;
      if (!producer || this.#batch.length === 0) {
        await sleep(tickMs / 2);
        continue;
      }
      this.#sending = true;
      try {
        await producer.send({ topic, messages: this.#batch.flat(), acks: -1 });
        this.#acknowledge();
      } catch (error) {
        const { message, type } = error as Error & { type?: string };
        if (!type?.endsWith('_AUTHORIZATION_FAILED')) console.error(message);
        this.refused++;
      } finally {
        this.#sending = false;
      }
      if (this.#batch.length > 0) await sleep(retryPauseMs);
    }
  }

  #take(): Message[][] {
    const count = Math.min(this.#waiting, recordsMax * partitions);
    this.#waiting -= count;
    const batch: Message[][] = [];
    for (let n = 0; n < count; n++) {
      const partition = this.#next++ % partitions;
      const of = batch[partition];
      if (of) of.push({ value, partition });
      else batch[partition] = [{ value, partition }];
    }
    return batch;
  }

  #acknowledge(): void {
    const at = Date.now();
    const last = this.stints.at(-1);
    if (last?.cluster === this.#cluster) last.lastAt = at;
    else this.stints.push({ cluster: this.#cluster, firstAt: at, lastAt: at });
    this.acknowledged += this.#batch.flat().length;
    this.#batch = [];
  }
}

let finishing = false;
const applications = Array.from({ length: producersOfApplication }, () => new Application());
await listen({
  port: settings.port,
  webhookSecret: settings.webhookSecret,
  onWebhook: async ({ action, who, to }: SwitchRequest) => {
    if (who !== 'producers' || (action !== 'switch' && action !== 'rollback')) return;
    await Promise.all(applications.map((application) => application.moveTo(to)));
  },
  finish: async () => {
    finishing = true;
    await Promise.all(applications.map((application) => application.finished()));
  },
  report: (): SwitchReport => ({
    acknowledged: applications.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
    refused: applications.reduce((sum, { refused }) => sum + refused, 0),
    stints: applications.map(({ stints }) => stints),
  }),
});
await Promise.all(applications.map((application) => application.start()));
