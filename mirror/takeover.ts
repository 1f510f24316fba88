/**
 * Taking a partition over: from the two logs alone to where to go on, or to why it is not possible.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { leaderEpochEnds } from '../kafka/leader-epochs.ts';
import { listOffsets, passingFailure } from '../kafka/offsets.ts';
import type { KafkaRecord } from '../kafka/record.ts';
import { fillHead, type Head, inspectHead } from './head.ts';
import { moveLogStarts } from './log-starts.ts';
import { type Ownership, takeOwnership } from './ownership.ts';
import type { Partition } from './partition.ts';
import { type Position, readPositions, readSlotsAt } from './position.ts';
import type { MirrorPrincipals } from './principals.ts';

/** Heads that are filled at the same time. */
const headsAtOnce = 4;
/** How far back the ends of the two logs are compared while neither holds a record there: one marker can come twice each time a coordinator dies. */
const tailSlotsMax = 4n;

export interface Takeover {
  readonly from: Cluster;
  readonly into: Cluster;
  /** In phase `taking`. Those that stay in it are to be taken over again: their head was written or deleted. */
  readonly partitions: readonly Partition[];
  readonly leaderOf: (partition: Partition) => number;
  /** Of the log that is read, as metadata has it. */
  readonly leaderEpochOf: (partition: Partition) => number;
  readonly maxBatchBytes: number;
  readonly principals?: MirrorPrincipals | undefined;
  readonly signal: AbortSignal;
}

/**
 * Sets each partition running, or works on its head.
 *
 * @returns partitions that cannot go on now, and why: no owner could be had, or what stands at the end of the log cannot be judged yet
 * @throws CutoverError TARGET_DIVERGED, SOURCE_TRUNCATED, MIRROR_SHUT_OUT, and what the requests meet
 */
export async function takeOver(takeover: Takeover): Promise<ReadonlyMap<Partition, CutoverError>> {
  const { from, into, signal } = takeover;
  const given = new Map<string, Ownership>();
  // Before anything is compared: a leader elected later refuses to be read under this epoch, and another takeover follows.
  const leaderEpochs = new Map(
    takeover.partitions.map((p) => [p.key, Math.max(takeover.leaderEpochOf(p), p.leaderEpoch)]),
  );
  const waiting = new Map<Partition, CutoverError>();
  const owners = await own(takeover);
  for (const p of takeover.partitions) {
    const owner = owners.get(p.key);
    if (owner instanceof CutoverError) waiting.set(p, owner);
    else if (owner) given.set(p.key, owner);
  }
  const partitions = takeover.partitions.filter((p) => !waiting.has(p));
  const specs = partitions.map((p) => ({ topic: p.topic, partition: p.partition, producerId: p.spec.producerId }));
  const positions = await readPositions(into, specs, signal, given);
  if (signal.aborted) return waiting;
  // After the position: what is read grows, so it may not end below what was written from it.
  const starts = await listOffsets(from, partitions, 'start');
  const ends = await listOffsets(from, partitions, 'logEnd');
  const stableEnds = await listOffsets(from, partitions, 'lastStable');
  const underOthers = partitions.filter((p) => p.leaderEpoch >= 0 && p.leaderEpoch < (leaderEpochs.get(p.key) ?? -1));
  const epochEnds = await leaderEpochEnds(from, underOthers);

  const standing: Standing[] = [];
  const heads: (() => Promise<void>)[] = [];
  for (const p of partitions) {
    const position = positions.get(p.key);
    const start = starts.get(p.key);
    const end = ends.get(p.key);
    const owner = given.get(p.key);
    const leader = owner?.leader ?? takeover.leaderOf(p);
    if (!position || start === undefined || end === undefined) continue;
    const where = `cluster ${into.name}, ${p.key}`;
    if (leader < 0) throw passingFailure({ what: 'no leader', where });
    if (position.remembered && position.epoch > 0) {
      const found = `producer ${p.spec.producerId} at epoch ${position.epoch}`;
      throw new CutoverError('MIRROR_SHUT_OUT', { what: 'our producer was fenced', where, found, wanted: 'epoch 0' });
    }
    if (position.logEnd > end) {
      throw new CutoverError('TARGET_DIVERGED', {
        what: `the log is longer than that of cluster ${from.name}`,
        where,
        found: `log end ${position.logEnd}`,
        wanted: `${end} or less`,
      });
    }
    // What we sent was read from that leader and those before it. The tail alone could not tell two markers apart.
    const epochEnd = epochEnds.get(p.key) ?? position.logEnd;
    if (epochEnd < p.sentTo && epochEnd < position.logEnd) {
      throw new CutoverError('TARGET_DIVERGED', {
        what: `cluster ${from.name} elected a leader that lacks what was copied`,
        where,
        found: `log end ${position.logEnd}`,
        wanted: `${epochEnd} or less: other records stand there from that offset on`,
      });
    }
    // A marker too many may stand where the other log is not decided yet: going on behind it would lose what is decided then.
    const stable = stableEnds.get(p.key) ?? position.logEnd;
    if (stable < position.logEnd) {
      const wanted = `last stable offset of cluster ${from.name} at ${position.logEnd} or beyond`;
      waiting.set(
        p,
        passingFailure({ what: 'the log ends where the other is not decided', where, found: `${stable}`, wanted }),
      );
      continue;
    }
    if (end > p.end) p.end = end;
    const head: Head = {
      into,
      topic: p.topic,
      partition: p.partition,
      leader,
      producerId: p.spec.producerId,
      maxBatchBytes: takeover.maxBatchBytes,
    };
    const item = { p, position, leader, owner };
    if (position.logEnd < start) heads.push(() => extendHead(head, p, position, start, from.name, signal));
    else if (position.logEnd === start && position.logStart < position.logEnd) {
      heads.push(async () => {
        // What lies below is gone from the other log, whether it is our filler or not.
        const follows = p.spec.followsLogStart === true;
        const filled = follows || (await inspectHead(head, position.logStart, position.logEnd)) === 'filler';
        if (filled) await moveLogStarts(into, [{ topic: p.topic, partition: p.partition, leader, offset: start }]);
        else await settle([item]);
      });
    } else standing.push(item);
  }

  await settle(standing);
  for (let i = 0; i < heads.length; i += headsAtOnce) {
    await Promise.all(heads.slice(i, i + headsAtOnce).map((work) => work()));
  }
  return waiting;

  async function settle(items: readonly Standing[]): Promise<void> {
    await compareTails(takeover, items, starts);
    for (const { p, position, leader, owner } of items) {
      const { nextSequence, remembered } = position;
      const leaderEpoch = leaderEpochs.get(p.key) ?? -1;
      p.take(position.logEnd, { nextSequence, remembered, writtenLeader: leader, leaderEpoch, owner });
      p.writtenStart = position.logStart;
    }
  }
}

interface Standing {
  readonly p: Partition;
  readonly position: Position;
  readonly leader: number;
  readonly owner: Ownership | undefined;
}

/** Ownership of those that want it. */
async function own({ into, partitions, principals }: Takeover): Promise<Map<string, Ownership | CutoverError>> {
  const wanting = partitions.filter((p) => p.wantsOwner && !p.ownerDenied);
  if (wanting.length === 0) return new Map();
  try {
    const owners = await takeOwnership({ into, principals, inDoubt: wanting.some((p) => p.inDoubt) }, wanting);
    for (const p of wanting) p.inDoubt = false;
    return owners;
  } catch (error) {
    if (!(error instanceof CutoverError) || error.code !== 'CLUSTER_ACCESS_DENIED') throw error;
    // Old records go without an owner then; a marker will be the end.
    for (const p of wanting) p.ownerDenied = true;
    return new Map();
  }
}

/** The written log ends below where the other begins. */
async function extendHead(
  head: Head,
  p: Partition,
  position: Position,
  start: bigint,
  fromName: string,
  signal: AbortSignal,
): Promise<void> {
  const { logStart, logEnd, nextSequence, remembered } = position;
  const where = `cluster ${head.into.name}, ${head.topic}/${head.partition}`;
  if (logStart < logEnd && !p.spec.followsLogStart) {
    const holds = await inspectHead(head, logStart, logEnd);
    if (holds === 'mixed') {
      const found = `filler and something else in ${logStart} to ${logEnd}`;
      throw new CutoverError('TARGET_DIVERGED', { what: 'somebody else wrote to the log', where, found });
    }
    if (holds === 'records') {
      throw new CutoverError('SOURCE_TRUNCATED', {
        what: `cluster ${fromName} no longer has the next records`,
        where,
        found: `log start ${start}`,
        wanted: `${logEnd} or less`,
      });
    }
  }
  await fillHead(head, { position: logEnd, end: start, sequence: nextSequence, remembered }, signal);
}

/**
 * The last slots written must be what the other log has at their offsets, back to the last one that is a record: a stranger's record, or a marker too
 * many, shows here at the latest.
 */
async function compareTails(
  { from, into }: Takeover,
  items: readonly Standing[],
  starts: ReadonlyMap<string, bigint>,
): Promise<void> {
  const firstOf = ({ p, position: { logStart } }: Standing) => {
    const start = starts.get(p.key) ?? 0n;
    return start > logStart ? start : logStart;
  };
  let open = [...items];
  for (let back = 1n; back <= tailSlotsMax; back++) {
    const places = open
      .filter((item) => item.position.logEnd - back >= firstOf(item))
      .map((item) => ({ ...placeOf(item.p), item, offset: item.position.logEnd - back }));
    if (places.length === 0) return;
    const [wanted, found] = await Promise.all([readSlotsAt(from, places), readSlotsAt(into, places)]);
    open = [];
    for (const { item, offset } of places) {
      const { key } = item.p;
      const slot = found.get(key);
      const original = wanted.get(key);
      // Cleaners take records from either log at their own time; what is legal there, the audit judges.
      if (slot === undefined || original === undefined || slot === 'hole' || original === 'hole') continue;
      if (slot === 'invisible' && original === 'invisible') open.push(item);
      else if (slot === 'invisible' || original === 'invisible' || !sameRecord(slot, original)) {
        throw new CutoverError('TARGET_DIVERGED', {
          what: `the last slot is not that of cluster ${from.name}`,
          where: `cluster ${into.name}, ${key}, offset ${offset}`,
          found: slot === 'invisible' ? 'no record' : 'a record',
          wanted: original === 'invisible' ? 'none' : 'the same record',
        });
      }
    }
  }
}

function placeOf({ topic, partition }: Partition) {
  return { topic, partition };
}

function sameRecord(a: KafkaRecord, b: KafkaRecord): boolean {
  return (
    a.timestamp === b.timestamp &&
    sameBytes(a.key, b.key) &&
    sameBytes(a.value, b.value) &&
    a.headers.length === b.headers.length &&
    a.headers.every((header, i) => {
      const other = b.headers[i];
      return other !== undefined && header.key.equals(other.key) && sameBytes(header.value, other.value);
    })
  );
}

function sameBytes(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}
