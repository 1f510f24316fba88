/**
 * An application that writes in transactions and never stops: every third one is aborted. When it is denied it gives up, as
 * Java's producer does, and goes on where it is pointed at next; after anything else it begins again with a new producer.
 */
import type { Kafka, Producer } from 'kafkajs';
import { waitFor } from './waiting.ts';

const recordsEach = 4;
const pauseMs = 20;
const stoppedTimeoutMs = 60_000;

export interface Written {
  readonly cluster: string;
  readonly value: string;
}

export class TransactionalWriter {
  /** Acknowledged as committed. */
  readonly committed: Written[] = [];
  /** Of transactions whose commit was asked for and not answered. */
  readonly unknown: Written[] = [];
  /** Why it stands still; null while it writes. */
  standing: string | null = null;
  readonly #topic: string;
  readonly #partitions: number;
  readonly #transactionalId: string;
  #running: Promise<void> = Promise.resolve();
  #stop = false;
  #number = 0;

  constructor(topic: string, partitions: number) {
    this.#topic = topic;
    this.#partitions = partitions;
    this.#transactionalId = `tx-${topic}`;
  }

  /** Writes to a cluster from now on, until it is denied or stopped. */
  writeTo(cluster: string, application: Kafka): void {
    this.standing = null;
    this.#stop = false;
    this.#running = this.#goOn(cluster, application);
  }

  async stop(): Promise<void> {
    this.#stop = true;
    await this.#running;
  }

  committedOn(cluster: string): number {
    return this.committed.filter((one) => one.cluster === cluster).length;
  }

  /** Waits until it was denied. */
  denied(): Promise<unknown> {
    return waitFor('the writer to be denied', stoppedTimeoutMs, () => this.standing !== null);
  }

  async #goOn(cluster: string, application: Kafka): Promise<void> {
    while (!this.#stop && this.standing === null) {
      try {
        await this.#write(cluster, application);
      } catch (error) {
        if (/not authorized|AUTHORIZATION_FAILED/i.test(String(error))) this.standing = String(error);
        else await new Promise((done) => setTimeout(done, pauseMs));
      }
    }
  }

  async #write(cluster: string, application: Kafka): Promise<void> {
    const producer: Producer = application.producer({
      transactionalId: this.#transactionalId,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    try {
      while (!this.#stop) {
        await this.#transaction(cluster, producer);
        await new Promise((done) => setTimeout(done, pauseMs));
      }
    } finally {
      await producer.disconnect().catch(() => {});
    }
  }

  async #transaction(cluster: string, producer: Producer): Promise<void> {
    const number = this.#number++;
    const written = Array.from({ length: recordsEach }, (_, i) => ({ cluster, value: `${cluster}-${number}-${i}` }));
    const transaction = await producer.transaction();
    let committing = false;
    try {
      const messages = written.map(({ value }, i) => ({ key: `k${i}`, value, partition: i % this.#partitions }));
      await transaction.send({ topic: this.#topic, messages });
      if (number % 3 === 2) {
        await transaction.abort();
        return;
      }
      committing = true;
      await transaction.commit();
      this.committed.push(...written);
    } catch (error) {
      if (committing) this.unknown.push(...written);
      else await transaction.abort().catch(() => {});
      throw error;
    }
  }
}
