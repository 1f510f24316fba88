import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { parsePlan } from '../../contract/plan.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import type { Storage } from '../../migration/storage.ts';
import { kubernetesOf, switchValue, type ValueSwitch, valuesOf } from '../../migration/switches/config-map.ts';
import { switchFindings } from '../../migration/switches/findings.ts';
import { Kubernetes } from '../../migration/switches/kubernetes.ts';
import { makeAuthority } from '../kafka/certificates.ts';
import { KubernetesStandIn } from './kubernetes-stand-in.ts';
import { memoryStorage } from './rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-kubernetes-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const at = '2026-11-22T01:00:00.000Z';
const values = { source: 'legacy-1:9092', target: 'next-1:9092' };

/** A namespace `shop` with what applications read, and two Deployments; each test has its own. */
async function stage(
  how: {
    readonly kind?: 'ConfigMap' | 'Secret';
    readonly holds?: string;
    readonly restart?: readonly string[];
    readonly rolloutMs?: number;
  } = {},
) {
  const { kind = 'ConfigMap', holds = values.source, restart = ['orders', 'billing'], rolloutMs = 20_000 } = how;
  const kubernetes = await KubernetesStandIn.start();
  const encoded = kind === 'Secret' ? Buffer.from(holds).toString('base64') : holds;
  const object = kubernetes.addObject('shop/kafka', kind, { servers: encoded, other: 'stays' });
  for (const name of restart) kubernetes.addDeployment(`shop/${name}`, 2);
  const storage = memoryStorage();
  const target = { namespace: 'shop', kind, name: 'kafka', key: 'servers', restart: [...restart], rollout: rolloutMs };
  const change = (over: Partial<ValueSwitch> = {}): ValueSwitch => ({
    api: new Kubernetes(kubernetes.config),
    storage,
    migration: 'orders',
    wave: 'all',
    direction: 'forward',
    occasion: 'boundary-1',
    at,
    target,
    values,
    ...over,
  });
  const back = (over: Partial<ValueSwitch> = {}) => change({ direction: 'reverse', occasion: 'boundary-2', ...over });
  const patches = () =>
    kubernetes.asked.filter(({ method }) => method === 'PATCH').map(({ path }) => path.split('/').at(-1));
  return { kubernetes, object, storage, target, change, back, patches };
}

async function everythingStored(storage: Storage): Promise<string> {
  return (await storage.getAll('')).map(({ name, bytes }) => `${name} ${bytes}`).join('\n');
}

describe('the switch by ConfigMap', () => {
  it('sets the one key, restarts the Deployments, and waits until every replica is a new one', async () => {
    const { kubernetes, object, change, patches } = await stage();
    const waits = [
      { observed: false, replicas: 2, updated: 2, available: 2 },
      { replicas: 3, updated: 1, available: 2 },
      { replicas: 3, updated: 2, available: 2 },
      { replicas: 2, updated: 2, available: 1 },
    ];
    const slow = kubernetes.addDeployment('shop/orders', 2, [...waits, { replicas: 2, updated: 2, available: 2 }]);

    const summary = await switchValue(change());

    assert.equal(summary, 'ConfigMap shop/kafka, key servers: set, orders, billing restarted and available');
    assert.deepEqual(object.data, { servers: values.target, other: 'stays' });
    assert.deepEqual(patches(), ['kafka', 'orders', 'billing'], 'the value stands before anybody reads it anew');
    assert.deepEqual(slow.annotations, { 'kubectl.kubernetes.io/restartedAt': at });
    assert.ok(slow.looks > waits.length, 'none of these is taken for the end');
  });

  it('done again, as after a crash, changes and restarts nothing twice', async () => {
    const { kubernetes, object, change } = await stage();
    await switchValue(change());
    const [version, generation] = [object.resourceVersion, kubernetes.deployments.get('shop/orders')?.generation];
    assert.match(await switchValue(change()), /was set already/);
    assert.deepEqual(
      [object.resourceVersion, kubernetes.deployments.get('shop/orders')?.generation],
      [version, generation],
    );
  });

  it('stores what the key held before it sets it, and puts exactly that back on the way back', async () => {
    const { kubernetes, object, change, back } = await stage({ holds: 'kafka.old-name.example:9092' });
    kubernetes.meddle = ({ method }) => (method === 'PATCH' ? 500 : undefined);
    await assert.rejects(switchValue(change()), { code: 'KUBERNETES_UNREACHABLE' });
    assert.equal(object.data.servers, 'kafka.old-name.example:9092');
    kubernetes.meddle = () => undefined;
    await switchValue(change());
    assert.equal(object.data.servers, values.target);

    await switchValue(back({ at: '2026-11-22T02:00:00.000Z' }));

    assert.equal(object.data.servers, 'kafka.old-name.example:9092');
    assert.equal(kubernetes.deployments.get('shop/orders')?.generation, 3, 'restarted once more');
  });

  it('changes nothing that could not be stored first', async () => {
    const { kubernetes, object, change } = await stage();
    const storage = memoryStorage();
    storage.put = () => Promise.reject(new Error('no storage'));
    await assert.rejects(switchValue(change({ storage })), /no storage/);
    assert.equal(object.data.servers, values.source);
    assert.ok(kubernetes.asked.every(({ method }) => method === 'GET'));
  });

  it('reads again when somebody changed the object meanwhile, and keeps what they changed', async () => {
    const { kubernetes, object, change } = await stage({ restart: [] });
    let meddled = false;
    kubernetes.meddle = ({ method }) => {
      if (method !== 'PATCH' || meddled) return;
      meddled = true;
      object.data = { ...object.data, other: 'changed by somebody' };
      object.resourceVersion++;
      return undefined;
    };
    await switchValue(change());
    assert.deepEqual(object.data, { servers: values.target, other: 'changed by somebody' });
  });

  it('leaves the key alone when somebody changed it, on either way', async () => {
    const { kubernetes, object, change, back } = await stage({ restart: [] });
    kubernetes.meddle = ({ method }) => {
      if (method !== 'PATCH') return;
      object.data = { ...object.data, servers: 'third:9092' };
      object.resourceVersion++;
      return undefined;
    };
    await assert.rejects(switchValue(change()), {
      code: 'SWITCH_VALUE_UNEXPECTED',
      message: /ConfigMap shop\/kafka, key servers.*found "third:9092"/,
    });
    kubernetes.meddle = () => undefined;
    await assert.rejects(switchValue(back()), { code: 'SWITCH_VALUE_UNEXPECTED', message: /wanted "next-1:9092"/ });
    assert.equal(object.data.servers, 'third:9092');
  });

  it('refuses a key that is not there: nobody would read it', async () => {
    const { object, change } = await stage();
    object.data = { other: 'stays' };
    await assert.rejects(switchValue(change()), { code: 'SWITCH_VALUE_UNEXPECTED', message: /found no such key/ });
    assert.deepEqual(object.data, { other: 'stays' });
  });

  it('names the Deployment that hangs, how far it is, and why, when its time is up', async () => {
    const { kubernetes, change } = await stage({ rolloutMs: 100 });
    const quota = { type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message: 'exceeded quota: small' };
    kubernetes.addDeployment('shop/billing', 2, [{ replicas: 3, updated: 1, available: 2, conditions: [quota] }]);
    await assert.rejects(switchValue(change()), {
      code: 'ROLLOUT_STUCK',
      message:
        /namespace shop.*found billing: 1 of 2 replicas are new; ReplicaFailure FailedCreate: exceeded quota: small, wanted within 0.1 s/,
    });
  });

  it('does not wait for what will never come', async () => {
    const { kubernetes, change } = await stage();
    const gaveUp = {
      type: 'Progressing',
      status: 'False',
      reason: 'ProgressDeadlineExceeded',
      message: 'has timed out',
    };
    kubernetes.addDeployment('shop/orders', 2, [{ replicas: 3, updated: 1, available: 2, conditions: [gaveUp] }]);
    await assert.rejects(switchValue(change()), {
      code: 'ROLLOUT_STUCK',
      message: /ProgressDeadlineExceeded: has timed out\. Next/,
    });
    const paused = kubernetes.addDeployment('shop/orders', 2, [{ replicas: 2, available: 2 }]);
    paused.paused = true;
    await assert.rejects(switchValue(change()), {
      code: 'ROLLOUT_STUCK',
      message: /orders: .*the Deployment is paused/,
    });
  });

  it('restarts a Deployment that two switches share after each of them', async () => {
    const { kubernetes, change, target } = await stage({ restart: ['orders'] });
    await switchValue(change());
    kubernetes.addObject('shop/readers', 'ConfigMap', { servers: values.source });
    await switchValue(change({ target: { ...target, name: 'readers' }, at: '2026-11-22T01:00:00.001Z' }));
    assert.equal(kubernetes.deployments.get('shop/orders')?.generation, 3);
  });
});

describe('the switch by Secret', () => {
  it('stores nothing of what it held but a digest, and goes back to the addresses of the source', async () => {
    const { object, change, back, storage } = await stage({ kind: 'Secret', restart: [] });
    const held = () => Buffer.from(object.data.servers ?? '', 'base64').toString();
    await switchValue(change());
    assert.equal(held(), values.target);
    const stored = await everythingStored(storage);
    assert.match(stored, /digestBefore/);
    assert.ok(!stored.includes(values.source) && !stored.includes(Buffer.from(values.source).toString('base64')));
    await switchValue(back());
    assert.equal(held(), values.source);
  });

  it('refuses to replace what it could not put back, and shows nothing of it', async () => {
    const { object, change } = await stage({ kind: 'Secret', holds: 'password=hunter2', restart: [] });
    const before = { ...object.data };
    await assert.rejects(switchValue(change()), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'SWITCH_VALUE_UNEXPECTED');
      assert.match(error.message, /could not be put back.*wanted the bootstrap addresses of the source/);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });
    assert.deepEqual(object.data, before);
  });
});

describe('Kubernetes', () => {
  it('may repeat a secret that it refuses; we do not', async () => {
    const { object, change } = await stage({ kind: 'Secret', restart: [] });
    object.immutable = true;
    await assert.rejects(switchValue(change()), (error: Error & { code?: string }) => {
      assert.match(error.message, /Invalid value: \{"servers":"\*\*\*"\}/);
      assert.ok(!error.message.includes(Buffer.from(values.target).toString('base64')));
      return true;
    });
  });

  it('that refuses is named with status, object and reason, never with the token', async () => {
    const { kubernetes, object, change, target } = await stage({ restart: [] });
    const refusals = async (over: Partial<ValueSwitch>, wanted: RegExp) =>
      assert.rejects(switchValue(change(over)), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'KUBERNETES_REFUSED');
        assert.match(error.message, wanted);
        assert.ok(!error.message.includes(kubernetes.token));
        return true;
      });
    const missing = { target: { ...target, name: 'nobody' } };
    await refusals(
      missing,
      /prod, GET .*\/namespaces\/shop\/configmaps\/nobody.*status 404, NotFound: configmaps "nobody"/,
    );
    object.immutable = true;
    await refusals({}, /PATCH .*status 422, Invalid: data: Invalid value: .*next-1.*: field is immutable/);
    kubernetes.meddle = () => 403;
    await refusals({}, /status 403/);
    const stranger = { ...kubernetes.config, token: { value: 'another' } };
    await refusals({ api: new Kubernetes(stranger) }, /status 401/);
  });

  it('is not believed under another authority, and may be asked again', async () => {
    const { kubernetes, change } = await stage();
    const config = { ...kubernetes.config, ca: makeAuthority('another').cert };
    await assert.rejects(switchValue(change({ api: new Kubernetes(config) })), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'KUBERNETES_UNREACHABLE');
      assert.match(error.message, /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED/);
      return true;
    });
    assert.deepEqual(kubernetes.asked, []);
  });

  it('may replace our token in its file while we run', async () => {
    const { kubernetes, change } = await stage({ restart: [] });
    const path = join(folder, 'token');
    writeFileSync(path, 'the first one\n');
    const api = new Kubernetes({ ...kubernetes.config, token: { path } });
    kubernetes.token = 'the first one';
    await switchValue(change({ api }));
    kubernetes.token = 'the second one';
    await assert.rejects(switchValue(change({ api })), { code: 'KUBERNETES_REFUSED' });
    writeFileSync(path, 'the second one\n');
    await switchValue(change({ api }));
  });

  it('may be away for a while during a rollout', async () => {
    const { kubernetes, change } = await stage({ restart: ['orders'] });
    let away = 1;
    kubernetes.meddle = ({ method, path }) =>
      method === 'GET' && path.includes('deployments') && away-- > 0 ? 503 : undefined;
    assert.match(await switchValue(change()), /orders restarted and available/);
    assert.ok(away < 0);
  });
});

describe('preflight of a switch by ConfigMap', () => {
  const fileOf = ({ config }: KubernetesStandIn, more: object = {}): ClustersFile => {
    writeFileSync(join(folder, 'ca.pem'), config.ca);
    const prod = { server: config.server, ca: { file: 'ca.pem' }, token: { env: 'T' } };
    const entries = {
      legacy: { bootstrap: values.source },
      next: { bootstrap: values.target },
      kubernetes: { prod, ...more },
    };
    const env = { T: 'a token that nobody may see' };
    return parseClusters(JSON.stringify(entries), join(folder, 'clusters.yaml'), env);
  };
  const planOf = (configMap: object) =>
    parsePlan({
      name: 'orders',
      source: 'legacy',
      target: 'next',
      topics: { include: ['orders'] },
      producers: {
        switch: 'config-map',
        configMap: { namespace: 'shop', name: 'kafka', key: 'servers', ...configMap },
      },
    });

  it('finds nothing where all is there, and by default switches bootstrap addresses', async () => {
    const { kubernetes } = await stage();
    const file = fileOf(kubernetes);
    const plan = planOf({ restart: ['orders', 'billing'] });
    assert.deepEqual(await switchFindings(plan, file), []);
    assert.deepEqual(plan.producers.configMap && valuesOf(plan, file, plan.producers.configMap), values);
    assert.ok(kubernetes.asked.every(({ method }) => method === 'GET'));
  });

  it('names what is missing, paused, or could not be put back', async () => {
    const { kubernetes } = await stage({ kind: 'Secret', holds: 'password=hunter2' });
    (kubernetes.deployments.get('shop/orders') as { paused?: boolean }).paused = true;
    const found = await switchFindings(planOf({ kind: 'Secret', restart: ['orders', 'nobody'] }), fileOf(kubernetes));
    assert.deepEqual(
      found.map(({ code }) => code),
      ['SWITCH_VALUE_UNEXPECTED', 'ROLLOUT_STUCK', 'KUBERNETES_REFUSED'],
    );
    assert.doesNotMatch(JSON.stringify(found), /hunter2/);
    const noKey = await switchFindings(planOf({ kind: 'Secret', key: 'bootstrap' }), fileOf(kubernetes));
    assert.match(noKey[0]?.message ?? '', /Secret shop\/kafka, key bootstrap: no such key/);
  });

  it('wants a name where several are defined, and an own cluster where none is', async () => {
    const { kubernetes } = await stage();
    const { server } = kubernetes.config;
    const target = planOf({}).producers.configMap;
    assert.ok(target);
    const two = fileOf(kubernetes, { test: { server } });
    assert.throws(() => kubernetesOf(two, target, 'producers.configMap'), {
      code: 'KUBERNETES_UNKNOWN',
      message: /2 in .*: prod, test/,
    });
    assert.equal(kubernetesOf(two, { ...target, kubernetes: 'test' }, '').name, 'test');
    const none = parseClusters('{}', join(folder, 'clusters.yaml'), {});
    assert.throws(() => kubernetesOf(none, target, ''), { code: 'KUBERNETES_UNKNOWN', message: /runs in no pod/ });
  });
});
