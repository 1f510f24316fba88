/** How far mirror and audit are, and what the move would cost right now. Never kept: measurements are taken again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Direction } from '../contract/status.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { readAudit } from './audit-positions.ts';
import { sidesOf } from './boundary.ts';
import { expectedClasses, type Totals } from './groups.ts';
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

/** @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED */
export async function measure(wave: Wave, direction: Direction): Promise<Measured> {
  const { from, into } = sidesOf(direction);
  const ends = (side: 'source' | 'target') => listOffsets(wave.clusters[side], wave.partitions, 'logEnd');
  const [firstFrom, firstInto] = await Promise.all([ends(from), ends(into)]);
  const began = performance.now();
  await sleep(rateWindowMs);
  const [fromEnds, intoEnds] = await Promise.all([ends(from), ends(into)]);
  const seconds = (performance.now() - began) / 1000;
  const audit = await readAudit(wave, wave.partitions);
  const lagRecords = behind(fromEnds, intoEnds);
  const audited = new Map(audit.map((p) => [partitionKey(p.topic, p.partition), p.position]));
  const auditLagRecords = behind(fromEnds, audited);
  const copiedPerSecond = Math.round(behind(intoEnds, firstInto) / seconds);
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
    groups: direction === 'forward' && wave.groups.length > 0 ? await groupsNow(wave) : null,
  };
}

async function groupsNow(wave: Wave): Promise<Totals> {
  return expectedClasses(wave.clusters, wave.groups, wave.groupTopics, wave.shareGroups);
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
