/**
 * Settings of all brokers of a cluster while a mirror writes there: taken when it may begin, put back before applications write
 * there, and shared with other migrations through the journal.
 */
import { valuesInForce } from '../kafka/broker-configs.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { Side } from './change.ts';
import { type JournalEntry, type Purpose, stands, type UndoReport } from './journal.ts';
import { producerExpiry, producerExpiryDefaultMs, verification } from './needs.ts';
import type { Wave } from './wave.ts';

const purposeOf = (side: Side): Purpose => `${side}-brokers`;

/**
 * @returns how many settings had to be changed
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER_CONFIGS on the cluster, which preflight has asked for), KAFKA_REQUEST_FAILED
 */
export async function suspendBrokerSettings(wave: Wave, side: Side): Promise<number> {
  const set = wave.needs.brokers[side];
  if (Object.keys(set).length === 0) return 0;
  return wave.journal.make(wave.wave, purposeOf(side), [
    { kind: 'alter-broker-configs', cluster: side, set, unset: [] },
  ]);
}

/** Another migration that still relies on one of them keeps it as it is. */
export function restoreBrokerSettings(wave: Wave, side: Side): Promise<UndoReport> {
  return wave.journal.undo(wave.wave, [purposeOf(side)]);
}

/** Whether every broker takes aborted records as they are: it does not verify transactions, or is too old to. */
export async function takesAborted(cluster: Cluster): Promise<boolean> {
  const values = [...(await valuesInForce(cluster, verification)).values()];
  return values.length > 0 && values.every((value) => value === undefined || value === 'false');
}

/** The least that any broker remembers a producer for, milliseconds; Kafka's default where it does not say. */
export async function remembersProducersForMs(cluster: Cluster): Promise<number> {
  const values = [...(await valuesInForce(cluster, producerExpiry)).values()];
  return Math.min(...values.map((value) => Number(value ?? producerExpiryDefaultMs)));
}

/** What brokers had before us, for what we changed; Kafka's default where they had nothing dynamic. */
export function replacedBrokerConfigs(journal: readonly JournalEntry[], side: Side): Record<string, string> {
  const defaults: Readonly<Record<string, string>> = {
    [verification]: 'true',
    [producerExpiry]: String(producerExpiryDefaultMs),
  };
  const had: Record<string, string> = {};
  for (const entry of journal) {
    const { inverse } = entry;
    if (!stands(entry) || inverse.kind !== 'alter-broker-configs' || inverse.cluster !== side) continue;
    // Entries come in the order they were made: the first one knows what there was.
    for (const [name, value] of Object.entries(inverse.set)) had[name] ??= value;
    for (const name of inverse.unset) if (defaults[name] !== undefined) had[name] ??= defaults[name];
  }
  return had;
}
