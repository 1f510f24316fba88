/**
 * A target topic with a slot that differs cannot be mended in place: it is deleted and mirrored again from the start. Before the switch that
 * costs time only, so it happens by itself, as long as nothing reads the topic and everything in it is ours.
 *
 * The forward mirror must not run meanwhile. Audit positions need no care: they are tied to topic ids (audit-positions.ts).
 */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import { aclKey, describeAcls } from '../kafka/acls.ts';
import { describeGroups, fetchOffsets, listGroups } from '../kafka/groups.ts';
import type { AuditPartition } from '../mirror/audit.ts';
import { type Audited, topicIdsOf } from './audit-positions.ts';
import { type JournalEntry, stands } from './journal.ts';
import { openingDecided } from './opening.ts';
import { prepareTarget } from './prepare.ts';
import { whyNotOurs } from './provenance.ts';
import { getAllJson, getJson, putJson } from './storage.ts';
import type { Wave } from './wave.ts';

/** A topic that is spoiled again so often in one run has a cause that people must find. */
const remakesMax = 3;

/** What an audit found, kept for whoever mirrors the topic again. */
interface StoredSpoiled {
  readonly topic: string;
  /** The very topics that differ, not others of the same name. */
  readonly topicIds: string;
  /** The first difference, for people. */
  readonly found: string;
}

interface StoredRemake {
  readonly run: string;
  /** Of the topic that was deleted. */
  readonly topicIds: string;
  readonly found: string;
  /** ISO 8601. */
  readonly at: string;
}

export interface Remirrored {
  readonly topics: readonly string[];
  /** TOPIC_REMIRRORED, one per topic. */
  readonly findings: readonly Finding[];
}

const spoiledPrefix = (migration: string) => `${migration}/spoiled/`;
const remakesName = (migration: string, topic: string) => `${migration}/remirrored/${topic}`;

/**
 * Remembers which topics differ.
 *
 * @param writer as for `storeAudit`
 */
export async function storeSpoiled(
  audited: Audited,
  writer: string,
  positions: readonly AuditPartition[],
): Promise<void> {
  const differing = positions.filter((p) => p.differences > 0);
  if (differing.length === 0) return;
  const topicIds = await topicIdsOf(audited);
  const spoiled = new Map<string, StoredSpoiled>();
  for (const { topic, partition, first, differences } of differing) {
    if (spoiled.has(topic)) continue;
    const found = `partition ${partition} at offset ${first?.offset}: ${first?.kind} (${differences} in all)`;
    spoiled.set(topic, { topic, topicIds: topicIds.get(topic) ?? '', found });
  }
  await putJson(audited.storage, `${spoiledPrefix(audited.migration)}${writer}`, [...spoiled.values()]);
}

/**
 * Deletes the target topics that audits found spoiled and prepares them anew, so that their mirror begins at the start. Safe to run twice:
 * what was deleted already is made again.
 *
 * @param run what the limit of remakes counts for
 * @throws CutoverError PARITY_FAILED, before anything is changed, when one of them may not be deleted: the target was opened or the
 *   source fenced, the topic was not made by us, holds others' records, is not closed to applications, is read, or was remade too often
 */
export async function remirrorSpoiled(wave: Wave, run: string): Promise<Remirrored> {
  const spoiled = await spoiledTopics(wave);
  for (const topic of spoiled) {
    const reason = await whyNotRemade(wave, run, topic);
    if (reason === null) continue;
    throw new CutoverError('PARITY_FAILED', {
      what: `a topic differs and is not mirrored again by itself: ${reason}`,
      where: `cluster ${wave.clusters.target.name}, topic ${topic.topic}`,
      found: topic.found,
      wanted: 'equal slots',
    });
  }
  for (const topic of spoiled) await deleteTopic(wave, run, topic);
  // Also when nothing was deleted just now: an earlier attempt may have ended in between.
  await prepareTarget(wave);
  return {
    topics: spoiled.map(({ topic }) => topic),
    findings: spoiled.map(({ topic, found }) =>
      finding('TOPIC_REMIRRORED', `target, topic ${topic}`, `${found}; deleted, and mirrored again from the start`),
    ),
  };
}

/** Those that still stand there as they were found. */
async function spoiledTopics(wave: Wave): Promise<StoredSpoiled[]> {
  const topicIds = await topicIdsOf(wave);
  const spoiled = new Map<string, StoredSpoiled>();
  for (const { value } of await getAllJson<StoredSpoiled[]>(wave.storage, spoiledPrefix(wave.migration))) {
    for (const entry of value) if (topicIds.get(entry.topic) === entry.topicIds) spoiled.set(entry.topic, entry);
  }
  return [...spoiled.values()];
}

async function deleteTopic(wave: Wave, run: string, { topic, topicIds, found }: StoredSpoiled): Promise<void> {
  const remakes = await remakesOf(wave, topic);
  if (!remakes.some((made) => made.topicIds === topicIds)) {
    const made: StoredRemake = { run, topicIds, found, at: new Date().toISOString() };
    await putJson(wave.storage, remakesName(wave.migration, topic), [...remakes, made]);
  }
  const only = (entry: JournalEntry) => madeByUs(entry, topic);
  const { notUndone } = await wave.journal.undo(wave.wave, ['topic'], { removeTopics: true, only });
  if (notUndone.length === 0) return;
  throw new CutoverError('PARITY_FAILED', {
    what: 'a topic differs and could not be deleted to be mirrored again',
    where: `cluster ${wave.clusters.target.name}, topic ${topic}`,
    found: notUndone.join('; '),
  });
}

async function remakesOf({ storage, migration }: Wave, topic: string): Promise<StoredRemake[]> {
  return (await getJson<StoredRemake[]>(storage, remakesName(migration, topic))) ?? [];
}

const madeByUs = (entry: JournalEntry, topic: string): boolean =>
  stands(entry) && entry.change.kind === 'create-topic' && entry.change.topic.name === topic;

async function whyNotRemade(wave: Wave, run: string, { topic, topicIds }: StoredSpoiled): Promise<string | null> {
  const { storage, migration, clusters } = wave;
  if (await openingDecided(storage, { migration, wave: wave.wave, direction: 'forward' })) {
    return 'the target was opened';
  }
  const entries = (await wave.journal.entries(wave.wave)).filter(stands);
  if (entries.some((entry) => entry.purpose === 'fence-source')) return 'the source is fenced, and applications wait';
  if (!entries.some((entry) => madeByUs(entry, topic))) return 'our journal does not say that we made it';
  const times = (await remakesOf(wave, topic)).filter((made) => made.run === run && made.topicIds !== topicIds).length;
  if (times >= remakesMax) return `it was mirrored again ${times} times in this run`;
  const open = await whyOpen(wave, entries, topic);
  if (open !== null) return open;
  const readers = await activeReaders(wave, topic);
  if (readers.length > 0) return `it is read by ${readers.slice(0, 5).join(', ')}`;
  return whyNotOurs(storage, clusters.target, migration, topic);
}

/** Applications must have been kept out of it all the time, and still be. */
async function whyOpen(wave: Wave, entries: readonly JournalEntry[], topic: string): Promise<string | null> {
  const denied = entries
    .filter((entry) => entry.purpose === 'protection' && entry.change.kind === 'create-acls')
    .flatMap(({ change }) => (change.kind === 'create-acls' ? change.acls : []))
    .filter((acl) => acl.resourceName === topic);
  // With an authorizer and no rule that lets applications in there is nothing to deny.
  if (!wave.inventory.measured.target.authorizer) return 'nothing keeps applications out of it';
  const standing = new Set((await describeAcls(wave.clusters.target)).map(aclKey));
  const gone = denied.find((acl) => !standing.has(aclKey(acl)));
  return gone ? `the rule that kept applications out of it is gone: ${aclKey(gone)}` : null;
}

/** Groups with members on the target that have a position in the topic, or that are to move and have members there at all. */
async function activeReaders({ clusters: { target }, groups, topics }: Wave, topic: string): Promise<string[]> {
  const listed = (await listGroups(target)).filter(({ state }) => state !== 'Empty' && state !== 'Dead');
  if (listed.length === 0) return [];
  const described = await describeGroups(
    target,
    listed.map(({ group }) => group),
  );
  const active = listed.map(({ group }) => group).filter((group) => described.get(group)?.members.length !== 0);
  if (active.length === 0) return [];
  const partitions = topics.find(({ name }) => name === topic)?.partitions ?? 0;
  const positions = await fetchOffsets(target, active, {
    requireStable: false,
    topics: new Map([[topic, partitions]]),
  });
  return active.filter((group) => groups.includes(group) || (positions.get(group)?.size ?? 0) > 0);
}
