/** AutoMQ's Kafka Linking against a stand-in of its control plane; it never ran against a real one. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CutoverError } from '../../contract/errors.ts';
import type { PlanInput } from '../../contract/plan.ts';
import { automqLinking } from '../../replicators/automq-linking.ts';
import { signedHeaders } from '../../replicators/automq-links.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { type AutomqStandIn, automqStandIn, environment, instance, login } from './automq-stand-in.ts';
import { endOf, onPaper, type Paper, sourcePassword } from './paper-wave.ts';

const ours = 'kafka-cutover-orders-all';
const topics = { 'orders.created': 2, 'orders.paid': 1 };
const names = Object.keys(topics);
const patienceMs = 20_000;

async function stage(options: { readonly link?: string } & Omit<Partial<Paper>, 'replicator'> = {}) {
  const { link, ...paper } = options;
  const automq = await automqStandIn(names);
  const staged = onPaper({
    topics,
    places: {
      automq: {
        kind: 'automq-linking',
        url: automq.url,
        environment,
        instance,
        accessKeyId: login.accessKeyId,
        secretAccessKey: { env: 'AUTOMQ_SECRET' },
      },
    },
    env: { AUTOMQ_SECRET: login.secretAccessKey },
    ...paper,
    replicator: { kind: 'automq-linking', at: 'automq', ...(link && { link }) } as PlanInput['replicator'],
    plan: { rollback: { reverseMirror: false }, ...paper.plan },
  });
  return { automq, ...staged };
}

function mirror({ links }: AutomqStandIn, topic: string, link = ours) {
  const found = links.get(link)?.topics.get(topic);
  assert(found, topic);
  return found;
}
const states = ({ links }: AutomqStandIn, link = ours) =>
  [...(links.get(link)?.topics ?? [])].map(([topic, { state }]) => `${topic} ${state}`);
const all = (state: string) => names.map((topic) => `${topic} ${state}`);
const changes = ({ asked }: AutomqStandIn) => asked.filter((line) => !line.startsWith('GET'));

describe('AutoMQ Linking', () => {
  it('makes a link from the start of the logs and mirror topics, and is done promoting when the topics are', async () => {
    const { automq, leg, job } = await stage();
    assert.match(String(await automqLinking.prepare?.(leg('forward'))), /made, 2 mirror topics created/);
    assert.deepEqual(automq.links.get(ours)?.sent, {
      linkId: ours,
      startOffsetTime: 'earliest',
      sourceCluster: {
        endpoint: 'legacy-1:9093',
        securityProtocol: 'SASL_SSL',
        saslMechanism: 'SCRAM_SHA_512',
        user: 'forward',
        password: sourcePassword,
      },
    });
    const before = changes(automq).length;
    assert.match(String(await automqLinking.prepare?.(leg('forward'))), /, 0 mirror topics created/);
    assert.equal(changes(automq).length, before);

    mirror(automq, 'orders.created').lag = 5;
    mirror(automq, 'orders.paid').state = 'PAUSED';
    const copying = job('forward');
    const running = automqLinking.run(copying.job);
    await waitFor('notes', patienceMs, async () => copying.notes().length > 0);
    assert.match(copying.notes().join(), /[1-5] records behind, as it says/);
    assert.equal(mirror(automq, 'orders.paid').state, 'LINKING');
    copying.end();
    await endOf(running);

    mirror(automq, 'orders.created').lag = 2;
    assert.match(await automqLinking.stop(leg('forward')), /2 mirror topics at lag 0/);
    assert.equal(mirror(automq, 'orders.created').lag, 0);
    assert.match(await automqLinking.promote(leg('forward')), /2 mirror topics promoted on next/);
    assert.deepEqual(states(automq), all('PROMOTED'));
    const patched = changes(automq).length;
    await automqLinking.promote(leg('forward'));
    assert.equal(changes(automq).length, patched);
  });

  it('never deletes a link or a mirror topic, which would take the records along', async () => {
    const promoted = await stage();
    await automqLinking.prepare?.(promoted.leg('forward'));
    await automqLinking.promote(promoted.leg('forward'));
    assert.deepEqual(await automqLinking.remove(promoted.leg('forward')), []);
    const aborted = await stage();
    await automqLinking.prepare?.(aborted.leg('forward'));
    const removed = await automqLinking.remove(aborted.leg('forward'));
    assert.match(removed.join('\n'), /orders\.created \(paused; link kafka-cutover-orders-all and the topic stay\)/);
    assert.deepEqual(states(aborted.automq), all('PAUSED'));
    for (const { automq } of [promoted, aborted]) {
      assert.deepEqual(
        automq.asked.filter((line) => line.startsWith('DELETE')),
        [],
      );
    }
    assert.deepEqual(await automqLinking.remove(aborted.leg('forward')), []);
  });

  it('stops at what has failed or was promoted by others', async () => {
    const { automq, leg, job } = await stage();
    await automqLinking.prepare?.(leg('forward'));
    mirror(automq, 'orders.paid').error = 'SOURCE_TOPIC_NOT_FOUND';
    const failed = coded('REPLICATOR_FAILED', /does not copy.*topic orders\.paid.*LINKING, SOURCE_TOPIC_NOT_FOUND/s);
    await assert.rejects(automqLinking.run(job('forward').job), failed);
    await assert.rejects(
      automqLinking.promote(leg('forward')),
      coded('REPLICATOR_FAILED', /orders\.paid.*SOURCE_TOPIC/s),
    );
    Object.assign(mirror(automq, 'orders.paid'), { error: null, state: 'PROMOTED' });
    await assert.rejects(automqLinking.run(job('forward').job), coded('REPLICATOR_FAILED', /somebody promoted/));
  });

  it("uses people's link and refuses one that is not there", async () => {
    const { automq, leg } = await stage({ link: 'people' });
    await assert.rejects(
      async () => automqLinking.prepare?.(leg('forward')),
      coded('REPLICATOR_REFUSED', /no link people/),
    );
    automq.links.set('people', { sent: { sourceCluster: { endpoint: '' } }, topics: new Map(), error: '' });
    await automqLinking.prepare?.(leg('forward'));
    assert.deepEqual(states(automq, 'people'), all('LINKING'));
    assert.deepEqual([...automq.links.keys()], ['people']);
  });

  it("signs as AutoMQ's own provider does", () => {
    const place = { environment: 'env-1', accessKeyId: 'AKID', secretAccessKey: 'SECRET' };
    const at = new Date('2026-07-01T12:30:45Z');
    const base = 'http://cmp.example:8080/api/v1/instances/kf-abc/kafka-links';
    // Made by the provider's signer (client/signer of AutoMQ/terraform-provider-automq).
    const known = [
      ['POST', base, '{"linkId":"l"}', '33fe71311687797744dfda1b07ede4ff4e20a8dd5799c09287bb990eed44c0c5'],
      [
        'GET',
        `${base}/l/kafka-link-mirror-topics?page=1&size=50`,
        '',
        '111ec142f2e07f0e58245083f921be3c3524c381987badccd3e54f074a116e27',
      ],
    ] as const;
    for (const [method, url, body, signature] of known) {
      assert.equal(
        signedHeaders(place, method, new URL(url), body, at).authorization,
        `AUTOMQ-HMAC-SHA256 Credential=AKID/20260701/private/cmp/cmp_request, SignedHeaders=accept-language;content-type;host;x-automq-date;x-automq-environment-id, Signature=${signature}`,
      );
    }
  });

  it('never shows a secret, and says which of its codes it was', async () => {
    const { automq, leg } = await stage();
    const message = `cannot log in with ${sourcePassword}, ${login.secretAccessKey}`;
    automq.failures.push({
      status: 400,
      body: { error: { code: 'KafkaLink.Invalid', message, detail: 'the endpoint' } },
    });
    await assert.rejects(
      async () => automqLinking.prepare?.(leg('forward')),
      coded(
        'REPLICATOR_REFUSED',
        /AutoMQ control plane of next.*status 400, KafkaLink\.Invalid cannot log in with \*\*\*.*the endpoint/s,
      ),
    );
  });
});

describe('preflight, asked about AutoMQ Linking', () => {
  const found = async (staged: Awaited<ReturnType<typeof stage>>) =>
    (await automqLinking.plan(staged.inquiry)).map(({ code, message }) => `${code} ${message}`).join('\n');

  it('finds nothing in the way, changes nothing, and says what deletion does', async () => {
    const staged = await stage();
    assert.doesNotMatch(await found(staged), /REPLICATOR_CANNOT|forwarded/);
    assert.match(await found(staged), /REPLICATOR_RISK .*takes the topic and its records along/);
    assert.deepEqual(changes(staged.automq), []);
  });

  it('finds that writes to the target are forwarded past a fence', async () => {
    const forwarded = /forwarded to legacy, as the link's user there.*it goes past the fence/;
    assert.match(await found(await stage({ authorizer: false })), forwarded);
    const plan = { rollback: { reverseMirror: false }, fence: { kind: 'manual' } } as const;
    assert.match(await found(await stage({ plan })), forwarded);
  });

  it('finds topics in the way, those that were promoted, and a wrong login', async () => {
    const staged = await stage({ targetTopics: ['orders.created', 'orders.paid'] });
    assert.match(await found(staged), /no mirror topics: orders\.created, orders\.paid/);
    await automqLinking.prepare?.(staged.leg('forward'));
    assert.doesNotMatch(await found(staged), /REPLICATOR_CANNOT/);
    await automqLinking.promote(staged.leg('forward'));
    assert.match(await found(staged), /REPLICATOR_CANNOT it was promoted, and cannot be mirrored again/);
    assert.match(
      await found(await stage({ env: { AUTOMQ_SECRET: 'planted-wrong' } })),
      /REPLICATOR_REFUSED .*status 401/,
    );
  });
});

function coded(code: string, message: RegExp) {
  return (error: unknown) => {
    assert.equal(error instanceof CutoverError && error.code, code, String(error));
    assert.match((error as Error).message, message);
    assert.doesNotMatch((error as Error).message, /planted/);
    return true;
  };
}
