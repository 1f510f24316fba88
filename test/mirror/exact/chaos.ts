/**
 * Mirrors of one topic that are killed and frozen at random moments while its log grows, brokers and leaders with them if asked; at
 * the end everything thaws, the log is carried to its end, and the judges look.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../../../contract/errors.ts';
import type { Cluster } from '../../../kafka/cluster.ts';
import { moveLeaders, newestMetadata } from '../../../kafka/leadership.ts';
import type { LocalBroker } from '../../../stack/stack.ts';
import type { Random } from '../../e2e/support/random.ts';
import { hasCaughtUp, whereItStands } from './catch-up.ts';
import { type Clusters, createTopics, type MirroredTopic } from './clusters.ts';
import type { Judge } from './judge.ts';
import type { LogWriter } from './log-writer.ts';
import { jobOn, MirrorChild } from './mirror-child.ts';
import { liveProducers, liveSteps } from './random-log.ts';
import type { SlotCounts } from './slots.ts';
import type { User } from './without-marker-rights.ts';

export interface ChaosPlan {
  readonly partitions: number;
  /** At once, on the same partitions. */
  readonly mirrors: number;
  readonly keepAborted: boolean;
  readonly transactions: boolean;
  /** SIGKILLs of mirrors; the scenario is over when they are used up. */
  readonly kills: number;
  /** Beside each kill, on the average. */
  readonly freezesPerKill?: number;
  readonly leaderMovesPerKill?: number;
  /** SIGKILLs of brokers of either cluster, and SIGSTOPs. */
  readonly brokerKills?: number;
  readonly brokerFreezes?: number;
  /** Records older than the target remembers their producer, which it forgets after this long. */
  readonly rememberedForMs?: number;
  /** Ends the scenario early; what was done counts. */
  readonly timeMaxMs?: number;
}

export interface ChaosCounts {
  kills: number;
  freezes: number;
  leaderMoves: number;
  brokerKills: number;
  brokerFreezes: number;
  mirrors: number;
  /** Steps of the log that the source refused while its brokers were down. */
  refusedSteps: number;
}

export interface ChaosResult extends ChaosCounts {
  readonly slots: SlotCounts;
  readonly differences: readonly string[];
}

export interface ChaosScene {
  readonly clusters: Clusters;
  readonly writer: LogWriter;
  readonly judge: Judge;
  readonly random: Random;
  readonly say: (line: string) => void;
  /** As whom mirrors write; as a super user by default. */
  readonly writesAs?: User | undefined;
}

/** Between kills. */
const lifeMaxMs = 1_200;
const freezeMaxMs = 1_500;
const brokerFreezeMaxMs = 5_000;
/** Between steps of the log: faster than mirrors catch up with, it would be one long tail. */
const stepPauseMs = 15;
const stepsAtOnce = 200;
const carriedTimeoutMs = 600_000;
/** For what a thawed mirror still does once the others have carried everything. */
const afterThawMs = 1_500;
const pollMs = 100;
const timeMaxMsDefault = 900_000;
/** A mirror that ends by itself is a difference, and not started for ever. */
const failuresMax = 5;

export async function chaos(scene: ChaosScene, plan: ChaosPlan): Promise<ChaosResult> {
  const { clusters, writer, judge } = scene;
  const { partitions, keepAborted } = plan;
  const mirrored = await createTopics(clusters, { partitions, keepAborted });
  const log = writer.log(mirrored.topic, partitions, liveProducers);
  const counts: ChaosCounts = {
    kills: 0,
    freezes: 0,
    leaderMoves: 0,
    brokerKills: 0,
    brokerFreezes: 0,
    mirrors: 0,
    refusedSteps: 0,
  };
  const differences: string[] = [];
  const over = new AbortController();
  const mirrors = Array.from({ length: plan.mirrors }, () => new Mirror(scene, plan, mirrored, counts));

  const writing = growLog();
  const running = mirrors.map((mirror) => mirror.run());
  await meddle(scene, plan, mirrored, mirrors, counts);
  over.abort();
  await writing;
  await untilEnded();

  const deadline = performance.now() + carriedTimeoutMs;
  const failed = () => mirrors.every((mirror) => mirror.failures.length >= failuresMax);
  while (!failed() && !(await hasCaughtUp(clusters, mirrored).catch(() => false))) {
    if (performance.now() > deadline) {
      differences.push(`not carried after ${carriedTimeoutMs} ms: ${await whereItStands(clusters, mirrored)}`);
      break;
    }
    await sleep(pollMs);
  }
  for (const mirror of mirrors) mirror.thaw();
  await sleep(afterThawMs);
  await Promise.all(mirrors.map((mirror) => mirror.end()));
  await Promise.all(running);
  for (const { failures } of mirrors)
    differences.push(...failures.map((failure) => `a mirror ended by itself: ${failure}`));
  const rules = { aborted: keepAborted && !scene.writesAs ? ('keep' as const) : ('drop' as const) };
  const topic = { topic: mirrored.topic, partitions };
  // Once more where the judge itself met a broker that had just come back.
  const verdict = await judge.judge(topic, rules).catch(() => judge.judge(topic, rules));
  return { ...counts, slots: verdict.slots, differences: [...differences, ...verdict.differences] };

  async function growLog(): Promise<void> {
    while (!over.signal.aborted) {
      const seed = Math.floor(scene.random() * 2 ** 31);
      const { transactions } = plan;
      const old = plan.rememberedForMs !== undefined;
      for (const step of liveSteps({ seed, partitions, count: stepsAtOnce, transactions, old })) {
        if (over.signal.aborted) return;
        await log.write([step]).catch(() => counts.refusedSteps++);
        await sleep(stepPauseMs);
      }
    }
  }

  /** A transaction whose end was refused is ended by the next incarnation of its producer. */
  async function untilEnded(): Promise<void> {
    await log.endAll().catch(() => counts.refusedSteps++);
    if (!plan.transactions) return;
    for (let attempt = 0; ; attempt++) {
      try {
        await writer.ask({ do: 'forget' });
        await log.write(
          [0, 1, 2].map((producer) => ({
            do: 'send',
            producer,
            partition: 0,
            records: [{ k: null, v: { seed: producer, size: 10, noise: false } }],
          })),
        );
        await log.endAll();
        return;
      } catch (error) {
        if (attempt === 5) throw error;
      }
    }
  }
}

/** One mirror after the other in the same role, for as long as it is wanted. */
class Mirror {
  readonly failures: string[] = [];
  readonly #scene: ChaosScene;
  readonly #plan: ChaosPlan;
  readonly #mirrored: MirroredTopic;
  readonly #counts: ChaosCounts;
  #child: MirrorChild | undefined;
  #ended = false;
  #frozen = false;

  constructor(scene: ChaosScene, plan: ChaosPlan, mirrored: MirroredTopic, counts: ChaosCounts) {
    this.#scene = scene;
    this.#plan = plan;
    this.#mirrored = mirrored;
    this.#counts = counts;
  }

  /** Until `end`: after the meddling somebody has to carry the rest. */
  async run(): Promise<void> {
    const { rememberedForMs } = this.#plan;
    while (!this.#ended && this.failures.length < failuresMax) {
      this.#counts.mirrors++;
      const job = jobOn(this.#mirrored, {
        ...(this.#scene.writesAs && { writesAs: this.#scene.writesAs }),
        lifeMs: 600_000,
        ...(rememberedForMs !== undefined && { rememberedForMs }),
      });
      const child = new MirrorChild(job, this.#scene.clusters.stack.env);
      this.#child = child;
      await child.ended;
      this.#frozen = false;
      // Nobody answered when it came: it never began.
      if (child.failed === 'CLUSTER_UNREACHABLE' && (this.#plan.brokerKills ?? 0) > 0) await sleep(pollMs);
      else if (child.failed) {
        this.failures.push(`${child.failed} ${child.message}`);
        this.#scene.say(`a mirror failed: ${child.failed} ${child.message}`);
      }
    }
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  /** After a random life; false where there was nothing to kill. */
  async kill(afterMs: number): Promise<boolean> {
    const child = this.#child;
    if (!child || this.#frozen) return false;
    await child.working;
    await sleep(afterMs);
    if (!child.running) return false;
    await child.kill();
    return true;
  }

  async freeze(forMs: number): Promise<boolean> {
    const child = this.#child;
    if (!child || this.#frozen) return false;
    await child.working;
    if (!child.running) return false;
    this.#frozen = true;
    child.freeze();
    await sleep(forMs);
    this.thaw();
    return true;
  }

  thaw(): void {
    this.#frozen = false;
    this.#child?.thaw();
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#child?.kill();
  }
}

/** Until the kills are used up: kills, freezes and leader moves at random, brokers spread over the time. */
async function meddle(
  scene: ChaosScene,
  plan: ChaosPlan,
  mirrored: MirroredTopic,
  mirrors: readonly Mirror[],
  counts: ChaosCounts,
): Promise<void> {
  const { random, clusters, say } = scene;
  const deadline = performance.now() + (plan.timeMaxMs ?? timeMaxMsDefault);
  const brokers = [...(clusters.stack.source?.brokers ?? []), ...(clusters.stack.target?.brokers ?? [])];
  const oneOf = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
  const sleeping: Promise<unknown>[] = [];
  const brokerEvery = (events: number) => (events > 0 ? plan.kills / events : Number.POSITIVE_INFINITY);
  let nextBrokerKill = brokerEvery(plan.brokerKills ?? 0) / 2;
  let nextBrokerFreeze = brokerEvery(plan.brokerFreezes ?? 0) / 2;
  /** Only one broker is out of order at a time: with two of three nobody promises anything. */
  let brokerBusy: Promise<unknown> = Promise.resolve();
  while (counts.kills < plan.kills && performance.now() < deadline) {
    if (mirrors.every(({ failures }) => failures.length >= failuresMax)) break;
    if (random() < (plan.freezesPerKill ?? 0)) {
      const mirror = oneOf(mirrors);
      sleeping.push(mirror.freeze(random() * freezeMaxMs).then((done) => done && counts.freezes++));
    }
    if (random() < (plan.leaderMovesPerKill ?? 0)) {
      const cluster = random() < 0.5 ? clusters.source : clusters.target;
      // Where a broker is down nothing moves.
      counts.leaderMoves += await moveSomeLeaders(cluster, mirrored, random).catch(() => 0);
    }
    if (counts.kills >= nextBrokerKill) {
      nextBrokerKill += brokerEvery(plan.brokerKills ?? 0);
      const broker = oneOf(brokers);
      brokerBusy = brokerBusy.then(() => killBroker(broker));
      counts.brokerKills++;
    }
    if (counts.kills >= nextBrokerFreeze) {
      nextBrokerFreeze += brokerEvery(plan.brokerFreezes ?? 0);
      const [broker, ms] = [oneOf(brokers), random() * brokerFreezeMaxMs];
      brokerBusy = brokerBusy.then(() => freezeBroker(broker, ms));
      counts.brokerFreezes++;
    }
    if (await oneOf(mirrors).kill(random() * lifeMaxMs)) {
      counts.kills++;
      if (counts.kills % 10 === 0) say(`${counts.kills} of ${plan.kills} kills`);
    } else await sleep(pollMs);
  }
  await Promise.all([...sleeping, brokerBusy]);
}

async function killBroker(broker: LocalBroker): Promise<void> {
  await broker.kill('SIGKILL');
  await broker.start();
}

async function freezeBroker(broker: LocalBroker, ms: number): Promise<void> {
  await broker.kill('SIGSTOP');
  await sleep(ms);
  await broker.kill('SIGCONT');
}

/** How many moved; none where there is but one replica. */
async function moveSomeLeaders(cluster: Cluster, { partitions }: MirroredTopic, random: Random): Promise<number> {
  const chosen = partitions.filter(() => random() < 0.5);
  const places = (chosen.length > 0 ? chosen : partitions).map(({ topic, partition }) => ({ topic, partition }));
  const moved = await moveLeaders(cluster, places, await newestMetadata(cluster, places));
  return [...moved.values()].filter((result) => !(result instanceof CutoverError)).length;
}
