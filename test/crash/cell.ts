/**
 * One migration that is struck at points of it, with applications that never stop trying to write to both clusters, and what is to be said
 * about it afterwards.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { codes } from '../../contract/errors.ts';
import type { PlanInput } from '../../contract/plan.ts';
import { workflowId } from '../../contract/status.ts';
import { type Logs, readLogs } from '../../examples/demo/judge.ts';
import { type Acl, createAcls } from '../../kafka/acls.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { createTopic } from '../../kafka/topics.ts';
import { Migration } from '../e2e/support/migration.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import type { ClusterName, Lane } from './lane.ts';
import { type Fault, type Leg, legs } from './points.ts';
import { type CellVerdict, verdictOn } from './verdict.ts';
import { Writers } from './writers.ts';

/** What people ask of the migration: to move and stay, to come back, to give up while the source is fenced, to move the group after the producers. */
export const paths = ['forward', 'reverse', 'abort', 'later'] as const;
export type Path = (typeof paths)[number];

export interface CellOptions {
  /** Unique on the stack. */
  readonly name: string;
  readonly path: Path;
  readonly faults: readonly Fault[];
  readonly everyMs: number;
  /** How long a fence may last. */
  readonly maxHoldMs: number;
  /** Of all of it, through any number of faults; five minutes by default. */
  readonly timeoutMs?: number;
  /** What happens at a fault of the kind `meddle`, while the worker waits. */
  readonly meddle?: (hands: Hands) => Promise<void>;
  /** How long the migration stays where it has moved to before it is finalized, or goes back; not at all by default. */
  readonly restMs?: number;
}

/** What somebody who meddles with a migration has to do with. */
export interface Hands {
  readonly lane: Lane;
  readonly plan: PlanInput;
  readonly topic: string;
  readonly group: string;
  /** A position that an application has committed: the group must stand there in the end. */
  committed(offset: bigint): void;
  /** True from when the migration waits for people, or is over. */
  noticed(): boolean;
}

export interface CellResult extends CellVerdict {
  readonly path: Path;
  readonly outcome: string;
  /** Of the faults that were armed, whether their points were reached. */
  readonly reached: readonly boolean[];
  /** Where it waited for people: codes, in the order in which they were shown. */
  readonly waits: readonly string[];
  /** Tries of applications that were refused, and those of which nobody knows how they ended. */
  readonly refused: number;
  readonly unclear: number;
  readonly seconds: number;
  /** Points that were passed in each leg. */
  readonly points: Readonly<Record<Leg, readonly string[]>>;
  /** File of the run's history. */
  readonly history: string;
}

const partitions = 2;
const cellTimeoutMs = 300_000;
const writeTimeoutMs = 60_000;
const triesAfterwards = 20;
const lookEveryMs = 100;
/** A message that was lost is sent again; one that was not is harmless. */
const sayAgainMs = 3_000;
const outcomes = { forward: 'completed', reverse: 'rolledBack', abort: 'aborted', later: 'completed' } as const;
/** How often applications move. */
const moves = { forward: 1, reverse: 2, abort: 0, later: 1 } as const;

export async function runCell(
  lane: Lane,
  { name, path, faults, everyMs, maxHoldMs, timeoutMs = cellTimeoutMs, meddle, restMs = 0 }: CellOptions,
): Promise<CellResult> {
  const began = performance.now();
  const topic = `${name}.records`;
  const group = `${name}-group`;
  const [writer, reader] = ['app-writer-1', 'app-reader-1'] as const;
  const files = lane.points(name);
  const legacy = await lane.admin('legacy');
  await createTopic(legacy, { name: topic, partitions, replicationFactor: 1, configs: {} });
  await createAcls(legacy, [
    allow(writer, 'write', 'topic', topic),
    allow(writer, 'describe', 'topic', topic),
    allow(reader, 'read', 'topic', topic),
    allow(reader, 'read', 'group', group),
  ]);
  const clusters = { legacy: lane.login('legacy', writer), next: lane.login('next', writer) };
  await using writers = new Writers({ topic, partitions, clusters, everyMs });
  await waitFor('applications to write', writeTimeoutMs, () => writers.accepted.length >= 40);

  const commit = async (cluster: ClusterName, offset: bigint): Promise<string[]> => {
    const positions = positionsAt(topic, offset);
    await commitOffsets(await lane.admin(cluster), group, positions);
    return said(positions);
  };
  const standsOn = async (cluster: ClusterName): Promise<string[]> => {
    const found = (await fetchOffsets(await lane.admin(cluster), [group], { requireStable: false })).get(group);
    return said([...(found?.values() ?? [])]);
  };
  let wanted = await commit('legacy', 3n);
  const passedBefore = new Map<Leg, number>();
  /** Faults of this leg may happen from here on. */
  const enter = (leg: Leg): void => {
    if (passedBefore.has(leg)) return;
    passedBefore.set(leg, files.passed().length);
    files.arm(faults.map((fault) => (passedBefore.has(fault.leg) ? fault : null)));
  };
  enter('begin');
  const waits: string[] = [];

  const free = { approvals: 0 };
  // Back on the source it waits for people, unless nothing is to happen there.
  const backWaits = path === 'reverse' && (faults.length === 0 || faults.some(({ leg }) => leg === 'back'));
  const migration = await new Migration(
    {
      name,
      source: 'legacy',
      target: 'next',
      topics: { include: [topic.replaceAll('.', '\\.')] },
      groups: { include: [group] },
      // Long enough for people to change their minds in it.
      fence: { maxHold: `${maxHoldMs}ms`, ...(path === 'abort' && { quiet: '3s' }) },
      producers: { switch: 'manual' },
      consumers: { switch: 'manual', ...(path === 'later' && { when: 'later' }) },
      gates: {
        cutover: { approvals: 1, approvers: ['kafka-owner'] },
        producers: backWaits ? { approvals: 1 } : free,
        consumers: path === 'later' ? { approvals: 1 } : free,
        finalize: { approvals: 1 },
      },
      verify: { producersWait: '2s' },
    },
    lane.scene.temporal,
    lane.scene.client,
  ).start();

  const over = new AbortController();
  const hands: Hands = {
    lane,
    plan: migration.plan,
    topic,
    group,
    committed: (offset) => {
      wanted = said(positionsAt(topic, offset));
    },
    noticed: () => waits.length > 0 || over.signal.aborted,
  };
  // One after the other: whoever has reached a point waits there.
  let before: Promise<unknown> = Promise.resolve();
  const strikes = faults.map(async (fault, index) => {
    while (!files.reached(index)) {
      if (over.signal.aborted) return;
      await sleep(10);
    }
    lane.scene.say(`${name}: ${fault.kind} at ${fault.point}`);
    const strike = before.then(async () => {
      if (fault.kind !== 'meddle') return lane.strike(name, fault, index);
      await meddle?.(hands).finally(() => files.begun(index));
    });
    before = strike.catch(() => undefined);
    await strike;
  });
  const striking = Promise.all(strikes);
  striking.catch(() => undefined); // awaited below

  const lastSaid = new Map<string, number>();
  const say = async (key: string, ...message: Parameters<Migration['signal']>): Promise<boolean> => {
    if (performance.now() - (lastSaid.get(key) ?? Number.NEGATIVE_INFINITY) < sayAgainMs) return false;
    lastSaid.set(key, performance.now());
    return migration.signal(...message).then(
      () => true,
      () => false, // the server is away, or the run has ended
    );
  };
  const by = 'kafka-owner';
  const faultsFound: string[] = [];
  let openedAt = 0;
  let goneBack = false;
  let standing = '';
  /** Nobody gives up before what is to happen in the fence has happened. */
  const struckInFence = () =>
    faults.every(({ leg, point }, index) => {
      return leg !== 'cutover' || /^(unfence|undoAll) /.test(point) || files.reached(index);
    });
  const look = async (): Promise<boolean> => {
    const seen = await migration.glance();
    standing = JSON.stringify(seen);
    if (!seen.running) return true;
    if (path === 'abort' && seen.truth === 'none' && struckInFence()) await say('abort', 'abort', { by });
    if (path === 'reverse' && seen.step === 'rollback') goneBack = true;
    if (!seen.awaiting) return false;
    const status = await migration.status();
    if (!status) return false;
    standing = `${JSON.stringify(seen)} ${JSON.stringify(status.failedStep)}`;
    if (status.failedStep) {
      const { step, code } = status.failedStep;
      if (await say(`decide ${step}`, 'decide', { step, choice: 'retry', by })) waits.push(code);
      return false;
    }
    const gate = status.awaiting?.gate;
    if (gate === undefined) return false;
    if (gate === 'cutover') {
      enter('cutover');
      await say('cutover', 'approve', { gate, by });
    } else if (gate === 'finalize') {
      // The rollback that was asked for has begun: the gate goes when that is approved.
      if (seen.step === 'rollback') return false;
      openedAt ||= performance.timeOrigin + performance.now();
      // Whoever was let in writes, however he is connected.
      if (!writers.takenBy('next', openedAt)) return false;
      if (performance.timeOrigin + performance.now() < openedAt + restMs) return false;
      if (path === 'reverse' && !passedBefore.has('opened')) {
        const found = await standsOn('next');
        if (found.join() !== wanted.join()) {
          faultsFound.push(`the group stands at ${found.join(' ')} on next, wanted ${wanted.join(' ')}`);
        }
        wanted = await commit('next', 7n);
      }
      enter('opened');
      if (path !== 'reverse') await say(gate, 'approve', { gate, by });
      else {
        if (goneBack) {
          goneBack = false;
          const failed = status.findings.find(({ message }) => message.startsWith('the rollback failed'));
          waits.push(failed?.code ?? 'none');
          // It has stayed on the target, where applications must write again before anybody tries once more.
          openedAt = 0;
          return false;
        }
        await say('rollback', 'rollback', { by });
      }
    } else {
      if (gate === 'consumers' && path === 'later' && !passedBefore.has('opened')) {
        // The group has read on where it was.
        wanted = await commit('legacy', 5n);
        enter('opened');
      }
      if (gate === 'producers' && passedBefore.has('opened')) enter('back');
      await say(gate, 'approve', { gate, by });
    }
    return false;
  };
  const handle = lane.scene.temporal.workflow.getHandle(workflowId(name));
  let outcome = 'stuck';
  try {
    await waitFor(`${name} to end`, timeoutMs, () => look().catch(() => false), {
      everyMs: lookEveryMs,
      standing: () => standing,
    });
    outcome = await migration.howItEnded();
  } catch (error) {
    faultsFound.push((error as Error).message);
    // The next one has the lane to itself.
    await handle.terminate('it was stuck').catch(() => undefined);
  }
  over.abort();
  await striking;
  const uncoded = waits.filter((code) => !Object.hasOwn(codes, code));
  if (uncoded.length > 0) faultsFound.push(`it waited without a code: ${uncoded.join(', ')}`);
  if (outcome !== outcomes[path]) faultsFound.push(`it ended as ${outcome}, wanted ${outcomes[path]}`);
  // Where it has ended, applications can write.
  const home: ClusterName = moves[path] === 1 ? 'next' : 'legacy';
  const endedAt = performance.timeOrigin + performance.now();
  await waitFor(`applications to write to ${home}`, writeTimeoutMs, () => writers.takenBy(home, endedAt)).catch(
    (error: Error) => faultsFound.push(error.message),
  );
  // Whoever has just woken up has the time to do harm that shows.
  await waitFor('every application to try again', writeTimeoutMs, writers.triedAgain(triesAfterwards));
  await writers[Symbol.asyncDispose]();
  const logsOf = (cluster: ClusterName): Promise<Logs> =>
    readLogs(lane.scene.kafka(cluster), [topic]).catch((error: Error) => {
      // A migration that came to nothing has made no topic.
      faultsFound.push(`${topic} cannot be read on ${cluster}: ${error.message}`);
      return new Map();
    });
  const [onLegacy, onNext] = await Promise.all([logsOf('legacy'), logsOf('next')]);
  const verdict = verdictOn({
    home,
    moves: moves[path],
    accepted: writers.accepted,
    logs: { legacy: onLegacy, next: onNext },
    positions: { wanted, found: await standsOn(home) },
  });
  const history = join(lane.scene.dir, `${name}.history.json`);
  writeFileSync(history, historyToJSON(await handle.fetchHistory()));
  return {
    path,
    outcome,
    reached: faults.map((_, index) => files.reached(index)),
    waits,
    refused: writers.refused,
    unclear: writers.unclear,
    seconds: Math.round((performance.now() - began) / 1000),
    points: pointsByLeg(files.passed(), passedBefore),
    history,
    ...verdict,
    faults: [...faultsFound, ...verdict.faults],
  };
}

function positionsAt(topic: string, offset: bigint) {
  return Array.from({ length: partitions }, (_, partition) => ({
    topic,
    partition,
    offset: offset + BigInt(partition),
  }));
}

function said(positions: readonly { readonly partition: number; readonly offset: bigint }[]): string[] {
  return positions.map(({ partition, offset }) => `${partition}@${offset}`).sort();
}

function pointsByLeg(passed: readonly string[], begins: ReadonlyMap<Leg, number>): Record<Leg, readonly string[]> {
  const entered = legs.filter((leg) => begins.has(leg));
  const of = (leg: Leg) => {
    const next = entered[entered.indexOf(leg) + 1];
    return begins.has(leg) ? passed.slice(begins.get(leg), next && begins.get(next)) : [];
  };
  return { begin: of('begin'), cutover: of('cutover'), opened: of('opened'), back: of('back') };
}

function allow(
  user: string,
  operation: Acl['operation'],
  resourceType: Acl['resourceType'],
  resourceName: string,
): Acl {
  const rule = { host: '*', permission: 'allow', patternType: 'literal' } as const;
  return { ...rule, resourceType, resourceName, principal: `User:${user}`, operation };
}
