/** How far mirror and audit are, and what the move would cost right now. Never kept: measurements are taken again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { capabilitiesOf } from '../contract/replicators.ts';
import type { Direction } from '../contract/status.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { readAudit } from './audit-positions.ts';
import { sidesOf } from './boundary.ts';
import { expectedClasses, type Totals, type Translate } from './groups.ts';
import { openTransactions } from './transactions.ts';
import type { Wave } from './wave.ts';

export interface Measured {
  /** ISO 8601. */
  readonly asOf: string;
  readonly lagRecords: number;
  readonly auditLagRecords: number;
  /** Of the cluster that is moved away from, over `rateWindowMs`. */
  readonly writtenPerSecond: number;
  readonly copiedPerSecond: number;
  readonly expectedPauseMs: number;
  readonly fitsFence: boolean;
  readonly openTransactions: readonly string[];
  readonly groups: Totals | null;
}

const rateWindowMs = 500;
/** Slower than any mirror that we have measured: what is left is estimated with it until a faster rate is seen. */
const recordsPerSecondMin = 5_000;
/** What the fence's steps take beside copying: rules, proof, offsets, opening. */
const fenceStepsMs = 1_500;
/** What is left to copy and compare may take this share of `fence.maxHold`. */
const shareOfFence = 0.25;

/** How far the copy is, and how far it has been compared; both per partition, as offsets of the cluster that is moved away from. */
export interface Progress {
  copied(): Promise<ReadonlyMap<string, bigint>>;
  compared(): Promise<ReadonlyMap<string, bigint>>;
}

/** @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED */
export async function measure(
  wave: Wave,
  direction: Direction,
  progress = slots(wave, direction),
  translate?: Translate,
): Promise<Measured> {
  const { from } = sidesOf(direction);
  const ends = () => listOffsets(wave.clusters[from], wave.partitions, 'logEnd');
  const [firstFrom, firstCopied] = await Promise.all([ends(), progress.copied()]);
  const began = performance.now();
  await sleep(rateWindowMs);
  const [fromEnds, copied] = await Promise.all([ends(), progress.copied()]);
  const seconds = (performance.now() - began) / 1000;
  const lagRecords = behind(fromEnds, copied);
  const auditLagRecords = behind(fromEnds, await progress.compared());
  const copiedPerSecond = Math.round(behind(copied, firstCopied) / seconds);
  const capacity = Math.max(copiedPerSecond, recordsPerSecondMin);
  const catchUpMs = Math.ceil(((lagRecords + auditLagRecords) / capacity) * 1000);
  const open = await openTransactions(wave.clusters[from], wave.partitions);
  return {
    asOf: new Date().toISOString(),
    lagRecords,
    auditLagRecords,
    writtenPerSecond: Math.round(behind(fromEnds, firstFrom) / seconds),
    copiedPerSecond,
    expectedPauseMs: wave.plan.fence.quiet + fenceStepsMs + catchUpMs,
    fitsFence: catchUpMs <= wave.plan.fence.maxHold * shareOfFence,
    openTransactions: open.map((t) => `${t.transactionalId} (${t.state}, ${Math.round(t.ageMs / 1000)} s)`),
    groups: direction === 'forward' && wave.groups.length > 0 ? await groupsNow(wave, translate) : null,
  };
}

/** Where a record has the same offset on both clusters, the log that is written says how far the copy is. */
function slots(wave: Wave, direction: Direction): Progress {
  return {
    copied: () => listOffsets(wave.clusters[sidesOf(direction).into], wave.partitions, 'logEnd'),
    compared: async () =>
      new Map((await readAudit(wave, wave.partitions)).map((p) => [partitionKey(p.topic, p.partition), p.position])),
  };
}

async function groupsNow(wave: Wave, translate?: Translate): Promise<Totals> {
  const sameOffsets = capabilitiesOf(wave.plan).offsetIdentity;
  return expectedClasses(wave.clusters, wave.groups, wave.groupTopics, {
    shares: wave.shareGroups,
    translate,
    sameOffsets,
  });
}

/** Sum over partitions of how far `b` is behind `a`. */
function behind(a: ReadonlyMap<string, bigint>, b: ReadonlyMap<string, bigint>): number {
  let sum = 0;
  for (const [key, end] of a) {
    const left = Number(end - (b.get(key) ?? 0n));
    if (left > 0) sum += left;
  }
  return sum;
}
