/** Topics that we created, with the settings that they are to keep for good, where no opening and no finalize gives them. */
import { brokerConfigs } from '../kafka/topics.ts';
import type { Change } from './change.ts';
import { stands } from './journal.ts';
import { newestTopics } from './newest.ts';
import { carriedConfigs, finishTopic, openTopic, topicDefaults } from './topics.ts';
import type { Wave } from './wave.ts';

/** Names of the target topics that our journal says we created, and that stand. */
export async function standingCopies(wave: Wave): Promise<ReadonlySet<string>> {
  const entries = (await wave.journal.entries(wave.wave)).filter(stands);
  return new Set(entries.flatMap(({ change }) => (change.kind === 'create-topic' ? [change.topic.name] : [])));
}

/**
 * Message settings and retention of the copies as the plan carries them, else as the target's topics inherit them.
 *
 * @returns the changes; those that hold already are among them
 * @throws CutoverError CLUSTER_ACCESS_DENIED, TOPIC_MISSING, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function restoreFinalSettings(wave: Wave, copies: ReadonlySet<string>): Promise<readonly Change[]> {
  const values = [...(await brokerConfigs(wave.clusters.target))].map(([name, entry]) => [name, entry.value] as const);
  const there = topicDefaults(Object.fromEntries(values));
  const changes = (await newestTopics(wave))
    .filter((topic) => copies.has(topic.name))
    .map((topic) => {
      const carried = carriedConfigs(topic, there, wave.plan.metadata.configs);
      return together(openTopic(topic.name, carried, there), finishTopic(topic.name, carried, there));
    });
  await wave.journal.make(wave.wave, 'target-settings', changes);
  return changes;
}

/** One request a topic. */
function together(first: Change, second: Change): Change {
  if (first.kind !== 'alter-topic-configs' || second.kind !== 'alter-topic-configs') return first;
  return { ...first, set: { ...first.set, ...second.set }, unset: [...first.unset, ...second.unset] };
}
