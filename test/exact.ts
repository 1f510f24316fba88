/**
 * Exactly once, proven the hard way: mirrors killed at random moments, frozen, doubled and tripled on the same partitions, brokers killed
 * and frozen, leaders moved, producers forgotten, a stranger writing. After every scenario Apache's own consumer and a look at every slot say
 * whether the logs are the same.
 *
 *   npm run test:exact [-- --kills 200] [-- --seed N] [-- --only TEXT] [-- --source-brokers 1] [-- --without-marker-rights] [-- --out FILE]
 *
 * `--only`: scenarios whose name holds the text, or `rf1`, `rf3`. `--source-brokers 1`: where the target has three brokers, the source has one all
 * the same, for machines that do not carry six. `--without-marker-rights`: the mirrors' user has no right on the target's cluster, so markers come of
 * transactions; without the scenarios where leaders change, since a coordinator may write a marker twice then, and the mirror stops. Prints progress to stderr and a table at the end; writes a JSON to `--out`
 * (`test/mirror/exact/results/` by default). Exits 0 when no slot differs.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { alterBrokerConfigs } from '../kafka/broker-configs.ts';
import { type Stack, type StackPart, startStack } from '../stack/stack.ts';
import { randomFrom, seedOf } from './e2e/support/random.ts';
import type { ChaosResult } from './mirror/exact/chaos.ts';
import { openClusters } from './mirror/exact/clusters.ts';
import { Judge } from './mirror/exact/judge.ts';
import { LogWriter } from './mirror/exact/log-writer.ts';
import { type Scenario, scenarios, stackOptions } from './mirror/exact/scenarios.ts';
import { joinStacks } from './mirror/exact/two-sizes.ts';
import { userWithoutMarkerRights } from './mirror/exact/without-marker-rights.ts';

interface ScenarioResult extends ChaosResult {
  readonly name: string;
  readonly brokers: 1 | 3;
  readonly seconds: number;
}

const { values: options } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    seed: { type: 'string' },
    only: { type: 'string' },
    out: { type: 'string' },
    'source-brokers': { type: 'string' },
    'without-marker-rights': { type: 'boolean', default: false },
  },
});
const killsWanted = Number(options.kills);
const seed = seedOf(options.seed ?? process.env.KAFKA_CUTOVER_TEST_SEED);
const out = resolve(options.out ?? join(import.meta.dirname, 'mirror', 'exact', 'results', 'exact.json'));
const began = performance.now();
const say = (line: string) => {
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(0).padStart(5)} s  ${line}\n`);
};

const wanted = scenarios.filter(({ name, brokers, leadersChange, byTransactions }) => {
  if (options['without-marker-rights'] ? leadersChange : byTransactions) return false;
  return options.only === undefined || name.includes(options.only) || options.only === `rf${brokers}`;
});
const shares = wanted.reduce((sum, { killShare }) => sum + killShare, 0);
say(`seed ${seed}, ${killsWanted} kills, ${wanted.length} scenarios`);

const results: ScenarioResult[] = [];
for (const brokers of [1, 3] as const) {
  const these = wanted.filter((scenario) => scenario.brokers === brokers);
  if (these.length > 0) await runOn(brokers, these);
}
report();

async function runOn(brokers: 1 | 3, these: readonly Scenario[]): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-exact-'));
  cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
  const stack = cleanup.use(await start(dir, brokers));
  const clusters = cleanup.use(await openClusters(stack));
  const writer = new LogWriter(clusters);
  cleanup.defer(() => writer.stop());
  const judge = new Judge(clusters);
  cleanup.defer(() => judge.stop());
  const writesAs = options['without-marker-rights'] ? await userWithoutMarkerRights(clusters.target) : undefined;
  for (const scenario of these) {
    const { name, rememberedForMs } = scenario;
    const kills = Math.round((killsWanted * scenario.killShare) / (shares || 1));
    const from = performance.now();
    say(`${name}, ${brokers} ${brokers === 1 ? 'replica' : 'replicas'}: ${kills} kills`);
    const expiration = 'producer.id.expiration.ms';
    if (rememberedForMs !== undefined) {
      await alterBrokerConfigs(clusters.target, { set: { [expiration]: String(rememberedForMs) }, unset: [] });
    }
    // Each begins with numbers of its own, so that one alone is the same as one of many.
    const random = randomFrom(seed + scenarios.indexOf(scenario));
    const result = await scenario.run({ clusters, writer, judge, random, say, writesAs }, kills).catch(failed);
    if (rememberedForMs !== undefined) await alterBrokerConfigs(clusters.target, { set: {}, unset: [expiration] });
    const seconds = Math.round((performance.now() - from) / 1000);
    results.push({ name, brokers, seconds, ...result });
    for (const difference of result.differences) say(`  DIFFERENT: ${difference}`);
    say(
      `  ${result.differences.length === 0 ? 'identical' : 'DIFFERENT'}, ${JSON.stringify(result.slots)}, ${seconds} s`,
    );
  }
}

async function start(dir: string, brokers: 1 | 3): Promise<Stack> {
  const begin = (name: string, parts: StackPart[], count: 1 | 3) =>
    startStack({ dir: join(dir, name), brokers: count, parts, ...stackOptions });
  if (brokers === 1 || options['source-brokers'] !== '1') return begin('stack', ['source', 'target'], brokers);
  const source = await begin('source', ['source'], 1);
  try {
    return joinStacks(source, await begin('target', ['target'], 3), dir);
  } catch (error) {
    await source.stop();
    throw error;
  }
}

/** A scenario that could not be ended is no proof of anything. */
function failed(error: unknown): ChaosResult {
  const slots = { records: 0, aborted: 0, markers: 0, holes: 0 };
  const none = { kills: 0, freezes: 0, leaderMoves: 0, brokerKills: 0, brokerFreezes: 0, mirrors: 0, refusedSteps: 0 };
  return { ...none, slots, differences: [`the scenario failed: ${(error as Error).stack ?? String(error)}`] };
}

function report(): void {
  const sum = (of: (result: ScenarioResult) => number) => results.reduce((total, result) => total + of(result), 0);
  const slotsOf = ({ slots }: ScenarioResult) => slots.records + slots.aborted + slots.markers + slots.holes;
  const rows = results.map((result) => ({
    scenario: result.name,
    replicas: result.brokers,
    kills: result.kills,
    freezes: result.freezes,
    'leader moves': result.leaderMoves,
    'brokers killed/frozen': `${result.brokerKills}/${result.brokerFreezes}`,
    slots: slotsOf(result),
    invisible: slotsOf(result) - result.slots.records,
    differences: result.differences.length,
    seconds: result.seconds,
  }));
  console.table(rows);
  const total = {
    seed,
    kills: sum(({ kills }) => kills),
    freezes: sum(({ freezes }) => freezes),
    leaderMoves: sum(({ leaderMoves }) => leaderMoves),
    brokerKills: sum(({ brokerKills }) => brokerKills),
    brokerFreezes: sum(({ brokerFreezes }) => brokerFreezes),
    slots: sum(slotsOf),
    differences: sum(({ differences }) => differences.length),
    seconds: Math.round((performance.now() - began) / 1000),
  };
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify({ ...total, scenarios: results }, null, 2)}\n`);
  say(`${total.kills} kills, ${total.slots} slots, ${total.differences} differences; ${out}`);
  process.exitCode = total.differences === 0 && results.length > 0 ? 0 : 1;
}
