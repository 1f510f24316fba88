/**
 * One set of named checks over records, positions, settings and rules, the same for every replicator: each run alone, as its users run it, and with our
 * closing steps. Three brokers a cluster, so that replication factors mean something. What by its nature cannot hold counts as failed.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { Connections } from '../../activities/connections.ts';
import { runForegroundBridge } from '../../activities/foreground-bridge.ts';
import { runForegroundMirror } from '../../activities/foreground-mirror.ts';
import { examine } from '../../activities/preflight.ts';
import { prepareActivities } from '../../activities/prepare.ts';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { type ClustersFile, parseClusters } from '../../kafka/clusters.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { listOffsets, partitionKey } from '../../kafka/offsets.ts';
import { createTopic } from '../../kafka/topics.ts';
import type { Clusters } from '../../migration/change.ts';
import { restoreFinalSettings } from '../../migration/final-settings.ts';
import { storeInventory } from '../../migration/wave.ts';
import { deadLetterOf, readBridgeMap } from '../../mirror/bridge-log.ts';
import { startConnect, startDedicated } from '../../stack/connect.ts';
import { type Stack, startStack } from '../../stack/stack.ts';
import { Scene } from '../e2e/support/scene.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { buildEstate, type CheckedEstate, placesOf, usersOf } from './checks-estate.ts';
import { type Area, type Check, judge, type Locals } from './checks-judge.ts';

const patienceMs = 120_000;
/** MirrorMaker 2's own syncs are over once nothing has changed for so long, several of their intervals. */
const settledMs = 20_000;
const brokers = 3;

export interface Checks {
  readonly of: number;
  readonly areas: Readonly<Record<Area, number>>;
  readonly runs: readonly CheckedRun[];
}

export interface CheckedRun {
  readonly kind: 'exact' | 'mirrormaker2' | 'bridge';
  readonly closing: boolean;
  readonly passed: number;
  readonly passedByArea: Readonly<Record<Area, number>>;
  readonly failed: readonly string[];
}

interface Scenery {
  readonly stack: Stack;
  readonly locals: Locals;
  readonly clusters: Clusters;
  readonly connections: Connections;
  readonly file: ClustersFile;
  readonly folder: string;
  /** Of the Connect worker. */
  readonly connectUrl: string;
}

type Runner = (scenery: Scenery, estate: CheckedEstate) => Promise<void>;

const runners: readonly { readonly kind: CheckedRun['kind']; readonly closing: boolean; readonly run: Runner }[] = [
  { kind: 'mirrormaker2', closing: false, run: mirrorMakerAlone },
  { kind: 'mirrormaker2', closing: true, run: moved },
  { kind: 'exact', closing: false, run: exactAlone },
  { kind: 'exact', closing: true, run: moved },
  { kind: 'bridge', closing: false, run: bridgeAlone },
  { kind: 'bridge', closing: true, run: bridgeClosed },
];

export async function checks(say: (line: string) => void, only: string | undefined): Promise<Checks> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-checks-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  // The source knows groups of the new protocol from 4.0 on.
  await using stack = await startStack({ dir: join(folder, 'stack'), brokers, sourceVersion: '4.3.1' });
  const { source, target } = stack;
  if (!source || !target) throw new Error('needs a stack of our own');
  await using worker = await startConnect({
    cluster: target,
    user: 'cutover',
    folder: join(folder, 'connect'),
    groupId: 'checks',
  });
  const file = parseClusters(readFileSync(stack.clustersFile, 'utf8'), stack.clustersFile, stack.env);
  await using connections = new Connections(file);
  const clusters = { source: await connections.cluster('legacy'), target: await connections.cluster('next') };
  const locals = { source, target };
  const scenery = { stack, locals, clusters, connections, file, folder, connectUrl: worker.url };
  const errors: Error[] = [];
  const found: { readonly run: CheckedRun; readonly checks: readonly Check[] }[] = [];
  for (const { kind, closing, run } of runners) {
    const name = `${kind}-${closing ? 'closed' : 'alone'}`;
    if (only !== undefined && only !== name) continue;
    const estate = await buildEstate(clusters.source, source, name, brokers);
    say(`${name}: begins`);
    try {
      await run(scenery, estate);
    } catch (error) {
      // The others are worth their time all the same.
      errors.push(new Error(name, { cause: error }));
      say(`${name}: ${(error as Error).message}`);
      continue;
    }
    const judged = await judge(clusters, locals, estate);
    const failed = judged.filter(({ passed }) => !passed).map((check) => check.name);
    const passed = judged.length - failed.length;
    const passedByArea = counted(judged.filter((check) => check.passed));
    found.push({ run: { kind, closing, passed, passedByArea, failed }, checks: judged });
    say(`${name}: ${passed} of ${judged.length}`);
  }
  if (errors.length > 0) throw new AggregateError(errors, 'not every replicator could be run');
  const [first] = found;
  const all = first?.checks ?? [];
  if (found.some((one) => one.checks.length !== all.length)) throw new Error('not the same checks for all');
  return { of: all.length, areas: counted(all), runs: found.map(({ run }) => run) };
}

function counted(all: readonly Check[]): Record<Area, number> {
  const of = (area: Area) => all.filter((check) => check.area === area).length;
  return {
    records: of('records'),
    offsets: of('offsets'),
    positions: of('positions'),
    topics: of('topics'),
    access: of('access'),
  };
}

const planOf = ({ prefix }: CheckedEstate): PlanInput => ({
  name: prefix,
  source: 'legacy',
  target: 'next',
  topics: { include: [`${prefix}\\..*`] },
  groups: { include: [`${prefix}-.*`] },
});

/** `kafka-cutover mirror FILE --until-caught-up`. */
async function exactAlone({ file }: Scenery, estate: CheckedEstate): Promise<void> {
  const { signal } = new AbortController();
  await runForegroundMirror(parsePlan(planOf(estate)), file, { untilCaughtUp: true, signal, onProgress: () => {} });
}

/** As its documents say for a migration: a dedicated process, identity names, positions synced, everything else as it comes but for shorter intervals. */
async function mirrorMakerAlone({ locals, clusters, folder }: Scenery, estate: CheckedEstate): Promise<void> {
  const { prefix } = estate;
  const login = (alias: string, local: Locals['source']) =>
    local
      .clientProperties('cutover')
      .trim()
      .split('\n')
      .map((line) => `${alias}.${line}`);
  const flow = `old->new`;
  const properties = [
    'clusters = old, new',
    ...login('old', locals.source),
    ...login('new', locals.target),
    `old.bootstrap.servers = ${locals.source.bootstrap}`,
    `new.bootstrap.servers = ${locals.target.bootstrap}`,
    `${flow}.enabled = true`,
    `${flow}.topics = ${prefix}[.].*`,
    `${flow}.groups = ${prefix}-.*`,
    'replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy',
    'sync.group.offsets.enabled = true',
    'tasks.max = 4',
    ...[
      'sync.group.offsets',
      'emit.checkpoints',
      'refresh.groups',
      'refresh.topics',
      'sync.topic.configs',
      'sync.topic.acls',
    ].map((what) => `${what}.interval.seconds = 3`),
    // A record of 3 MB stops a task that has the default of 1 MB; people find that setting out first.
    'new.producer.max.request.size = 5000000',
  ];
  await using process = await startDedicated({
    properties: `${properties.join('\n')}\n`,
    secrets: {},
    folder: join(folder, 'mm2-alone'),
  });
  const places = estate.topics.flatMap(placesOf);
  let seen = '';
  let changedAt = performance.now();
  await waitFor(
    'MirrorMaker 2 to settle',
    patienceMs * 2,
    async () => {
      process.check();
      const known = new Set((await clusters.target.metadata(estate.topics.map(({ name }) => name))).topics.keys());
      const ends = await listOffsets(
        clusters.target,
        places.filter(({ topic }) => known.has(topic)),
        'logEnd',
      );
      const groups = await fetchOffsets(
        clusters.target,
        estate.groups.map(({ group }) => group),
        { requireStable: false },
      );
      const now = JSON.stringify([
        [...ends].map(([key, end]) => `${key}@${end}`).sort(),
        [...groups].flatMap(([group, of]) => [...of].map(([key, p]) => `${group} ${key}@${p.offset}`)).sort(),
      ]);
      if (now !== seen) changedAt = performance.now();
      seen = now;
      const begun = [...ends.values()].some((end) => end > 0n) && [...groups.values()].some((of) => of.size > 0);
      return begun && performance.now() - changedAt > settledMs;
    },
    { everyMs: 500 },
  );
}

/** A whole move by the workflow, up to its end. */
async function moved(scenery: Scenery, estate: CheckedEstate): Promise<void> {
  const { stack, connectUrl } = scenery;
  const { prefix } = estate;
  const kind = prefix.startsWith('exact') ? 'exact' : 'mirrormaker2';
  const raw = parse(readFileSync(stack.clustersFile, 'utf8')) as Record<string, object>;
  const [writer, reader] = usersOf(prefix);
  const scramUsers = Object.fromEntries(
    [writer, reader].map((user) => [user, { mechanism: 'scram-sha-512', password: { env: 'CHECKS_PASSWORD' } }]),
  );
  await using scene = await Scene.open(stack, {
    name: prefix,
    topics: {},
    writers: 0,
    readers: 0,
    clusters: {
      connects: { onprem: { url: connectUrl } },
      next: { ...raw.next, scramUsers },
    },
    env: { CHECKS_PASSWORD: 'another-password' },
  });
  await scene.worker('worker').start().ready();
  const { name: _, source: _source, target: _target, ...plan } = planOf(estate);
  const migration = await scene
    .migration({
      ...plan,
      ...(kind === 'mirrormaker2' && { replicator: { kind, connect: 'onprem' } }),
      producers: { switch: 'manual' },
      consumers: { switch: 'manual' },
      verify: { producersWait: '1s' },
      waivers: [{ code: 'SCRAM_USERS_MISSING', by: 'kafka-owner', reason: 'its password is known to nobody here' }],
    })
    .start();
  const gates = ['cutover', 'producers', 'consumers', 'finalize'];
  for (const gate of gates) {
    await migration.untilGate(gate, patienceMs);
    await migration.signal('approve', { gate, by: 'kafka-owner' });
  }
  await migration.untilEnded('completed', patienceMs);
}

/** `kafka-cutover bridge FILE --until-caught-up` over topics that somebody has created as the bridge's document says. */
async function bridgeAlone({ clusters, file }: Scenery, estate: CheckedEstate): Promise<void> {
  for (const { name, partitions, replicationFactor, configs } of estate.topics) {
    // Without it, the bridge stops at a record that is too large.
    const size = configs['max.message.bytes'];
    await createTopic(clusters.target, {
      name,
      partitions,
      replicationFactor,
      configs: size === undefined ? {} : { 'max.message.bytes': size },
    });
  }
  await carryByBridge(file, estate);
}

async function carryByBridge(file: ClustersFile, estate: CheckedEstate): Promise<void> {
  const plan = parsePlan({ ...planOf(estate), replicator: { kind: 'bridge' } });
  const { signal } = new AbortController();
  await runForegroundBridge(plan, file, { module: null, untilCaughtUp: true, signal });
}

/** No workflow drives a bridge: our steps for topics, rules and settings around it, and positions by its map. */
async function bridgeClosed({ clusters, connections, file }: Scenery, estate: CheckedEstate): Promise<void> {
  const { signal } = new AbortController();
  const plan = parsePlan(planOf(estate));
  const examined = await examine(connections, plan, { audit: false, signal });
  const inventory = await storeInventory(await connections.storage(plan), plan.name, examined);
  const scope = { plan, wave: 'all', inventory };
  await prepareActivities(connections).prepareTarget(scope);
  await carryByBridge(file, estate);
  const map = await readBridgeMap(clusters.target, estate.prefix, signal);
  for (const { group, positions } of estate.groups) {
    const topics = [...new Set(positions.map(({ topic }) => topic))];
    const places = new Map(positions.map(({ topic, partition, offset }) => [partitionKey(topic, partition), offset]));
    const metadataOf = (topic: string, partition: number) =>
      positions.find((one) => one.topic === topic && one.partition === partition)?.metadata ?? null;
    const translated = map
      .translate(topics, places, deadLetterOf(estate.prefix))
      .map(({ topic, partition, position }) => ({
        topic,
        partition,
        offset: position,
        metadata: metadataOf(topic, partition),
      }));
    if (translated.length > 0) await commitOffsets(clusters.target, group, translated);
  }
  const wave = await connections.wave(scope);
  await restoreFinalSettings(wave, new Set(wave.topicNames));
}
