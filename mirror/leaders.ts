/**
 * Who leads the partitions of one side, and whether its topics are still the ones that we began with.
 */
import { metadataV12 } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster, PartitionMetadata, TopicMetadata } from '../kafka/cluster.ts';
import { kafkaError } from '../kafka/kafka-errors.ts';
import { noTopicId } from '../kafka/topic-ids.ts';

/** No more often than this, whoever asks. */
const refreshPauseMs = 100;
/** Without any error in between: a topic may be deleted and made anew without one. */
export const refreshEveryMs = 5_000;
/** A broker that has just started may not know a topic yet: it must be missing this often, for this long. */
const missingSightingsMin = 5;
const missingForMs = 2_000;

export class Leaders {
  readonly #cluster: Cluster;
  /** Topic id by topic; '' until one has been seen. */
  readonly #topicIds: Map<string, string>;
  #leaders = new Map<string, readonly PartitionMetadata[]>();
  #missing = new Map<string, { since: number; sightings: number }>();
  #refreshing: Promise<void> | undefined;
  #refreshedAt = Number.NEGATIVE_INFINITY;

  /** @param topicIds the id that each topic must have; '' takes the first one seen */
  constructor(cluster: Cluster, topicIds: ReadonlyMap<string, string>) {
    this.#cluster = cluster;
    this.#topicIds = new Map(topicIds);
  }

  /** The leader's broker id, -1 when there is none that we know. */
  of(topic: string, partition: number): number {
    return this.#leaders.get(topic)?.[partition]?.leader ?? -1;
  }

  /** The newest leader epoch that was seen, -1 when none is known: each election begins another. */
  epochOf(topic: string, partition: number): number {
    return this.#leaders.get(topic)?.[partition]?.leaderEpoch ?? -1;
  }

  get ageMs(): number {
    return performance.now() - this.#refreshedAt;
  }

  /**
   * Asks the cluster. Callers at the same moment share one request.
   *
   * @throws CutoverError TOPIC_MISSING, TOPIC_RECREATED, CLUSTER_ACCESS_DENIED, CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED
   */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<void> {
    const pause = refreshPauseMs - this.ageMs;
    if (pause > 0) await new Promise((done) => setTimeout(done, pause));
    const names = [...this.#topicIds.keys()];
    const { topics } = await this.#cluster.metadata(names);
    this.#refreshedAt = performance.now();
    for (const name of names) {
      const topic = topics.get(name);
      if (!topic) {
        this.#leaders.delete(name);
        await this.#sawNothingOf(name);
        continue;
      }
      this.#missing.delete(name);
      const known = this.#topicIds.get(name) ?? '';
      if (topic.topicId !== noTopicId && known !== noTopicId) {
        if (known === '') this.#topicIds.set(name, topic.topicId);
        else if (known !== topic.topicId) {
          throw new CutoverError('TOPIC_RECREATED', {
            what: 'the topic is another one than at the start',
            where: `cluster ${this.#cluster.name}, topic ${name}`,
            found: `topic id ${topic.topicId}`,
            wanted: known,
          });
        }
      }
      this.#leaders.set(name, this.#newest(name, topic));
    }
  }

  /** A broker that is behind names a leader of old: its epoch would let what the newer one gave look like another log's. */
  #newest(name: string, { topicId, partitions }: TopicMetadata): readonly PartitionMetadata[] {
    const known = this.#leaders.get(name);
    // Without ids a topic may have been made anew, with epochs from 0 on.
    if (!known || topicId === noTopicId) return partitions;
    return partitions.map((found, partition) => {
      const before = known[partition];
      return before && before.leaderEpoch > found.leaderEpoch ? before : found;
    });
  }

  async #sawNothingOf(name: string): Promise<void> {
    const where = `cluster ${this.#cluster.name}, topic ${name}`;
    const answer = await this.#cluster.call('any', metadataV12.api, [name], false, false);
    const errorCode = answer.topics[0]?.errorCode ?? kafkaError.unknownTopicOrPartition;
    if (errorCode === kafkaError.topicAuthorizationFailed) {
      throw new CutoverError('CLUSTER_ACCESS_DENIED', { what: 'we may not see the topic', where, wanted: 'DESCRIBE' });
    }
    if (errorCode !== kafkaError.unknownTopicOrPartition) return;
    const now = performance.now();
    const seen = this.#missing.get(name) ?? { since: now, sightings: 0 };
    seen.sightings++;
    this.#missing.set(name, seen);
    if (seen.sightings >= missingSightingsMin && now - seen.since >= missingForMs) {
      throw new CutoverError('TOPIC_MISSING', { what: 'the topic is gone', where });
    }
  }
}
