/**
 * Whole moves with vendors' replicators: the workflow drives each one's stand-in, which has records really copied between real brokers (test/replicators/carrier.ts).
 * It proves the steps, their order and what is awaited; of the vendors' own systems it proves nothing. What came out is written to test/replicators/results/vendors.json.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import type { PlanInput } from '../../contract/plan.ts';
import { Cluster } from '../../kafka/cluster.ts';
import type { Applications } from '../e2e/support/applications.ts';
import type { Migration } from '../e2e/support/migration.ts';
import { Scene } from '../e2e/support/scene.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import * as automqApi from '../replicators/automq-stand-in.ts';
import { arnOf, awsStandIn, provisioned } from '../replicators/aws-stand-in.ts';
import { carry, mirrorTopic } from '../replicators/carrier.ts';
import * as confluentApi from '../replicators/confluent-stand-in.ts';
import { serviceModel } from '../support/service-model.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

const phaseTimeoutMs = 180_000;
const resultFile = new URL('../replicators/results/vendors.json', import.meta.url);
const history = 500;
const { stack, clusters } = await sharedStack();
const ending = new AbortController();
const carrying: Promise<void>[] = [];
after(async () => {
  ending.abort();
  await Promise.allSettled(carrying);
});

const models = await Promise.all([serviceModel('kafka', '2018-11-14'), serviceModel('cloudwatch', '2010-08-01')]);

interface Stage {
  readonly scene: Scene;
  readonly applications: Applications;
  readonly migration: Migration;
}

async function stage(
  name: string,
  places: object,
  env: Readonly<Record<string, string>>,
  plan: Partial<PlanInput>,
  began: (scene: Scene, source: Cluster, target: Cluster) => void,
): Promise<Stage> {
  const scene = await Scene.open(stack, { name, clusters: { replicators: places }, env });
  after(() => scene[Symbol.asyncDispose]());
  began(scene, await scene.cluster('legacy'), await scene.cluster('next'));
  await scene.worker().start().ready();
  const applications = await scene.startApplications({ recordsPerSecond: 50, history });
  const migration = await scene.migration(plan).start();
  return { scene, applications, migration };
}

/** To the open target, with applications writing there. */
async function move({ scene, applications, migration }: Stage): Promise<void> {
  scene.say((await migration.untilGate('cutover', phaseTimeoutMs)).join('\n           '));
  await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
  await migration.untilGate('finalize', phaseTimeoutMs);
  await waitFor('writes to the target', phaseTimeoutMs, () => applications.acknowledgedBy('next') > 100);
}

async function goBack({ applications, migration }: Stage): Promise<void> {
  await migration.signal('rollback', { by: 'kafka-owner', reason: 'there and back' });
  await migration.untilEnded('rolledBack', phaseTimeoutMs);
  const before = applications.acknowledgedBy('legacy');
  await waitFor('writes to the source', phaseTimeoutMs, () => applications.acknowledgedBy('legacy') > before + 50);
}

/** Nothing lost, repeated or reordered, as the applications saw it. */
async function judged(kind: string, { applications }: Stage, steps: readonly string[]): Promise<void> {
  await applications.finishProducers();
  const acknowledged = applications.acknowledgements().reduce((sum, { count }) => sum + count, 0);
  const consumers = await waitFor('both groups to have read everything', phaseTimeoutMs, async () => {
    const all = await applications.consumers();
    return all.every(({ counts }) => counts.records >= acknowledged) ? all : null;
  });
  for (const { group, counts } of consumers) {
    const { records, lost, duplicated, reordered } = counts;
    assert.deepEqual(
      { group, records, lost, duplicated, reordered },
      { group, records: acknowledged, lost: 0, duplicated: 0, reordered: 0 },
    );
  }
  const known = existsSync(resultFile) ? (JSON.parse(readFileSync(resultFile, 'utf8')) as object) : {};
  const faults = { lost: 0, duplicated: 0, reordered: 0 };
  const result = { ...known, [kind]: { steps, groups: consumers.length, acknowledged, ...faults } };
  writeFileSync(resultFile, `${JSON.stringify(result, null, 2)}\n`);
}

describe('a whole move with AutoMQ Linking', () => {
  it('is fenced, promoted and opened, and there is no way back', async () => {
    const name = uniqueName('automq-move');
    const automq = await automqApi.automqStandIn([]);
    const link = `kafka-cutover-${name}-all`;
    const places = {
      automq: {
        kind: 'automq-linking',
        url: automq.url,
        environment: automqApi.environment,
        instance: automqApi.instance,
        accessKeyId: automqApi.login.accessKeyId,
        secretAccessKey: { env: 'AUTOMQ_SECRET' },
      },
    };
    const env = { AUTOMQ_SECRET: automqApi.login.secretAccessKey };
    const staged = await stage(
      name,
      places,
      env,
      {
        replicator: { kind: 'automq-linking', at: 'automq' },
        rollback: { reverseMirror: false },
        waivers: [{ code: 'ROLLBACK_IMPOSSIBLE', by: 'kafka-owner', reason: 'nothing leads back' }],
      },
      (scene, from, into) => {
        for (const topic of Object.keys(scene.topics)) automq.sourceTopics.add(topic);
        automq.onMirror = (topic) => mirrorTopic(from, into, topic);
        const topics = () => automq.links.get(link)?.topics ?? new Map<string, never>();
        const linking = () => [...topics()].filter(([, { state }]) => state === 'LINKING').map(([topic]) => topic);
        const onLag = (topic: string, lags: readonly number[]) => {
          const mirror = automq.links.get(link)?.topics.get(topic);
          if (mirror) mirror.lag = lags.reduce((sum, lag) => sum + lag, 0);
        };
        carrying.push(carry({ from, into, topics: linking, onLag }, ending.signal));
      },
    );
    await move(staged);
    const states = [...(automq.links.get(link)?.topics.values() ?? [])].map(({ state }) => state);
    assert.deepEqual(new Set(states), new Set(['PROMOTED']));
    const { migration } = staged;
    await migration.signal('approve', { gate: 'finalize', by: 'kafka-owner' });
    await migration.untilEnded('completed', phaseTimeoutMs);
    await judged('automq-linking', staged, [
      'mirrored',
      'fenced',
      'promotion failed',
      'promoted',
      'opened',
      'finalized',
    ]);
  });
});

describe('a whole move with Cluster Linking', () => {
  it('is promoted by reversing, and comes back with what was written meanwhile', async () => {
    const name = uniqueName('linking-move');
    const link = `kafka-cutover.${name}.all`;
    const idOf = async (side: string) => {
      await using cluster = new AsyncDisposableStack();
      const connected = await Cluster.connect(clusters.cluster(side));
      cluster.defer(() => connected.close());
      return connected.clusterId;
    };
    const { next, legacy } = await confluentApi.confluentPair(
      {},
      { next: await idOf('next'), legacy: await idOf('legacy') },
    );
    const at = ({ url }: { url: string }) => ({
      url,
      basic: { username: confluentApi.login.username, password: { env: 'API_SECRET' } },
    });
    const staged = await stage(
      name,
      { confluent: { kind: 'cluster-linking', target: at(next), source: at(legacy) } },
      { API_SECRET: confluentApi.login.password },
      { replicator: { kind: 'cluster-linking', at: 'confluent' } },
      (scene, from, into) => {
        for (const [topic, count] of Object.entries(scene.topics)) legacy.topics.set(topic, count);
        next.onMirror = (topic) => mirrorTopic(from, into, topic);
        legacy.onMirror = async () => {};
        const side = (cluster: confluentApi.ConfluentCluster, here: Cluster, there: Cluster) => {
          const mirrors = () => cluster.links.get(link)?.mirrors ?? new Map<string, never>();
          const copying = new Set(['ACTIVE', 'PENDING_STOPPED']);
          const topics = () => [...mirrors()].filter(([, { status }]) => copying.has(status)).map(([topic]) => topic);
          const onLag = (topic: string, lags: readonly number[], ends: readonly number[]) => {
            const mirror = cluster.links.get(link)?.mirrors.get(topic);
            if (mirror) Object.assign(mirror, { lags, ends });
          };
          carrying.push(carry({ from: here, into: there, topics, onLag }, ending.signal));
        };
        side(next, from, into);
        side(legacy, into, from);
      },
    );
    await move(staged);
    await goBack(staged);
    await judged('cluster-linking', staged, ['mirrored', 'fenced', 'reversed', 'opened', 'fenced', 'promoted back']);
  });
});

describe('a whole move with MSK Replicator', { skip: !models.every(Boolean) && "no models of AWS's services" }, () => {
  it('is deleted before the opening, and the other one carries back', async () => {
    const [kafka, cloudWatch] = models;
    assert(kafka && cloudWatch);
    const name = uniqueName('msk-move');
    const aws = await awsStandIn(kafka, cloudWatch);
    const [source, target] = [arnOf('eu-west-1', 'legacy'), arnOf('eu-central-1', 'next')];
    aws.clusters.set(source, provisioned('kafka.m7g.large', '3.9.x'));
    aws.clusters.set(target, provisioned('express.m7g.large', '3.9.x'));
    const network = { subnets: ['subnet-1', 'subnet-2'], securityGroups: ['sg-1'] };
    const places = {
      msk: {
        kind: 'msk-replicator',
        serviceExecutionRole: 'arn:aws:iam::123456789012:role/replication',
        source: { arn: source, ...network },
        target: { arn: target, ...network },
        endpoints: { kafka: aws.url, cloudwatch: aws.url },
      },
    };
    const login = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'planted-secret-key' };
    const staged = await stage(
      name,
      places,
      login,
      { replicator: { kind: 'msk-replicator', at: 'msk' }, fence: { maxHold: '30m' } },
      (scene, from, into) => {
        const names = Object.keys(scene.topics);
        const copies = (direction: string) => () =>
          ['RUNNING', 'UPDATING'].includes(aws.replicators.get(`kafka-cutover-${name}-all-${direction}`)?.state ?? '')
            ? names
            : [];
        const header = '__mskmr';
        carrying.push(carry({ from, into, header, topics: copies('forward') }, ending.signal));
        carrying.push(carry({ from: into, into: from, header, topics: copies('reverse') }, ending.signal));
      },
    );
    await move(staged);
    assert.equal(aws.replicators.has(`kafka-cutover-${name}-all-forward`), false);
    await goBack(staged);
    await judged('msk-replicator', staged, ['mirrored', 'fenced', 'deleted', 'opened', 'fenced', 'carried back']);
  });
});
