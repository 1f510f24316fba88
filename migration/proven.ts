/**
 * What this migration made in an earlier run or attempt, told from its journal and proven again: target topics that are
 * still an exact copy of the source, groups whose positions on the target are ours, and what we changed on the source.
 */
import { aclKey } from '../kafka/acls.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { runAudit } from '../mirror/audit.ts';
import { auditStarts, storeAudit } from './audit-positions.ts';
import type { Clusters } from './change.ts';
import { type JournalEntry, stands } from './journal.ts';
import type { Known } from './preflight/facts.ts';
import { getJson, putJson, type Storage } from './storage.ts';
import type { TopicShape } from './topics.ts';

const ownGroupsName = (migration: string) => `${migration}/own-groups`;

/** Remembers groups before their first position is written on the target. */
export async function rememberGroups(storage: Storage, migration: string, groups: readonly string[]): Promise<void> {
  const known = (await getJson<string[]>(storage, ownGroupsName(migration))) ?? [];
  const all = [...new Set([...known, ...groups])].sort();
  if (all.length > known.length) await putJson(storage, ownGroupsName(migration), all);
}

export interface ProveOptions {
  /** Compare what no audit has compared yet; without it our topics count as copies (while their mirror runs). */
  readonly audit: boolean;
  /** Remember how far the comparison came, for the next one. `kafka-cutover plan` must leave nothing on the clusters. */
  readonly store?: boolean;
  readonly signal: AbortSignal;
}

/** Target topics and groups that are ours. A topic that we made and that differs from the source is not among them. */
export async function knownCopies(
  clusters: Clusters,
  storage: Storage,
  migration: string,
  journal: readonly JournalEntry[],
  topics: readonly TopicShape[],
  options: ProveOptions,
): Promise<Known> {
  const ownGroups = new Set((await getJson<string[]>(storage, ownGroupsName(migration))) ?? []);
  const made = new Set(
    journal
      .filter((entry) => stands(entry) && (entry.purpose === 'topic' || entry.purpose === 'target-settings'))
      .map((entry) => topicOf(entry))
      .filter((topic) => topic !== null),
  );
  const existing = (await clusters.target.metadata(topics.map((topic) => topic.name))).topics;
  const ours = topics.filter(
    (topic) => made.has(topic.name) && existing.get(topic.name)?.partitions.length === topic.partitions,
  );
  if (ours.length === 0) return { provenCopies: new Set(), ownGroups };
  if (!options.audit) return { provenCopies: new Set(ours.map((topic) => topic.name)), ownGroups };
  return { provenCopies: await provenEqual(clusters, storage, migration, ours, options), ownGroups };
}

/** What we changed on the source. */
export interface OursOnSource {
  /** Rules that we added, by `aclKey`. */
  readonly aclKeys: ReadonlySet<string>;
  /** Per topic the settings that we replaced, as they were; null: inherited. */
  readonly configs: ReadonlyMap<string, Readonly<Record<string, string | null>>>;
}

/** What we changed on the source, so that an inventory (`InventoryOptions.ours`) shows it as people have it. */
export function oursOnSource(journal: readonly JournalEntry[]): OursOnSource {
  const aclKeys = new Set<string>();
  const configs = new Map<string, Record<string, string | null>>();
  for (const { change, inverse, state } of journal) {
    if (state === 'undone' || change.cluster !== 'source') continue;
    if (change.kind === 'create-acls') for (const acl of change.acls) aclKeys.add(aclKey(acl));
    if (inverse.kind !== 'alter-topic-configs') continue;
    const original = configs.get(inverse.topic) ?? {};
    configs.set(inverse.topic, original);
    // Entries come in the order they were made: the first one knows what the user had.
    for (const [name, value] of Object.entries(inverse.set)) if (!(name in original)) original[name] = value;
    for (const name of inverse.unset) if (!(name in original)) original[name] = null;
  }
  return { aclKeys, configs };
}

/** Rules that shut a mirror out since an earlier switch: lifted before that mirror is needed again, so no obstacle. */
export function shutOutRules(journal: readonly JournalEntry[]): ReadonlySet<string> {
  const standing = journal.filter((entry) => entry.state !== 'undone' && entry.purpose.startsWith('shut-out-'));
  return new Set(standing.flatMap(({ change }) => (change.kind === 'create-acls' ? change.acls.map(aclKey) : [])));
}

/** Topics whose every record on the target equals the source's at the same offset. */
async function provenEqual(
  clusters: Clusters,
  storage: Storage,
  migration: string,
  topics: readonly TopicShape[],
  { store = false, signal }: ProveOptions,
): Promise<Set<string>> {
  const partitions = topics.flatMap((topic) =>
    Array.from({ length: topic.partitions }, (_, partition) => ({ topic: topic.name, partition })),
  );
  const [ends, sourceEnds, stable, sourceStable] = [
    await listOffsets(clusters.target, partitions, 'highWatermark'),
    await listOffsets(clusters.source, partitions, 'highWatermark'),
    await listOffsets(clusters.target, partitions, 'lastStable'),
    await listOffsets(clusters.source, partitions, 'lastStable'),
  ];
  const longer = new Set(
    partitions.filter((p) => (ends.get(keyOf(p)) ?? 0n) > (sourceEnds.get(keyOf(p)) ?? 0n)).map((p) => p.topic),
  );
  const comparable = partitions.filter((p) => !longer.has(p.topic));
  // Beyond a last stable offset nothing can be compared yet: aborted records that our mirror has still to close, for one.
  const until = new Map(comparable.map((p) => [keyOf(p), smaller(stable.get(keyOf(p)), sourceStable.get(keyOf(p)))]));
  const start = await auditStarts({ storage, migration, clusters, topics }, comparable);
  const positions = await runAudit({ ...clusters, partitions: start, until, signal });
  signal.throwIfAborted();
  if (store) await storeAudit({ storage, migration, clusters, topics }, 'preflight', positions);
  const different = new Set(positions.filter((p) => p.differences > 0).map((p) => p.topic));
  return new Set(topics.map((topic) => topic.name).filter((topic) => !longer.has(topic) && !different.has(topic)));
}

function topicOf({ change }: JournalEntry): string | null {
  if (change.kind === 'create-topic') return change.topic.name;
  return change.kind === 'alter-topic-configs' && change.cluster === 'target' ? change.topic : null;
}

const keyOf = (p: { readonly topic: string; readonly partition: number }) => partitionKey(p.topic, p.partition);

const smaller = (a = 0n, b = 0n) => (a < b ? a : b);
