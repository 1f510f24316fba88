/**
 * A replicator with which the target's topics come into being (Cluster Linking, its API stood in for): what our own steps then leave alone, on real
 * clusters, from preflight to an abort.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { pino } from 'pino';
import { parse, stringify } from 'yaml';
import { createActivities } from '../../activities/activities.ts';
import { Connections } from '../../activities/connections.ts';
import { parsePlan } from '../../contract/plan.ts';
import { describeAcls } from '../../kafka/acls.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { restoreMessageSettings, restoreRetention, suspendSourceSettings } from '../../migration/prepare.ts';
import { Estate } from '../e2e/support/estate.ts';
import { confluentPair, login } from '../replicators/confluent-stand-in.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);

function call<Request, Result>(activity: (request: Request) => Promise<Result>, request: Request): Promise<Result> {
  return environment().run<[Request], Result, typeof activity>(activity, request);
}

it('makes no topic and suspends no setting where the replicator brings both, and leaves nothing behind', async () => {
  const name = uniqueName('linked');
  const topic = `${name}.created`;
  await estate.createTopic('source', topic, 2, { 'cleanup.policy': 'compact', 'retention.ms': '86400000' });
  await estate.letIn('source', topic, 'app-writer-1');
  const idOf = async (side: 'source' | 'target') => (await estate[side].metadata([])).clusterId;
  const ids = { next: await idOf('target'), legacy: await idOf('source') };
  const { next, legacy } = await confluentPair({ [topic]: 2 }, ids);
  const at = (url: string) => ({ url, basic: { username: login.username, password: { env: 'API_SECRET' } } });
  const text = stringify({
    ...parse(readFileSync(stack.clustersFile, 'utf8')),
    replicators: { confluent: { kind: 'cluster-linking', target: at(next.url), source: at(legacy.url) } },
  });
  const file = parseClusters(text, join(mkdtempSync(join(tmpdir(), 'kafka-cutover-linked-')), 'clusters.yaml'), {
    ...stack.env,
    API_SECRET: login.password,
  });
  const activities = createActivities({ clusters: file, log: pino({ level: 'silent' }) });
  after(() => activities[Symbol.asyncDispose]());
  const connections = new Connections(file);
  after(() => connections[Symbol.asyncDispose]());
  const plan = parsePlan({
    name,
    source: 'legacy',
    target: 'next',
    topics: { include: [`${name}\\..*`] },
    replicator: { kind: 'cluster-linking', at: 'confluent' },
  });
  const rulesBefore = (await describeAcls(estate.target)).length;
  const { inventory, findings } = await call(activities.preflight, { plan });
  assert.deepEqual(
    findings.filter(({ severity }) => severity === 'blocker'),
    [],
  );

  const scope = { plan, wave: 'all', inventory };
  const { summary } = await call(activities.prepareTarget, scope);
  assert.match(
    summary,
    /^0 topics created.*applications kept out; link kafka-cutover\..* made, 1 mirror topics created$/,
  );
  assert.equal((await estate.target.metadata([topic])).topics.size, 0);
  const wave = await connections.wave(scope);
  const changes = (await wave.journal.entries()).map(({ change }) => change.kind);
  assert.deepEqual(
    changes.filter((kind) => ['create-topic', 'alter-topic-configs', 'move-leaders'].includes(kind)),
    [],
  );
  assert.ok(changes.includes('create-acls'));
  const settled = [
    await suspendSourceSettings(wave),
    await restoreMessageSettings(wave, 'target'),
    await restoreRetention(wave),
  ];
  assert.deepEqual(settled, [0, 0, 0]);

  const { notUndone } = await call(activities.undoAll, { ...scope, removeTarget: false });
  assert.deepEqual(notUndone, []);
  assert.deepEqual([next.links.size, legacy.links.size], [0, 0]);
  assert.equal((await describeAcls(estate.target)).length, rulesBefore);
});
