/** Cluster Linking against a stand-in of Confluent's REST API v3; it never ran against a real one. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CutoverError } from '../../contract/errors.ts';
import type { PlanInput } from '../../contract/plan.ts';
import { clusterLinking, clusterLinkingWith } from '../../replicators/cluster-linking.ts';
import { excludeGroups, includeGroups } from '../../replicators/cluster-linking-settings.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { type ConfluentCluster, confluentPair, login } from './confluent-stand-in.ts';
import { endOf, onPaper, type Paper, sourcePassword } from './paper-wave.ts';

const ours = 'kafka-cutover.orders.all';
const topics = { 'orders.created': 2, 'orders.paid': 1 };
const names = Object.keys(topics);
const patienceMs = 20_000;

async function stage(options: { readonly back?: boolean; readonly link?: string } & Partial<Paper> = {}) {
  const { back = true, link, ...paper } = options;
  const { next, legacy } = await confluentPair(topics);
  const at = ({ url }: ConfluentCluster) => ({
    url,
    basic: { username: login.username, password: { env: 'API_SECRET' } },
  });
  const replicator = {
    kind: 'cluster-linking',
    at: 'confluent',
    ...(link && { link }),
    ...(paper.replicator as object),
  };
  const staged = onPaper({
    topics,
    groups: ['billing'],
    places: { confluent: { kind: 'cluster-linking', target: at(next), source: at(legacy) } },
    env: { API_SECRET: login.password },
    clusterIds: { source: legacy.id, target: next.id },
    ...paper,
    replicator: replicator as PlanInput['replicator'],
    plan: { rollback: { reverseMirror: back }, ...paper.plan },
  });
  return { next, legacy, ...staged };
}

const statuses = (cluster: ConfluentCluster, link = ours) =>
  [...(cluster.links.get(link)?.mirrors ?? [])].map(([topic, { status }]) => `${topic} ${status}`).sort();
const all = (status: string) => names.map((topic) => `${topic} ${status}`);
const asked = (cluster: ConfluentCluster, end: string) => cluster.asked.filter((line) => line.endsWith(end)).length;

describe('Cluster Linking', () => {
  it('makes a link both ways, promotes by reversing, carries back, and takes its links away', async () => {
    const { next, legacy, leg, job } = await stage();
    const forward = leg('forward');
    assert.match(String(await clusterLinking.prepare?.(forward)), /made, 2 mirror topics created/);
    await clusterLinking.prepare?.(forward);
    assert.deepEqual(statuses(next), all('ACTIVE'));
    const settings = next.links.get(ours)?.settings;
    assert.equal(settings?.get('link.mode'), 'BIDIRECTIONAL');
    assert.match(settings?.get('sasl.jaas.config') ?? '', /username="forward"/);
    assert.match(legacy.links.get(ours)?.settings.get('sasl.jaas.config') ?? '', /username="reverse"/);
    for (const key of ['acl.sync.enable', 'consumer.offset.sync.enable']) assert.equal(settings?.get(key), 'false');

    next.mirror(ours, 'orders.created').lags = [3, 0];
    const position = await clusterLinking.position(forward);
    assert.deepEqual(Object.fromEntries(position), {
      'orders.created/0': 97n,
      'orders.created/1': 100n,
      'orders.paid/0': 100n,
    });
    const copying = job('forward');
    const running = clusterLinking.run(copying.job);
    await waitFor('progress', patienceMs, async () => copying.progress().length === 3);
    assert.equal(
      copying.progress().every(({ position: at, end }) => end !== undefined && at <= end),
      true,
    );
    copying.end();
    await endOf(running);

    next.mirror(ours, 'orders.created').lags = [2, 0];
    assert.match(await clusterLinking.stop(forward), /2 mirror topics at lag 0/);
    assert.deepEqual(next.mirror(ours, 'orders.created').lags, [0, 0]);
    assert.match(await clusterLinking.promote(forward), /2 mirror topics take writes on next, and mirror back/);
    assert.deepEqual([statuses(next), statuses(legacy)], [all('STOPPED'), all('ACTIVE')]);
    assert.match(await clusterLinking.promote(forward), /take writes/);
    assert.equal(asked(next, ':reverse-and-start-mirror'), 1);

    assert.match(await clusterLinking.stop(leg('reverse')), /Cluster Linking to legacy: 2 mirror topics/);
    assert.match(await clusterLinking.promote(leg('reverse')), /take writes on legacy$/);
    assert.deepEqual(statuses(legacy), all('STOPPED'));

    const removed = [...(await clusterLinking.remove(forward)), ...(await clusterLinking.remove(leg('reverse')))];
    assert.deepEqual(removed, [`link ${ours} of next`, `link ${ours} of legacy`]);
    assert.deepEqual(await clusterLinking.remove(forward), []);
    assert.equal(asked(next, ':failover'), 0);
  });

  it('is done promoting when the topics are, not when it was accepted, and says where one hangs', async () => {
    const { next, leg } = await stage({ back: false });
    await clusterLinking.prepare?.(leg('forward'));
    await clusterLinking.promote(leg('forward'));
    assert.deepEqual(statuses(next), all('STOPPED'));
    assert.equal(asked(next, ':promote'), 1);

    const failing = await stage({ back: false });
    await clusterLinking.prepare?.(failing.leg('forward'));
    failing.next.stuck = true;
    const promoting = clusterLinking.promote(failing.leg('forward'));
    promoting.catch(() => {});
    await waitFor(
      'acceptance',
      patienceMs,
      async () => statuses(failing.next)[0]?.endsWith('PENDING_STOPPED') ?? false,
    );
    Object.assign(failing.next.mirror(ours, 'orders.paid'), { status: 'FAILED', error: 'SOURCE_TOPIC_ID_CHANGED' });
    await assert.rejects(promoting, coded('REPLICATOR_FAILED', /orders\.paid.*FAILED, SOURCE_TOPIC_ID_CHANGED/s));
  });

  it('names the topic that is refused, and why', async () => {
    const { next, leg } = await stage({ back: false });
    await clusterLinking.prepare?.(leg('forward'));
    next.mirror(ours, 'orders.paid').status = 'PAUSED';
    await assert.rejects(
      clusterLinking.promote(leg('forward')),
      coded('REPLICATOR_REFUSED', /refused for 1 of 2 .*topic orders\.paid.*PAUSED/s),
    );
  });

  it('restores the source as a mirror where somebody promoted by hand, unless that would delete records', async () => {
    const { next, legacy, leg } = await stage();
    await clusterLinking.prepare?.(leg('forward'));
    for (const topic of names) next.mirror(ours, topic).status = 'STOPPED';
    legacy.links.get(ours)?.mirrors.set('orders.paid', { ...legacy.newMirror('orders.paid'), status: 'FAILED' });
    await assert.rejects(clusterLinking.promote(leg('forward')), coded('REPLICATOR_FAILED', /orders\.paid.*FAILED/s));

    const impatient = clusterLinkingWith(300);
    legacy.links.get(ours)?.mirrors.clear();
    legacy.divergent.set('orders.created', 3);
    await assert.rejects(impatient.promote(leg('forward')), coded('TARGET_DIVERGED', /legacy.*found 3 records/s));
    assert.deepEqual(statuses(legacy), []);
    legacy.divergent.clear();
    assert.match(await impatient.promote(leg('forward')), /mirror back to legacy/);
    assert.deepEqual(statuses(legacy), all('ACTIVE'));

    // The same at the beginning of another run.
    for (const topic of names) legacy.mirror(ours, topic).status = 'STOPPED';
    next.divergent.set('orders.paid', 7);
    await assert.rejects(
      async () => clusterLinking.prepare?.(leg('forward')),
      coded('TARGET_DIVERGED', /would delete records.*found 7 records/s),
    );
    assert.deepEqual(statuses(next), all('STOPPED'));
    next.divergent.clear();
    legacy.links.get(ours)?.mirrors.clear();
    await clusterLinking.prepare?.(leg('forward'));
    assert.deepEqual(statuses(next), all('ACTIVE'));
  });

  it('resumes what was paused, and stops at what has failed or was promoted by others', async () => {
    const { next, leg, job } = await stage();
    await clusterLinking.prepare?.(leg('forward'));
    next.mirror(ours, 'orders.paid').status = 'PAUSED';
    const { job: forward } = job('forward');
    const running = clusterLinking.run(forward);
    running.catch(() => {});
    await waitFor('resumption', patienceMs, async () => next.mirror(ours, 'orders.paid').status === 'ACTIVE');
    next.mirror(ours, 'orders.paid').status = 'STOPPED';
    await assert.rejects(running, coded('REPLICATOR_FAILED', /somebody promoted a mirror topic.*orders\.paid/s));
  });

  it('fails topics over before it takes the link away from under them', async () => {
    const { next, leg } = await stage();
    await clusterLinking.prepare?.(leg('forward'));
    next.mirror(ours, 'orders.paid').status = 'SOURCE_UNAVAILABLE';
    assert.deepEqual(await clusterLinking.remove(leg('forward')), [`link ${ours} of next`]);
    assert.equal(asked(next, ':failover'), 1);
    assert.equal(next.links.size, 0);
  });

  it("uses people's link, keeps it off our groups, gives them back at an abort, and leaves it alone", async () => {
    const theirs = 'people';
    const { next, legacy, leg } = await stage({ link: theirs });
    await assert.rejects(
      async () => clusterLinking.prepare?.(leg('forward')),
      coded('REPLICATOR_REFUSED', /no link people/),
    );
    const filters = JSON.stringify({ groupFilters: [{ name: '*', patternType: 'LITERAL', filterType: 'INCLUDE' }] });
    const settings = () =>
      new Map([
        ['link.mode', 'BIDIRECTIONAL'],
        ['consumer.offset.sync.enable', 'true'],
        ['consumer.offset.group.filters', filters],
      ]);
    next.links.set(theirs, { remote: legacy.id, settings: settings(), mirrors: new Map() });
    legacy.links.set(theirs, { remote: next.id, settings: settings(), mirrors: new Map() });
    await clusterLinking.prepare?.(leg('forward'));
    const now = () => JSON.parse(next.links.get(theirs)?.settings.get('consumer.offset.group.filters') ?? '');
    assert.deepEqual(now().groupFilters.at(-1), { name: 'billing', patternType: 'LITERAL', filterType: 'EXCLUDE' });
    assert.equal(now().groupFilters.length, 2);
    const before = next.asked.length;
    await clusterLinking.prepare?.(leg('forward'));
    assert.deepEqual(
      next.asked.slice(before).filter((line) => !line.startsWith('GET')),
      [],
    );
    assert.deepEqual(await clusterLinking.remove(leg('forward')), ['exclusion of our groups from link people']);
    assert.deepEqual(now(), JSON.parse(filters));
    assert.equal(next.links.has(theirs), true);
  });

  it('keeps other filters as they are', () => {
    const kept = { name: 'audit', patternType: 'PREFIXED', filterType: 'INCLUDE' };
    const with_ = excludeGroups(JSON.stringify({ groupFilters: [kept] }), ['a', 'b']);
    assert.equal(excludeGroups(with_, ['a', 'b']), with_);
    assert.deepEqual(JSON.parse(includeGroups(with_, ['a', 'b']) ?? ''), { groupFilters: [kept] });
    assert.equal(includeGroups(JSON.stringify({ groupFilters: [kept] }), ['a']), null);
  });

  it('asks again when the API is busy, and never shows a secret', async () => {
    const { next, leg } = await stage({ back: false });
    next.failures.push({ status: 503, body: { error_code: 50003, message: 'retry' } }, { status: 429 });
    await clusterLinking.prepare?.(leg('forward'));
    const message = `cannot connect with password="${sourcePassword}" by ${login.password}`;
    next.failures.push({ status: 400, body: { error_code: 40002, message } });
    await assert.rejects(clusterLinking.position(leg('forward')), (error: Error) => {
      assert.match(
        error.message,
        /REPLICATOR_REFUSED.*Confluent REST of next, GET .*status 400, 40002 cannot connect/s,
      );
      assert.doesNotMatch(error.message, /planted/);
      return true;
    });
  });
});

describe('preflight, asked about Cluster Linking', () => {
  const codesOf = async (staged: Awaited<ReturnType<typeof stage>>) =>
    (await clusterLinking.plan(staged.inquiry))
      .filter(({ severity }) => severity === 'blocker')
      .map(({ code, message }) => `${code} ${message}`);

  it('finds nothing in the way, and changes nothing', async () => {
    const staged = await stage({ transactional: ['orders.paid'] });
    const found = await clusterLinking.plan(staged.inquiry);
    assert.deepEqual(
      found.filter(({ severity }) => severity === 'blocker'),
      [],
    );
    assert.match(found.map(({ message }) => message).join('\n'), /transactions are copied as bytes.*orders\.paid/);
    assert.equal(
      [...staged.next.asked, ...staged.legacy.asked].every((line) => line.startsWith('GET')),
      true,
    );
  });

  it("finds that ACL sync would delete what keeps applications out, in the plan's settings and on any link", async () => {
    const inPlan = await stage({ replicator: { settings: { 'acl.sync.enable': 'true' } } as never });
    assert.match((await codesOf(inPlan)).join(), /REPLICATOR_CANNOT acl\.sync\.enable: ACL sync deletes/);
    const staged = await stage();
    const settings = new Map([['acl.sync.enable', 'true']]);
    staged.next.links.set('another', { remote: staged.legacy.id, settings, mirrors: new Map() });
    assert.match((await codesOf(staged)).join(), /REPLICATOR_CANNOT its ACL sync deletes rules/);
  });

  it('finds a topic in the way, a way back without an API, and a link that leads only one way', async () => {
    const staged = await stage({ targetTopics: ['orders.paid'] });
    assert.match((await codesOf(staged)).join(), /no mirror topics, and no link adopts a topic: orders\.paid/);
    const { next } = staged;
    const target = { url: next.url, basic: { username: login.username, password: { env: 'API_SECRET' } } };
    const oneWay = await stage({ places: { confluent: { kind: 'cluster-linking', target } } });
    assert.match((await codesOf(oneWay)).join('\n'), /the way back needs a bidirectional link/);
    const theirs = await stage({ link: 'people' });
    for (const cluster of [theirs.next, theirs.legacy]) {
      cluster.links.set('people', { remote: '', settings: new Map(), mirrors: new Map() });
    }
    assert.match((await codesOf(theirs)).join(), /link\.mode is not set: it leads nowhere back/);
  });

  it('finds an API that refuses the login, without showing it', async () => {
    const staged = await stage({ env: { API_SECRET: 'planted-wrong' } });
    const found = await clusterLinking.plan(staged.inquiry);
    const [refused] = found.filter(({ code }) => code === 'REPLICATOR_REFUSED');
    assert.match(refused?.message ?? '', /status 401, 40101 Authentication failed/);
    assert.match(refused?.next ?? '', /Check the login of this API/);
    assert.doesNotMatch(JSON.stringify(found), /planted/);
  });
});

function coded(code: string, message: RegExp) {
  return (error: unknown) => {
    assert.equal(error instanceof CutoverError && error.code, code, String(error));
    assert.match((error as Error).message, message);
    return true;
  };
}
