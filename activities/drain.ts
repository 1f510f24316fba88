/** Waits for the mirror and the audit, and says what a cutover would mean right now. */
import { setTimeout as sleep } from 'node:timers/promises';
import { capabilitiesOf } from '../contract/replicators.ts';
import type { Direction } from '../contract/status.ts';
import { partitionKey } from '../kafka/offsets.ts';
import { sidesOf } from '../migration/boundary.ts';
import { fenceFacts, transactionFacts } from '../migration/fences/facts.ts';
import { type Measured, measure, type Progress } from '../migration/measure.ts';
import { isSampled } from '../migration/needs.ts';
import { readPairs } from '../migration/pairs.ts';
import { HoldingWatch } from '../migration/transactions.ts';
import type { Wave } from '../migration/wave.ts';
import { replicatorOf } from '../replicators/registry.ts';
import type { Connections } from './connections.ts';
import { cancellation, heartbeatDetails } from './failures.ts';
import { translatorOf } from './mirror.ts';
import type { ControlActivities, Measurement } from './types.ts';

const lookEveryMs = 300;
/** In a row: a lag that is small by chance is not drained. */
const looksThatFit = 2;

export function drainActivities(connections: Connections): Pick<ControlActivities, 'drainLag' | 'measure'> {
  return {
    async drainLag({ direction, ...scope }) {
      const wave = await connections.wave(scope);
      const signal = cancellation();
      const holding = new HoldingWatch(wave.clusters[sidesOf(direction).from], wave.partitions);
      for (let fitting = 0; ; ) {
        const measured = await measureNow(wave, direction, connections);
        const measurement = { ...measured, findings: await holding.look() };
        heartbeatDetails(measurement);
        fitting = measurement.fitsFence ? fitting + 1 : 0;
        if (fitting === looksThatFit) return measurement;
        await sleep(lookEveryMs, undefined, { signal });
      }
    },

    async measure({ direction, ...scope }) {
      const wave = await connections.wave(scope);
      return measureNow(wave, direction, connections);
    },
  };
}

async function measureNow(wave: Wave, direction: Direction, connections: Connections): Promise<Measurement> {
  const progress = progressOf(wave, direction, connections);
  // Where records arrive changed, a group's class follows from what became of them, and is no matter of the lag alone.
  const isChanged = replicatorOf(wave.plan).translate !== undefined;
  const translate = isChanged ? translatorOf(wave, direction, connections, { signal: cancellation() }) : undefined;
  return toMeasurement(wave, direction, await measure(wave, direction, progress, translate));
}

function toMeasurement(wave: Wave, direction: 'forward' | 'reverse', measured: Measured): Measurement {
  const { exact = 0, replays = 0, untranslatable = 0, replayedRecords = 0 } = measured.groups ?? {};
  const facts = [
    `lag ${measured.lagRecords} records, ${measured.auditLagRecords} still to be compared, ${measured.writtenPerSecond} written per second`,
    ...(isSampled(wave.plan) ? ['records are sampled (verify.records): equality is not proven'] : []),
    `expected pause for writers: about ${(measured.expectedPauseMs / 1000).toFixed(1)} s, at most ${wave.plan.fence.maxHold / 1000} s (fence.maxHold)`,
    ...fenceFacts(wave.plan, direction, { topics: wave.topicNames, groups: wave.groups }),
    ...(measured.groups
      ? [
          `${wave.groups.length} groups: ${exact} positions exact, ${replays} read ${replayedRecords} records again, ${untranslatable} untranslatable`,
        ]
      : []),
    ...transactionFacts(wave.plan, measured.openTransactions),
  ];
  return {
    asOf: measured.asOf,
    lagRecords: measured.lagRecords,
    auditLagRecords: measured.auditLagRecords,
    recordsPerSecond: measured.copiedPerSecond,
    expectedPauseMs: measured.expectedPauseMs,
    fitsFence: measured.fitsFence,
    openTransactions: measured.openTransactions,
    groups: { exact, replays, untranslatable },
    facts,
  };
}

/** Where offsets differ: as far as the replicator says, or the audit has found, whichever is further. */
function progressOf(wave: Wave, direction: Direction, { file }: Connections): Progress | undefined {
  if (capabilitiesOf(wave.plan).offsetIdentity) return undefined;
  const compared = async () =>
    new Map((await readPairs(wave, direction)).map((p) => [partitionKey(p.topic, p.partition), p.place.origin]));
  return {
    compared,
    async copied() {
      const leg = { wave, direction, file, signal: cancellation() };
      const [found, said] = await Promise.all([compared(), replicatorOf(wave.plan).position(leg)]);
      return new Map([...found].map(([key, place]) => [key, greater(place, said.get(key) ?? 0n)]));
    },
  };
}

const greater = (a: bigint, b: bigint) => (a > b ? a : b);
