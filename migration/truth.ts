/**
 * Which cluster is a wave's source of truth, told and proven from the clusters alone: what was decided stands in storage, who may write stands in
 * the rules of every live broker, and what a closed cluster has received since its boundary stands in its logs. Temporal is not asked.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { capabilitiesOf } from '../contract/replicators.ts';
import type { Direction, SourceOfTruth } from '../contract/status.ts';
import { type Acl, aclKey, describeAcls } from '../kafka/acls.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { listOffsets, partitionKey, partitionOf } from '../kafka/offsets.ts';
import { type Access, probeAccess } from './access.ts';
import { everybody, writersOf } from './authorizer.ts';
import { boundaryName, latestBoundary, readBoundary, type StoredBoundary } from './boundary.ts';
import type { Side } from './change.ts';
import { fenceBegan } from './fences/acl.ts';
import { aclsOrNull } from './inventory.ts';
import { type JournalEntry, stands } from './journal.ts';
import { openingDecided } from './opening.ts';
import { readOwners } from './owners.ts';
import { poolNames } from './principals-pool.ts';
import { readProducerIds } from './producer-ids.ts';
import { readProvenance } from './provenance.ts';
import { fencePrincipals, type Wave } from './wave.ts';

/** Of what was decided, as it stands on the clusters. */
export interface Told {
  readonly sourceOfTruth: SourceOfTruth;
  /** ISO 8601; null: since before the migration. */
  readonly since: string | null;
  /** What happened then, one line. */
  readonly because: string;
  /** Boundary of each cluster that was fenced, or null where none was taken under that fence. */
  readonly boundaries: Readonly<Record<Side, StoredBoundary | null>>;
  /** Whose fence stands, decided or not. */
  readonly fenced: Readonly<Record<Side, boolean>>;
}

/** Applications that may write, by topic; topics that nobody may write to are left out. */
export type Writers = Readonly<Record<string, readonly string[]>>;

/** A cluster's rules as its live brokers show them, and what logging in told about its authorizer. */
export interface Rules {
  /** By broker id; null without an authorizer. */
  readonly byBroker: ReadonlyMap<number, readonly Acl[]> | null;
  readonly access: Access;
}

/** What a closed cluster has received since its boundary. */
export interface Beyond {
  readonly side: Side;
  readonly partitions: number;
  /** Offsets beyond the boundary on all partitions: all of our mirror, but for what `problems` names. */
  readonly offsets: number;
}

export interface WaveProof extends Pick<Told, 'sourceOfTruth' | 'since' | 'because'> {
  readonly wave: string;
  readonly topics: number;
  readonly source: Writers;
  readonly target: Writers;
  /** Live brokers whose rules were read. */
  readonly brokers: Readonly<Record<Side, number>>;
  readonly beyond: readonly Beyond[];
  /** What keeps it from being proven, one line each. */
  readonly problems: readonly string[];
  /** What the proof rests on beside, one line each. */
  readonly notes: readonly string[];
  /** Every cluster but the source of truth is closed to applications, and was since its boundary. */
  readonly proven: boolean;
}

const sides = ['source', 'target'] as const;
const other = { source: 'target', target: 'source' } as const;
/** The way that a wave moves when a cluster is fenced, and the mirror that may write to it from then on. */
const fencedFor: Readonly<Record<Side, Direction>> = { source: 'forward', target: 'reverse' };

/** What storage says, nothing measured. */
export async function truthTold(wave: Wave): Promise<Told> {
  const { storage, migration, wave: name } = wave;
  const standing = (await wave.journal.entries(name)).filter(stands);
  const has = (purpose: JournalEntry['purpose']) => standing.some((entry) => entry.purpose === purpose);
  const decided = {
    source: await openingDecided(storage, { migration, wave: name, direction: 'forward' }),
    target: await openingDecided(storage, { migration, wave: name, direction: 'reverse' }),
  };
  const began = {
    source: await fenceBegan(wave.journal, name, 'source'),
    target: await fenceBegan(wave.journal, name, 'target'),
  };
  // A fence that began after a decision is another one: the wave is about to move again.
  const fenced = (side: Side) => began[side] !== '' && began[side] > (decided[other[side]]?.at ?? '');
  const boundaryOf = async (side: Side) => {
    const decision = decided[side];
    const direction = fencedFor[side];
    if (decision) return readIfStored(wave, boundaryName({ ...wave, direction, deadlineMs: decision.deadlineMs }));
    if (!fenced(side)) return null;
    const latest = await latestBoundary(storage, { ...wave, direction });
    const stored = latest === null ? null : await readBoundary(storage, latest);
    return stored && stored.at >= began[side] ? stored : null;
  };
  const boundaries = { source: await boundaryOf('source'), target: await boundaryOf('target') };
  const told = (sourceOfTruth: SourceOfTruth, since: string | null, because: string): Told => ({
    sourceOfTruth,
    since,
    because,
    boundaries,
    fenced: { source: fenced('source') || has('fence-source'), target: fenced('target') },
  });
  const { source, target } = wave.clusters;
  for (const [left, into, opened] of [
    ['source', target, !has('protection')],
    ['target', source, began.source === '' || began.source > (decided.target?.at ?? '')],
  ] as const) {
    const decision = decided[left];
    if (!decision) continue;
    const opening = `opening ${into.name} was decided`;
    if (!opened) return told('none', decision.at, `${opening}, and it is not open yet`);
    if (!fenced(other[left])) return told(other[left], decision.at, opening);
    return told('none', began[other[left]], `${into.name} was fenced`);
  }
  if (fenced('source')) return told('none', began.source, `${source.name} was fenced`);
  return told('source', null, `opening ${target.name} was never decided`);
}

async function readIfStored({ storage }: Wave, name: string): Promise<StoredBoundary | null> {
  return (await storage.list(name)).includes(name) ? readBoundary(storage, name) : null;
}

/**
 * Reads the rules from every live broker, and logs in as each of our principals.
 *
 * @throws CutoverError CLUSTER_UNREACHABLE, also when one live broker does not answer; CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED
 */
export async function readRules(cluster: Cluster): Promise<Rules> {
  const anyBroker = await aclsOrNull(cluster);
  const access = await probeAccess(cluster, anyBroker);
  if (anyBroker === null) return { byBroker: null, access };
  const byBroker = new Map<number, readonly Acl[]>();
  const { brokers } = await cluster.metadata([]);
  for (const { id } of brokers) byBroker.set(id, await describeAcls(cluster, { broker: id }));
  return { byBroker, access };
}

/** Proves, or says what is wrong. Changes nothing on the clusters' topics, rules or settings. */
export async function proveTruth(wave: Wave, rules: Readonly<Record<Side, Rules>>): Promise<WaveProof> {
  const told = await truthTold(wave);
  const topics = topicsOf(wave, told);
  const problems: string[] = [];
  const notes: string[] = [];
  const writers: Record<Side, Writers> = { source: {}, target: {} };
  const beyond: Beyond[] = [];
  for (const side of sides) {
    const cluster = wave.clusters[side];
    const place = `${side} (${cluster.name})`;
    const approvedId = wave.whole.structural[`${side}ClusterId`];
    if (cluster.clusterId !== approvedId) {
      problems.push(`${place}: it is cluster ${cluster.clusterId}, people approved ${approvedId}`);
    }
    const { topics: there } = await cluster.metadata(topics);
    const standing = topics.filter((topic) => there.has(topic));
    const named = fencePrincipals(wave, side).length > 0;
    writers[side] = whoMayWrite(rules[side], standing, poolNames(cluster.config), named);
    if (named && isOpenToAnybody(rules[side], standing)) {
      notes.push(`${place}: rules let anybody write; that only those of fence.principals do is the plan's word`);
    }
    if (told.sourceOfTruth === side) continue;
    for (const [topic, who] of Object.entries(writers[side])) {
      problems.push(`${place}: ${who.join(', ')} may write ${topic}`);
    }
    problems.push(...(await rulesGone(wave, side, rules[side])).map((line) => `${place}: ${line}`));
    const looked = await lookBeyond(wave, side, told, new Set(standing));
    if (looked.beyond) beyond.push(looked.beyond);
    problems.push(...looked.problems.map((line) => `${place}: ${line}`));
    notes.push(...looked.notes.map((line) => `${place}: ${line}`));
    for (const role of ['own', 'forward', 'reverse'] as const) {
      if (rules[side].access.superUser[role] !== true) continue;
      const note = `${place}: our own ${rules[side].access.principals[role]} is a super user, which no rule stops`;
      if (!notes.includes(note)) notes.push(note);
    }
  }
  const { sourceOfTruth, since, because } = told;
  return {
    wave: wave.wave,
    topics: topics.length,
    sourceOfTruth,
    since,
    because,
    source: writers.source,
    target: writers.target,
    brokers: { source: rules.source.byBroker?.size ?? 0, target: rules.target.byBroker?.size ?? 0 },
    beyond,
    problems,
    notes,
    proven: problems.length === 0,
  };
}

/** Those that were fenced, else those of the newest inventory, which may know some that wait. */
function topicsOf(wave: Wave, { boundaries }: Told): string[] {
  const boundary = boundaries.source?.boundary ?? boundaries.target?.boundary;
  if (!boundary) return [...wave.topicNames];
  return [...new Set([...boundary.keys()].map((key) => partitionOf(key).topic))].sort();
}

/** @param named the plan names who writes where rules are open: then "anybody" is taken on trust */
function whoMayWrite(
  { byBroker, access }: Rules,
  topics: readonly string[],
  pool: readonly string[],
  named: boolean,
): Writers {
  if (byBroker === null)
    return Object.fromEntries(topics.map((topic) => [topic, ['anybody (there is no authorizer)']]));
  const ours = new Set<string | null>([...Object.values(access.principals), ...pool]);
  const found = new Map<string, Set<string>>();
  // Brokers learn of a rule one after the other: open on one of them is open.
  for (const acls of byBroker.values()) {
    const rules = { acls, allowEveryone: access.allowEveryone !== false };
    for (const topic of topics) {
      const may = writersOf(rules, topic);
      const left = [...may.named.filter((who) => !ours.has(who)), ...(may.everybody && !named ? [everybody] : [])];
      if (left.length > 0) found.set(topic, new Set([...(found.get(topic) ?? []), ...left]));
    }
  }
  return Object.fromEntries([...found].map(([topic, who]) => [topic, [...who].sort()]));
}

function isOpenToAnybody({ byBroker, access }: Rules, topics: readonly string[]): boolean {
  const allowEveryone = access.allowEveryone !== false;
  return [...(byBroker?.values() ?? [])].some((acls) =>
    topics.some((topic) => writersOf({ acls, allowEveryone }, topic).everybody),
  );
}

/** Rules of ours that keep applications out and that some live broker does not show. */
async function rulesGone(wave: Wave, side: Side, { byBroker }: Rules): Promise<string[]> {
  const purposes = side === 'source' ? ['fence-source'] : ['protection', 'fence-target'];
  const entries = (await wave.journal.entries(wave.wave)).filter(
    (entry) => entry.state !== 'undone' && purposes.includes(entry.purpose),
  );
  const acls = entries.flatMap(({ change }) => (change.kind === 'create-acls' ? change.acls : []));
  const keys = new Set(acls.map(aclKey));
  return [...(byBroker ?? [])].flatMap(([broker, shown]) => {
    const present = new Set(shown.map(aclKey));
    return [...keys].filter((key) => !present.has(key)).map((key) => `gone: ${key} (broker ${broker})`);
  });
}

/** From the boundary on, all that a closed cluster has received must be of the mirror that writes there then. */
async function lookBeyond(
  wave: Wave,
  side: Side,
  told: Told,
  standing: ReadonlySet<string>,
): Promise<{ readonly beyond: Beyond | null; readonly problems: string[]; readonly notes: string[] }> {
  const cluster = wave.clusters[side];
  const stored = told.boundaries[side];
  if (!stored) {
    if (!told.fenced[side]) return { beyond: null, problems: [], notes: [] };
    const moving = await movingLogs(cluster, wave);
    const notes = ['its boundary is not taken yet, so its logs can only be seen to stand still'];
    return { beyond: null, problems: moving, notes };
  }
  const keys = [...stored.boundary.keys()].filter((key) => standing.has(partitionOf(key).topic));
  const gone = new Set([...stored.boundary.keys()].map((key) => partitionOf(key).topic)).size - standing.size;
  const notes = gone > 0 ? [`${gone} of its topics are gone`] : [];
  const partitions = keys.map(partitionOf);
  const [starts, ends] = [
    await listOffsets(cluster, partitions, 'start'),
    await listOffsets(cluster, partitions, 'highWatermark'),
  ];
  const problems: string[] = [];
  let offsets = 0;
  const ranges = partitions.map((p) => {
    const key = partitionKey(p.topic, p.partition);
    const [boundary, start, until] = [stored.boundary.get(key) ?? 0n, starts.get(key) ?? 0n, ends.get(key) ?? 0n];
    if (until < boundary) problems.push(`${key}: the log ends at ${until}, below the boundary ${boundary}`);
    else offsets += Number(until - boundary);
    return { ...p, from: boundary > start ? boundary : start, until };
  });
  if (!capabilitiesOf(wave.plan).ourProducers) {
    notes.push('whose the records beyond its boundary are, only the audit can tell with this replicator');
    return { beyond: { side, partitions: partitions.length, offsets }, problems, notes };
  }
  const back: Direction = fencedFor[other[side]];
  const ids = await readProducerIds(wave.storage, wave.migration, back);
  const owners = () => readOwners(wave.storage, wave.migration, back, cluster, partitions);
  for (const batch of (await readProvenance(cluster, ranges, ids, { owners })).foreign) {
    const who = batch.producerId < 0n ? 'a producer without an id' : `producer ${batch.producerId}`;
    const key = partitionKey(batch.topic, batch.partition);
    problems.push(
      `${key}: ${who} wrote at offset ${batch.offset}, beyond the boundary ${stored.boundary.get(key)}; it is not our mirror`,
    );
  }
  return { beyond: { side, partitions: partitions.length, offsets }, problems, notes };
}

async function movingLogs(cluster: Cluster, { partitions, plan }: Wave): Promise<string[]> {
  const before = await listOffsets(cluster, partitions, 'logEnd');
  await sleep(plan.fence.quiet);
  const after = await listOffsets(cluster, partitions, 'logEnd');
  return [...after]
    .filter(([key, end]) => before.get(key) !== end)
    .map(([key, end]) => `${key}: somebody writes, the log end moved from ${before.get(key)} to ${end}`);
}
