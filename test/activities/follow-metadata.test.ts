/** What changes on a live source between prepare-target and the fence: found within seconds, followed where it only follows. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteAclsV2 } from '@platformatic/kafka';
import { CancelledFailure } from '@temporalio/common';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Holding, Scope } from '../../activities/types.ts';
import { CutoverError, type Finding } from '../../contract/errors.ts';
import { parsePlan } from '../../contract/plan.ts';
import { type Acl, aclKey, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import { alterQuotas, describeQuotas } from '../../kafka/quotas.ts';
import { describeScramUsers, upsertScramUser } from '../../kafka/scram.ts';
import { alterTopicConfigs, deleteTopic, growTopic, topicConfigs } from '../../kafka/topics.ts';
import { explicitConfigs } from '../../migration/inventory.ts';
import { Estate } from '../e2e/support/estate.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters: file } = await sharedStack();
const estate = await Estate.of(stack, file);
const timeoutMs = 60_000;

const name = uniqueName('follow');
const [orders, refunds] = [`${name}.orders`, `${name}.refunds`];
/** Users of this test alone: quotas and credentials are the whole cluster's. */
const [app, other, stranger] = [`${name}-app`, `${name}-other`, `${name}-stranger`];
const password = 'app-pässword';
const clusters: ClustersFile = {
  ...file,
  cluster: (cluster) =>
    cluster === 'next'
      ? { ...file.cluster(cluster), scramUsers: new Map([[app, { mechanism: 'scram-sha-256', password }]]) }
      : file.cluster(cluster),
};
const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
after(() => activities[Symbol.asyncDispose]());
const plan = parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] } });

const rule = (user: string, operation: Acl['operation'], over: Partial<Acl> = {}): Acl => ({
  resourceType: 'topic',
  patternType: 'literal',
  resourceName: orders,
  principal: `User:${user}`,
  host: '*',
  operation,
  permission: 'allow',
  ...over,
});

let scope: Scope;
let found: readonly Finding[] = [];
let standing: string[];
let following: { stop(): Promise<void> };

before(async () => {
  await estate.createTopic('source', orders, 1, {
    'segment.ms': '600000',
    'flush.ms': '1000',
    'retention.ms': '86400000',
  });
  await estate.createTopic('source', refunds);
  await createAcls(estate.source, [rule(app, 'write'), rule(app, 'describe'), rule(other, 'read')]);
  await alterQuotas(estate.source, [
    { entity: { user: app }, set: { producer_byte_rate: 1e9, consumer_byte_rate: 1e9 }, unset: [] },
  ]);
  for (const user of [app, other]) await upsertScramUser(estate.source, user, password, 'scram-sha-256');
  standing = await estate.standing('target', { of: name });
  const preflight = await call(activities.preflight, { plan });
  assert.equal(preflight.blockers, 0);
  found = preflight.findings;
  scope = { plan, wave: 'all', inventory: preflight.inventory };
});

function call<Request, Result>(activity: (request: Request) => Promise<Result>, request: Request): Promise<Result> {
  return environment().run<[Request], Result, typeof activity>(activity, request);
}

/** Follows until it is stopped; `holding` is what it says at the moment. */
let holding: readonly Finding[] = [];
function follow() {
  const worker = environment();
  worker.on('heartbeat', (details: unknown) => {
    holding = (details as Holding | undefined)?.findings ?? holding;
  });
  let failed: unknown = null;
  const running = worker.run(activities.followMetadata, scope).catch((error: unknown) => {
    failed = error;
  });
  return {
    async stop() {
      worker.cancel();
      await Promise.race([running, sleep(timeoutMs, undefined, { ref: false })]);
      assert.ok(failed instanceof CancelledFailure, String(failed));
    },
  };
}

const codes = () => [...new Set(holding.map(({ code }) => code))].sort();
const until = (what: string, holds: () => boolean | Promise<boolean>) =>
  waitFor(what, timeoutMs, async () => (await holds()) || null, { standing: () => JSON.stringify(holding) });
const settingsThere = async () => explicitConfigs((await topicConfigs(estate.target, [orders])).get(orders));
const rulesThere = async () =>
  new Set((await describeAcls(estate.target)).filter((acl) => acl.resourceName === orders).map(aclKey));
const quotaThere = async () => (await describeQuotas(estate.target)).find(({ entity }) => entity.user === app)?.values;

describe('while a source is mirrored', () => {
  it('SCRAM users with a password in clusters.yaml are created where they are missing, and only the others are a finding', async () => {
    assert.deepEqual(
      found.filter(({ code }) => code === 'SCRAM_USERS_MISSING').map(({ message }) => message),
      [`User:${other} has no SCRAM credential there`],
    );
    const { summary } = await call(activities.prepareTarget, scope);
    assert.match(summary, new RegExp(`SCRAM users ${app} created`));
    assert.ok(!summary.includes(password));
    const { bootstrap } = file.cluster('next');
    const sasl = { mechanism: 'scram-sha-256', username: app, password } as const;
    const login = {
      ...file.cluster('next'),
      bootstrap,
      credentials: { own: { sasl }, forward: { sasl }, reverse: { sasl } },
    };
    await (await Cluster.connect(login)).close();
    assert.equal((await describeScramUsers(estate.target)).has(other), false);
  });

  it('settings, rules and quotas of the source are carried over, and said as long as nobody has approved them', async () => {
    following = follow();
    await alterTopicConfigs(estate.source, orders, {
      set: { 'segment.ms': '700000', 'retention.ms': '43200000' },
      unset: ['flush.ms'],
    });
    await createAcls(estate.source, [rule(app, 'read'), rule(stranger, 'write')]);
    await deleteAcls(estate.source, [rule(app, 'describe')]);
    await alterQuotas(estate.source, [
      { entity: { user: app }, set: { producer_byte_rate: 2e9 }, unset: ['consumer_byte_rate'] },
    ]);

    await until('the target to follow', async () => {
      const [settings, rules] = [await settingsThere(), await rulesThere()];
      return (
        settings['segment.ms'] === '700000' &&
        settings['flush.ms'] === undefined &&
        rules.has(aclKey(rule(app, 'read'))) &&
        !rules.has(aclKey(rule(app, 'describe'))) &&
        JSON.stringify(await quotaThere()) === JSON.stringify({ producer_byte_rate: 2e9 })
      );
    });
    await until(
      'all of it to be said',
      () => codes().join() === 'ACL_CHANGED,METADATA_NOT_CARRIED,QUOTA_CHANGED,TOPIC_CONFIG_CHANGED',
    );
    const said = (code: string) => holding.find((one) => one.code === code);
    assert.equal(said('TOPIC_CONFIG_CHANGED')?.where, `cluster legacy, topic ${orders}`);
    assert.equal(
      said('TOPIC_CONFIG_CHANGED')?.message,
      'flush.ms 1000 -> inherited; retention.ms 86400000 -> 43200000; segment.ms 600000 -> 700000',
    );
    // What is suspended while it is mirrored waits for the opening; nobody has approved that a stranger may write.
    assert.equal((await settingsThere())['retention.ms'], '-1');
    assert.equal((await rulesThere()).has(aclKey(rule(stranger, 'write'))), false);
    assert.match(said('METADATA_NOT_CARRIED')?.where ?? '', new RegExp(stranger));
    // Closed as before: who may write on the source may not here.
    assert.ok((await rulesThere()).has(aclKey(rule(app, 'write', { permission: 'deny' }))));

    await deleteAcls(estate.source, [rule(stranger, 'write')]);
    await until('what was put back not to be said any more', () => !codes().includes('METADATA_NOT_CARRIED'));
  });

  it('topics that come and go and partitions are said, and nothing is done about them', async () => {
    const added = `${name}.added`;
    await estate.createTopic('source', added);
    await growTopic(estate.source, orders, 2);
    const before = (await estate.target.metadata([refunds])).topics.get(refunds)?.topicId;
    await deleteTopic(estate.source, refunds);
    await until('the three', () =>
      ['PARTITIONS_ADDED', 'TOPIC_ADDED', 'TOPIC_MISSING'].every((code) => codes().includes(code as never)),
    );
    await estate.createTopic('source', refunds);
    await until(
      'another topic of that name',
      () => codes().includes('TOPIC_RECREATED') && !codes().includes('TOPIC_MISSING'),
    );
    await deleteTopic(estate.source, added);
    await until('the new one to be gone', () => !codes().includes('TOPIC_ADDED'));
    const { topics } = await estate.target.metadata([added, orders, refunds]);
    assert.deepEqual(
      [topics.has(added), topics.get(orders)?.partitions.length, topics.get(refunds)?.topicId],
      [false, 1, before],
    );
  });

  it('the next digest shows all of it', async () => {
    const { difference } = await call(activities.takeDigest, { plan, inventory: scope.inventory });
    assert.ok(difference.includes(`topic ${orders}: segment.ms 600000 -> 700000`), difference.join('\n'));
    assert.ok(difference.some((line) => line.startsWith('quota user')));
    await following.stop();
  });

  it('a rule that cannot be taken back lets nobody in: what keeps applications out stays too', async (test) => {
    const send = Cluster.prototype.call as (...args: unknown[]) => Promise<unknown>;
    const { mock } = test.mock.method(Cluster.prototype, 'call', function (this: Cluster, ...request: unknown[]) {
      const [, api, rules] = request;
      const lettingIn = `"User:${app}","host":"*","operation":4,"permissionType":3`;
      if (api === deleteAclsV2.api && JSON.stringify(rules).includes(lettingIn)) {
        throw new CutoverError('CLUSTER_UNREACHABLE', { what: 'it restarts' });
      }
      return send.apply(this, request);
    } as never);
    const { notUndone } = await call(activities.undoAll, { ...scope, removeTarget: false });
    mock.restore();
    assert.match(
      notUndone.join('\n'),
      /delete \d+ access rules: .*: not done: rules that let applications in still stand/,
    );
    const denied = (await describeAcls(estate.target)).filter(
      ({ principal, permission }) => principal === `User:${app}` && permission === 'deny',
    );
    assert.ok(denied.map(aclKey).includes(aclKey(rule(app, 'write', { permission: 'deny' }))));
  });

  it('undone, the target is as it was', async () => {
    const { notUndone } = await call(activities.undoAll, { ...scope, removeTarget: true });
    assert.deepEqual(notUndone, []);
    assert.deepEqual(await estate.standing('target', { of: name }), standing);
    assert.equal(await quotaThere(), undefined);
    assert.equal((await describeScramUsers(estate.target)).has(app), false);
    await alterQuotas(estate.source, [{ entity: { user: app }, set: {}, unset: ['producer_byte_rate'] }]);
  });
});
