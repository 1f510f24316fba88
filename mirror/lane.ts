/** The way to one broker that is written to: a connection that is opened when something waits for it. */
import type { Connection } from '@platformatic/kafka';
import type { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { toCutoverError } from '../kafka/kafka-errors.ts';
import { dropConnection } from '../kafka/wire.ts';
import type { Partition } from './partition.ts';

/** How long the broker may wait for in-sync replicas. Below the client's own limit, so that the answer is the broker's. */
export const produceTimeoutMs = 10_000;

export class Lane {
  readonly into: Cluster;
  readonly brokerId: number;
  /** They have something to send. */
  readonly waiting = new Set<Partition>();
  connection: Connection | undefined;
  opening = false;
  /** Requests under way. */
  requests = 0;

  constructor(into: Cluster, brokerId: number) {
    this.into = into;
    this.brokerId = brokerId;
  }

  get where(): string {
    return `cluster ${this.into.name}, broker ${this.brokerId}`;
  }

  /** Opens the connection, then sends; where there is none, nobody waits any more. */
  async open(then: {
    readonly stopped: () => boolean;
    readonly send: () => void;
    readonly onUnreachable: (partition: Partition, error: CutoverError) => void;
  }): Promise<void> {
    this.opening = true;
    try {
      this.connection = await this.into.open(this.brokerId);
      this.opening = false;
      if (then.stopped()) dropConnection(this.connection);
      else then.send();
    } catch (error) {
      this.opening = false;
      const failure = toCutoverError(error, this.where);
      const waiting = [...this.waiting];
      this.waiting.clear();
      for (const partition of waiting) then.onUnreachable(partition, failure);
    }
  }

  /** The connection is in doubt; what was sent on it may still arrive. */
  drop(connection: Connection): void {
    dropConnection(connection);
    if (this.connection === connection) this.connection = undefined;
  }
}
