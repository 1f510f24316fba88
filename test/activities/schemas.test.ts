/**
 * Schemas: carried from registry to registry under their ids, through the same activities as a migration's, and moved with the topic that a
 * registry keeps them in. The registry that takes ids is a stand-in, the one that does not, and whose topic moves, is Apicurio's.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Scope } from '../../activities/types.ts';
import type { Finding } from '../../contract/errors.ts';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { Cluster } from '../../kafka/cluster.ts';
import type { ClustersFile, RegistryConfig } from '../../kafka/clusters.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { SchemaRegistry } from '../../kafka/schema-registry.ts';
import { SchemaFollower } from '../../migration/follow-schemas.ts';
import { compareSchemas } from '../../migration/schemas.ts';
import { openStorage } from '../../migration/storage.ts';
import { openWave } from '../../migration/wave.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { startSchemaRegistry } from '../../stack/schema-registry.ts';
import { Estate } from '../e2e/support/estate.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { RegistryStandIn } from '../migration/registry-stand-in.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters: file } = await sharedStack();
const estate = await Estate.of(stack, file);
const name = uniqueName('schemas');
const orders = `${name}.orders`;
const mirrorMs = 60_000;

const record = (recordName: string, type: string) =>
  JSON.stringify({ type: 'record', name: recordName, fields: [{ name: 'x', type }] });

/** As serializers write it. */
function serialized(id: number): Buffer {
  const bytes = Buffer.alloc(9, 'x');
  bytes.writeUInt8(0, 0);
  bytes.writeInt32BE(id, 1);
  return bytes;
}

function withRegistries(source: RegistryConfig | null, target: RegistryConfig | null): ClustersFile {
  return {
    ...file,
    cluster: (cluster) => ({ ...file.cluster(cluster), registry: cluster === 'next' ? target : source }),
  };
}

function activitiesWith(clusters: ClustersFile) {
  const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
  after(() => activities[Symbol.asyncDispose]());
  return activities;
}

function call<Request, Result>(activity: (request: Request) => Promise<Result>, request: Request): Promise<Result> {
  return environment().run<[Request], Result, typeof activity>(activity, request);
}

async function connected(clusters: ClustersFile, cluster: string) {
  const opened = await Cluster.connect(clusters.cluster(cluster));
  return { cluster: opened, [Symbol.asyncDispose]: () => opened.close() };
}

const planOf = (more: Partial<PlanInput> = {}) =>
  parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] }, ...more });
const aboutSchemas = (findings: readonly Finding[]) =>
  findings
    .filter(({ code }) => /^(SCHEMA|REGISTRY)/.test(code))
    .map(({ code, where, message }) => [code, where, message]);

const source = await RegistryStandIn.start(1041);
const target = await RegistryStandIn.start();
const activities = activitiesWith(withRegistries(source.config, target.config));
const plan = planOf({ schemas: { subjects: { include: [`${name}.*`] } } });

/** Registered by applications before anybody thought of moving. */
const money = `${name}-money`;
const value = `${orders}-value`;
const old = `${name}-old`;
const moneyId = source.register(money, record('Money', 'long'));
const referring = { references: [{ name: 'Money', subject: money, version: 1 }] };
const orderId = source.register(value, record('Order', 'Money'), referring);
const textId = source.register(value, 'message Order {}', { schemaType: 'PROTOBUF' });
const oldId = source.register(old, record('Old', 'int'));
const elsewhereId = source.register('elsewhere', record('Elsewhere', 'int'));

before(async () => {
  // The records are of 1970: on a slow machine retention is faster than the test.
  await estate.createTopic('source', orders, 2, { 'retention.ms': '-1' });
  const at = (partition: number, ...values: Buffer[]) =>
    estate.append(
      'source',
      orders,
      { codec: 'gzip', records: values.map((bytes) => ({ timestamp: 1n, key: null, value: bytes, headers: [] })) },
      partition,
    );
  // A number of eight bytes begins like an id that nobody ever gave.
  await at(0, serialized(orderId), Buffer.from([0, 0, 0, 0, 0, 0, 0, 7]), Buffer.from([0, 1, 2, 3, 4, 5, 6, 7]));
  await at(1, serialized(textId), serialized(elsewhereId));
});

describe('a plan about schemas', () => {
  it('is blocked by ids in records that the target would not know, and by those that mean something else there', async () => {
    const without = await call(activities.preflight, { plan: planOf() });
    assert.deepEqual(aboutSchemas(without.findings), [
      ...[orderId, textId, elsewhereId].map((id) => [
        'SCHEMA_ID_MISSING',
        `registry of next, id ${id}`,
        `records of ${orders} name it`,
      ]),
    ]);

    const taken = await RegistryStandIn.start(elsewhereId);
    taken.register('another', record('Another', 'string'));
    const both = activitiesWith(withRegistries(source.config, taken.config));
    const { findings } = await call(both.preflight, { plan });
    assert.deepEqual(
      aboutSchemas(findings).filter(([code]) => code !== 'SCHEMAS_CARRIED' && code !== 'SCHEMA_LEVEL_INHERITED'),
      [['SCHEMA_ID_TAKEN', `registry of next, id ${elsewhereId}`, `records of ${orders} name it`]],
    );
  });

  it('is blocked where no registry is named, none answers, or we may not ask', async () => {
    const found = async (there: RegistryConfig | null) => {
      const { findings } = await call(activitiesWith(withRegistries(source.config, there)).preflight, { plan });
      return aboutSchemas(findings).map(([code, where]) => [code, where]);
    };
    assert.deepEqual(await found(null), [['REGISTRY_UNKNOWN', 'cluster next']]);
    assert.deepEqual(await found({ url: 'http://127.0.0.1:1', authorization: null }), [
      ['REGISTRY_UNREACHABLE', 'registry of next, GET /mode'],
    ]);
    assert.deepEqual(await found({ ...target.config, authorization: null }), [
      ['REGISTRY_REFUSED', 'registry of next, GET /mode'],
    ]);
  });

  it('is blocked where what answers is no registry, or none that lets us ask, on either side or on both', async () => {
    const answers = [
      [400, '{"error_code":400,"message":"no"}'],
      [401, '{"error_code":401,"message":"no"}'],
      [500, 'down'],
      [404, '<html>nothing here</html>'],
      [200, '<html>log in</html>'],
    ] as const;
    for (const [status, text] of answers) {
      const server = createServer((_, response) => response.writeHead(status).end(text));
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
      const wrong = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, authorization: null };
      const sides = [
        [wrong, target.config],
        [source.config, wrong],
        [wrong, wrong],
      ] as const;
      for (const [here, there] of sides) {
        const { findings } = await call(activitiesWith(withRegistries(here, there)).preflight, { plan });
        assert.deepEqual(
          aboutSchemas(findings).map(([code]) => code),
          [status === 500 ? 'REGISTRY_UNREACHABLE' : 'REGISTRY_REFUSED'],
          `status ${status}: ${JSON.stringify(findings)}`,
        );
      }
      await new Promise((done) => server.close(done));
    }
  });
});

describe('schemas of a migration', () => {
  let scope: Scope;
  const deadlineMs = Date.now() + 3_600_000;
  const fence = () => ({ ...scope, direction: 'forward', deadlineMs }) as const;
  const all = [
    `${money}/1: ${moneyId}`,
    `${old}/1: ${oldId} deleted`,
    `${value}/1: ${orderId}`,
    `${value}/2: ${textId}`,
  ].sort();

  before(() => {
    // Deleted softly: its id stays known, records may still name it.
    (source.subjects.get(old)?.get(1) as { deleted: boolean }).deleted = true;
    source.levels.set(value, 'FULL');
    source.levels.set('', 'FORWARD');
    target.register('of-others', record('Others', 'int'));
  });

  it('are told before the start, with what of them stays otherwise', async () => {
    const { findings, inventory } = await call(activities.preflight, { plan });
    assert.deepEqual(aboutSchemas(findings), [
      ['SCHEMAS_CARRIED', 'registry of next', '4 versions of 3 subjects; 0 are there already'],
      [
        'SCHEMA_LEVEL_INHERITED',
        'registry of next',
        'FORWARD on the source, BACKWARD here; it stays, since subjects that are not carried live here: of-others',
      ],
      ['SCHEMA_ID_MISSING', `registry of next, id ${elsewhereId}`, `records of ${orders} name it`],
    ]);
    scope = { plan, wave: 'all', inventory };
  });

  it('are imported under their versions and ids, what is referred to first, and their subjects are closed to others', async () => {
    const { summary } = await call(activities.prepareTarget, scope);
    assert.match(summary, /, 4 schemas carried,/);
    assert.deepEqual(
      target.held().filter((line) => line.startsWith(name)),
      all,
    );
    assert.deepEqual([target.levels.get(value), target.levels.get('')], ['FULL', 'BACKWARD']);
    assert.throws(() => target.register(value, record('Order', 'string')), /import mode/);
    const comparison = await compareSchemas(
      { source: new SchemaRegistry(source.config, 'legacy'), target: new SchemaRegistry(target.config, 'next') },
      (subject) => subject.startsWith(name),
    );
    assert.deepEqual(
      [comparison.missing, comparison.findings.map(({ code }) => code)],
      [[], ['SCHEMA_LEVEL_INHERITED']],
    );
    // A step that is repeated changes nothing.
    const before = target.changes.length;
    await call(activities.prepareTarget, scope);
    assert.equal(target.changes.length, before);
  });

  it('that come to the source are carried until the opening, which lets applications register again', async () => {
    const both = withRegistries(source.config, target.config);
    await using from = await connected(both, 'legacy');
    await using into = await connected(both, 'next');
    const pair = { source: from.cluster, target: into.cluster };
    const wave = await openWave(pair, openStorage(pair), scope);
    const follower = new SchemaFollower(wave);
    source.register(value, record('Order', 'bytes'));
    assert.deepEqual(await follower.look(), []);
    assert.ok(target.subjects.get(value)?.has(3));

    const lateId = source.register(`${name}-late`, record('Late', 'int'));
    const { summary } = await call(activities.restoreSettings, fence());
    assert.match(summary, /, 1 schemas carried/);
    assert.equal(target.subjects.get(`${name}-late`)?.get(1)?.id, lateId);
    assert.deepEqual([...target.modes], [['', 'READWRITE']]);
    assert.ok(target.register(value, record('Order', 'string')) > lateId);
    target.subjects.get(value)?.delete(4);

    // Applications register where they write: their records go back, and so does what these name.
    const backId = target.register(value, record('Order', 'long'));
    const goingBack = { ...fence(), direction: 'reverse' } as const;
    const { findings } = await call(activities.restoreSettings, goingBack);
    assert.deepEqual(findings, []);
    assert.equal(source.subjects.get(value)?.get(4)?.id, backId);
    assert.deepEqual([...source.modes], [['', 'READWRITE']], 'applications may register there at once');
    // Another schema took the id there: said, and nobody is kept from going back.
    const nextId = target.register(value, record('Order', 'float'));
    const taken = source.register('elsewhere', record('Elsewhere', 'double'));
    assert.equal(taken, nextId);
    const otherId = target.register(`${name}-late`, record('Late', 'long'));
    const refused = await call(activities.restoreSettings, goingBack);
    assert.deepEqual(
      refused.findings?.map(({ code, where, message }) => [code, where, message.split(':')[0]]),
      [['SCHEMA_NOT_CARRIED', `registry of legacy, id ${nextId}`, 'SCHEMA_ID_TAKEN']],
    );
    assert.equal(source.subjects.get(`${name}-late`)?.get(2)?.id, otherId, 'no other subject is held up by it');
    assert.deepEqual([...source.modes], [['', 'READWRITE']]);
    for (const version of [4, 5]) target.subjects.get(value)?.delete(version);
    target.subjects.get(`${name}-late`)?.delete(2);

    // The fence was lifted instead: closed again.
    await call(activities.unfence, fence());
    assert.deepEqual([target.modes.get(value), target.modes.get(`${name}-late`)], ['IMPORT', 'IMPORT']);
  });

  it('go away again with an abort, and nothing else does', async () => {
    // As it settles: what was carried back stays.
    await call(activities.settleRollback, scope);
    const { notUndone } = await call(activities.undoAll, { ...scope, removeTarget: true });
    assert.deepEqual(notUndone, []);
    assert.ok(source.subjects.get(value)?.has(4));
    assert.deepEqual(target.held(), ['of-others/1: 1']);
    assert.deepEqual(
      [...target.modes, ...target.levels],
      [
        ['', 'READWRITE'],
        ['', 'BACKWARD'],
      ],
    );
  });

  it('come after those that they refer to, whatever their ids', async () => {
    const here = await RegistryStandIn.start();
    here.register('order', record('Order', 'Money'));
    here.register('money', record('Money', 'long'));
    const order = here.subjects.get('order')?.get(1);
    assert.ok(order);
    // As an import from elsewhere leaves it: the younger id is referred to.
    Object.assign(order, { references: [{ name: 'Money', subject: 'money', version: 1 }] });
    const there = await RegistryStandIn.start();
    const registries = {
      source: new SchemaRegistry(here.config, 'legacy'),
      target: new SchemaRegistry(there.config, 'next'),
    };
    const { missing } = await compareSchemas(registries, (subject) => subject === 'order');
    assert.deepEqual(
      missing.map(({ subject }) => subject),
      ['money', 'order'],
    );
  });

  it('that another registry has otherwise stand in the way', async () => {
    const here = await RegistryStandIn.start();
    const there = await RegistryStandIn.start();
    here.register('a', '"int"');
    here.register('b', '"long"');
    here.register('c', '"string"');
    there.register('a', '"int"');
    there.register('a', '"bytes"');
    there.register('b', '"long"');
    const registries = {
      source: new SchemaRegistry(here.config, 'legacy'),
      target: new SchemaRegistry(there.config, 'next'),
    };
    const { findings, missing } = await compareSchemas(registries, () => true);
    assert.deepEqual(
      findings.map(({ code, where, message }) => [code, where, message]),
      [
        ['SCHEMA_DIFFERS', 'registry of next, subject a', 'version 2 is not on the source'],
        ['SCHEMA_DIFFERS', 'registry of next, subject b', 'version 1 has id 3, not 2'],
        ['SCHEMA_ID_TAKEN', 'registry of next, id 3', 'it is another schema there than version 1 of c here'],
      ],
    );
    assert.deepEqual(
      missing.map(({ subject }) => subject),
      ['c'],
    );
  });
});

describe('a real registry', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-registry-'));
  after(() => rmSync(dir, { recursive: true, force: true }));
  const topic = `${uniqueName('registry')}-journal`;
  assert.ok(stack.source && stack.target);
  const configs = { 'cleanup.policy': 'compact', 'retention.ms': '-1' };
  for (const side of ['source', 'target'] as const) {
    await estate.createTopic(
      side,
      topic,
      1,
      side === 'source' ? configs : { 'cleanup.policy': 'delete', 'retention.ms': '-1' },
    );
    await estate.createTopic(side, `${topic}-snapshots`);
  }
  const first = await startSchemaRegistry(join(dir, 'source'), stack.source, 'cutover', topic);
  after(() => first.stop());
  const from = { url: first.url, authorization: null };
  const registry = new SchemaRegistry(from, 'legacy');
  const register = async (subject: string, schema: object) => {
    const body = JSON.stringify(schema);
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${first.url}/subjects/${subject}/versions`, { method: 'POST', headers, body });
    return ((await answer.json()) as { id: number }).id;
  };
  const ids = [
    await register('money', { schema: record('Money', 'long') }),
    await register('order', {
      schema: record('Order', 'Money'),
      references: [{ name: 'Money', subject: 'money', version: 1 }],
    }),
    await register('order', { schema: record('Order', 'string') }),
  ];

  it('is read, and what it holds is carried into one that takes ids', async () => {
    const into = await RegistryStandIn.start();
    const registries = { source: registry, target: new SchemaRegistry(into.config, 'next') };
    const { missing, findings } = await compareSchemas(registries, () => true);
    assert.deepEqual(findings, []);
    assert.deepEqual(
      missing.map(({ subject, version, id }) => `${subject}/${version}: ${id}`),
      ['money/1', 'order/1', 'order/2'].map((key, at) => `${key}: ${ids[at]}`),
    );
  });

  it('that gives ids of its own alone is refused as a target', async () => {
    const { findings } = await call(activitiesWith(withRegistries(source.config, from)).preflight, { plan });
    assert.deepEqual(
      aboutSchemas(findings)
        .map(([code]) => code)
        .filter((code) => code !== 'SCHEMA_ID_MISSING'),
      ['SCHEMA_IMPORT_UNSUPPORTED'],
    );
  });

  it('reads every schema under its id from the exact copy of its topic', async () => {
    assert.ok(stack.target);
    const known = await Promise.all(ids.map((id) => registry.byId(id)));
    assert.ok(known.every((schema) => schema !== null));
    await first.stop();
    const topicId = (await estate.source.metadata([topic])).topics.get(topic)?.topicId ?? '';
    const producerId = await allocateProducerId(estate.target);
    await runMirror({
      from: estate.source,
      into: estate.target,
      partitions: [{ topic, topicId, partition: 0, producerId, otherProducerId: null }],
      signal: AbortSignal.timeout(mirrorMs),
      untilCaughtUp: true,
    });

    const second = await startSchemaRegistry(join(dir, 'target'), stack.target, 'cutover', topic);
    after(() => second.stop());
    const copy = new SchemaRegistry({ url: second.url, authorization: null }, 'next');
    // It answers before it has read its topic to the end.
    await waitFor('the registry to read its topic', mirrorMs, () => copy.byId(Math.max(...ids)));
    assert.deepEqual(await Promise.all(ids.map((id) => copy.byId(id))), known);
    assert.deepEqual(
      (await copy.versionsOf('order')).map(({ version }) => version),
      [1, 2],
    );
  });
});
