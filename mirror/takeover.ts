/**
 * Taking a partition over: from the two logs alone to where to go on, or to why it is not possible.
 */
import { CutoverError } from '../contract/errors.ts';
import type { KafkaRecord } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { listOffsets, passingFailure } from '../kafka/offsets.ts';
import { deleteHead, fillHead, type Head, inspectHead } from './head.ts';
import type { Partition } from './partition.ts';
import { type Position, readPositions, readRecordsAt } from './position.ts';

/** Heads that are filled at the same time. */
const headsAtOnce = 4;

export interface Takeover {
  readonly from: Cluster;
  readonly into: Cluster;
  /** In phase `taking`. Those that stay in it are to be taken over again: their head was written or deleted. */
  readonly partitions: readonly Partition[];
  readonly leaderOf: (partition: Partition) => number;
  readonly maxBatchBytes: number;
  readonly signal: AbortSignal;
}

/**
 * Sets each partition running, or works on its head.
 *
 * @throws CutoverError TARGET_DIVERGED, SOURCE_TRUNCATED, MIRROR_SHUT_OUT, and what the requests meet
 */
export async function takeOver(takeover: Takeover): Promise<void> {
  const { from, into, partitions, maxBatchBytes, signal } = takeover;
  const specs = partitions.map((p) => ({ topic: p.topic, partition: p.partition, producerId: p.spec.producerId }));
  const positions = await readPositions(into, specs, signal);
  if (signal.aborted) return;
  // After the position: what is read grows, so it may not end below what was written from it.
  const starts = await listOffsets(from, partitions, 'start');
  const ends = await listOffsets(from, partitions, 'logEnd');

  const standing: { p: Partition; position: Position }[] = [];
  const heads: (() => Promise<void>)[] = [];
  for (const p of partitions) {
    const position = positions.get(p.key);
    const start = starts.get(p.key);
    const end = ends.get(p.key);
    const leader = takeover.leaderOf(p);
    if (!position || start === undefined || end === undefined) continue;
    if (leader < 0) throw passingFailure({ what: 'no leader', where: `cluster ${into.name}, ${p.key}` });
    const where = `cluster ${into.name}, ${p.key}`;
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
    if (end > p.end) p.end = end;
    const head: Head = {
      into,
      topic: p.topic,
      partition: p.partition,
      leader,
      producerId: p.spec.producerId,
      maxBatchBytes,
    };
    if (position.logEnd < start) heads.push(() => extendHead(head, position, start, from.name, signal));
    else if (position.logEnd === start && position.logStart < position.logEnd) {
      heads.push(async () => {
        if ((await inspectHead(head, position.logStart, position.logEnd)) === 'filler') await deleteHead(head, start);
        else await settle([{ p, position }]);
      });
    } else standing.push({ p, position });
  }

  await settle(standing);
  for (let i = 0; i < heads.length; i += headsAtOnce) {
    await Promise.all(heads.slice(i, i + headsAtOnce).map((work) => work()));
  }

  async function settle(items: readonly { p: Partition; position: Position }[]): Promise<void> {
    await compareTails(takeover, items, starts);
    for (const { p, position } of items) {
      const { nextSequence, remembered } = position;
      p.take(position.logEnd, { nextSequence, remembered, writtenLeader: takeover.leaderOf(p) });
    }
  }
}

/** The written log ends below where the other begins. */
async function extendHead(
  head: Head,
  position: Position,
  start: bigint,
  fromName: string,
  signal: AbortSignal,
): Promise<void> {
  const { logStart, logEnd, nextSequence, remembered } = position;
  const where = `cluster ${head.into.name}, ${head.topic}/${head.partition}`;
  if (logStart < logEnd) {
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

/** The last record written must be the one that the other log has at that offset: a stranger's record shows here at the latest. */
async function compareTails(
  { from, into }: Takeover,
  items: readonly { p: Partition; position: Position }[],
  starts: ReadonlyMap<string, bigint>,
): Promise<void> {
  const places = items
    .filter(({ p, position }) => position.logEnd > position.logStart && position.logEnd > (starts.get(p.key) ?? 0n))
    .map(({ p, position }) => ({ topic: p.topic, partition: p.partition, key: p.key, offset: position.logEnd - 1n }));
  if (places.length === 0) return;
  const [wanted, found] = await Promise.all([readRecordsAt(from, places), readRecordsAt(into, places)]);
  for (const { key, offset } of places) {
    const record = found.get(key);
    const original = wanted.get(key);
    if (record && original && !sameRecord(record, original)) {
      throw new CutoverError('TARGET_DIVERGED', {
        what: `the last record is not that of cluster ${from.name}`,
        where: `cluster ${into.name}, ${key}, offset ${offset}`,
      });
    }
  }
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
