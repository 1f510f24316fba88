/** A whole move and the way back under applications that never stop writing and reading: what they saw of it, and how long they waited for what. */
import type { PlanInput } from '../../contract/plan.ts';
import type { Direction, StepRecord } from '../../contract/status.ts';
import type { ConsumerReport } from '../../examples/demo/consumer.ts';
import type { ProducerReport } from '../../examples/demo/producer.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import type { Scene } from '../e2e/support/scene.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { deleteRecords, write } from '../migration/rig.ts';

const phaseTimeoutMs = 120_000;
/** Each application's, before anything moves. */
const history = 1_000;

export interface Round {
  /** Told at gate `cutover`. */
  readonly facts: readonly string[];
  readonly acknowledged: number;
  readonly consumers: readonly ConsumerReport[];
  readonly there: Switch;
  readonly back: Switch;
}

export interface Switch {
  /** From the last acknowledgement of one cluster to the first of the other: the longest of all producers' partitions. */
  readonly pauseMs: number;
  /** What of it each part of the steps took, in order. */
  readonly phases: readonly (readonly [name: string, ms: number])[];
}

/** Both logs of each partition then start elsewhere, so a replicator that writes records anew gives none of them its offset. */
export async function shiftOffsets(
  source: Cluster,
  topics: Readonly<Record<string, number>>,
  by: number,
): Promise<void> {
  for (const [topic, partitions] of Object.entries(topics)) {
    for (let partition = 0; partition < partitions; partition++) {
      await write(source, topic, by, { partition });
      await deleteRecords(source, topic, partition, BigInt(by));
    }
  }
}

/** @throws Error when a step waits for people, or a wait was in vain */
export async function thereAndBack(scene: Scene, replicator: PlanInput['replicator']): Promise<Round> {
  await shiftOffsets(await scene.cluster('legacy'), scene.topics, 7);
  await scene.worker('worker').start().ready();
  const applications = await scene.startApplications({ recordsPerSecond: 50, history });
  const migration = await scene.migration({ ...(replicator && { replicator }) }).start();
  const facts = await migration.untilGate('cutover', phaseTimeoutMs);
  scene.say(facts.join('\n           '));

  // A mirror that has only just begun would be waited for within the pause, whatever it is.
  const partitions = Object.entries(scene.topics).flatMap(([topic, count]) =>
    Array.from({ length: count }, (_, partition) => ({ topic, partition })),
  );
  const [source, target] = [await scene.cluster('legacy'), await scene.cluster('next')];
  const held = async (cluster: Cluster) => {
    const [starts, ends] = [
      await listOffsets(cluster, partitions, 'start'),
      await listOffsets(cluster, partitions, 'logEnd'),
    ];
    return [...ends].reduce((sum, [key, end]) => sum + Number(end - (starts.get(key) ?? 0n)), 0);
  };
  const wanted = await held(source);
  await waitFor('the history to be copied', phaseTimeoutMs, async () => (await held(target)) >= wanted);
  await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
  await migration.untilGate('finalize', phaseTimeoutMs);
  scene.say('switched');
  await waitFor('applications to write to the target', phaseTimeoutMs, () => applications.acknowledgedBy('next') > 100);
  await migration.signal('rollback', { by: 'kafka-owner', reason: 'there and back' });
  await migration.untilEnded('rolledBack', phaseTimeoutMs);
  scene.say('rolled back');
  const steps = ((await migration.status())?.steps ?? []) as readonly StepRecord[];
  const before = applications.acknowledgedBy('legacy');
  await waitFor(
    'applications to write to the source again',
    phaseTimeoutMs,
    () => applications.acknowledgedBy('legacy') > before + 50,
  );
  const [there = Number.NaN, back = Number.NaN] = pausesOf(await applications.finishProducers());
  const acknowledged = applications.acknowledgements().reduce((sum, { count }) => sum + count, 0);
  const consumers = await waitFor('both groups to have read everything', phaseTimeoutMs, async () => {
    const all = await applications.consumers();
    return all.every(({ counts }) => counts.records >= acknowledged) ? all : null;
  });
  return {
    facts,
    acknowledged,
    consumers,
    there: { pauseMs: there, phases: phasesOf(steps, 'forward') },
    back: { pauseMs: back, phases: phasesOf(steps, 'reverse') },
  };
}

/** Of each switch: how long the partition that waited longest was not written to. */
function pausesOf(producers: readonly ProducerReport[]): readonly number[] {
  const lanes = producers.flatMap(({ stints }) => Object.values(stints));
  const switches = Math.max(...lanes.map((stints) => stints.length - 1));
  return Array.from({ length: switches }, (_, i) =>
    Math.max(...lanes.map((stints) => (stints[i + 1]?.firstAt ?? 0) - (stints[i]?.lastAt ?? 0))),
  );
}

function phasesOf(steps: readonly StepRecord[], wanted: Direction): Switch['phases'] {
  return steps
    .filter(({ direction }) => direction === wanted)
    .flatMap(({ startedAt, phases = [] }) =>
      phases.map(({ name, endedAt }, i) => {
        const beganAt = phases[i - 1]?.endedAt ?? startedAt;
        return [name, Date.parse(endedAt) - Date.parse(beganAt)] as const;
      }),
    );
}
