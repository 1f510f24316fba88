/** A replicator that we know nothing of, driven by webhooks: a receiver in this process checks each call as docs/webhook.md tells people to. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CutoverError } from '../../contract/errors.ts';
import type { PlanInput } from '../../contract/plan.ts';
import { capabilitiesOf } from '../../contract/replicators.ts';
import { storeBoundary } from '../../migration/boundary.ts';
import { signatureHeader, timestampHeader, verifySignature } from '../../migration/switches/webhook.ts';
import { externalWith } from '../../replicators/external.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { endOf, onPaper, type Paper } from './paper-wave.ts';
import { type Reply, standIn } from './stand-in.ts';

const secret = 'planted-webhook-secret';
const patienceMs = 20_000;
const replicator = externalWith(10, 10);

interface Call {
  readonly id: string;
  readonly verb: string;
  readonly direction: string;
  readonly boundary: Record<string, string> | null;
  readonly [key: string]: unknown;
}

async function stage(settings: object = {}, paper: Omit<Partial<Paper>, 'replicator'> = {}) {
  const calls: Call[] = [];
  const answers = new Map<string, Reply[]>();
  const url = await standIn(({ method, headers, text, body }) => {
    const [timestamp, signature] = [timestampHeader, signatureHeader].map((name) =>
      String(headers[name.toLowerCase()]),
    );
    assert.equal(method, 'POST');
    assert.ok(verifySignature(secret, timestamp ?? '', text, signature ?? ''), 'a call that is not ours');
    const call = body as Call;
    calls.push(call);
    const left = answers.get(call.verb) ?? [];
    return (left.length > 1 ? left.shift() : left[0]) ?? { status: 204 };
  });
  const staged = onPaper({
    topics: { 'orders.created': 2 },
    groups: ['billing'],
    clusters: { webhooks: { bridge: { url, secret: { env: 'BRIDGE_SECRET' } } } },
    env: { BRIDGE_SECRET: secret },
    ...paper,
    replicator: { kind: 'external', webhook: 'bridge', ...settings } as PlanInput['replicator'],
  });
  const say = (verb: string, ...bodies: object[]) =>
    answers.set(
      verb,
      bodies.map((body) => ({ status: 200, body })),
    );
  return { calls, answers, say, ...staged };
}

describe('a replicator that webhooks drive', () => {
  it('is told each verb with what it is about, and shows how far it says it is', async () => {
    const { calls, say, leg, job } = await stage();
    say('status', {
      positions: { 'orders.created/0': '41', 'orders.created/7': '1', 'orders.created/1': 'x' },
      message: 'well',
    });
    const copying = job('forward');
    const running = replicator.run(copying.job);
    await waitFor('progress', patienceMs, async () => copying.progress().length > 0);
    assert.deepEqual(copying.progress(), [
      { topic: 'orders.created', partition: 0, position: 41n, records: 41, bytes: 0 },
    ]);
    assert.deepEqual(copying.notes(), ['well']);
    copying.end();
    await endOf(running);
    const [{ id, ...started } = { id: '' }] = calls;
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.deepEqual(started, {
      migration: 'orders',
      wave: 'all',
      action: 'replicate',
      verb: 'start',
      direction: 'forward',
      from: 'legacy',
      to: 'next',
      bootstrap: { from: 'legacy-1:9093', to: 'next-1:9093' },
      topics: { 'orders.created': 2 },
      groups: ['billing'],
      boundary: null,
    });
    assert.deepEqual(await replicator.position(leg('forward')), new Map([['orders.created/0', 41n]]));
  });

  it('has stopped, or promoted, when it says done, not when it says accepted', async () => {
    const { calls, say, leg } = await stage();
    say('stop', { state: 'pending' }, { state: 'pending' }, { state: 'done', message: 'all flushed' });
    assert.equal(await replicator.stop(leg('forward')), 'bridge says stop forward is done: all flushed');
    assert.equal(calls.length, 3);
    // Each is asked under an id of its own: a verb asks for a state, and the state may have changed since.
    assert.equal(new Set(calls.map(({ id }) => id)).size, 3);
    assert.match(await replicator.promote(leg('forward')), /says promote forward is done$/);
  });

  it('is given up on after the patience that the plan has, or as soon as it says that it failed', async () => {
    const { say, leg, job } = await stage({ patience: '50ms' });
    say('stop', { state: 'pending', message: 'still at it' });
    await assert.rejects(
      replicator.stop(leg('forward')),
      coded('REPLICATOR_FAILED', /pending, still at it, wanted done within 0\.05 s/),
    );
    say('status', { state: 'failed', message: `disk full, key ${secret}` });
    await assert.rejects(
      replicator.run(job('forward').job),
      coded('REPLICATOR_FAILED', /failed, disk full, key \*\*\*/),
    );
  });

  it('is told where to carry back from', async () => {
    const { calls, wave, leg, job } = await stage({ reverse: true });
    const ends = (from: bigint) => new Map([0, 1].map((partition) => [`orders.created/${partition}`, from]));
    await storeBoundary(
      wave.storage,
      { migration: 'orders', wave: 'all', direction: 'forward', deadlineMs: 1 },
      { boundary: ends(10n), into: ends(7n), audit: [], tookMs: { settle: 0, copy: 0, audit: 0 } },
    );
    const back = job('reverse');
    const running = replicator.run(back.job);
    await waitFor('the call', patienceMs, async () => calls.length > 0);
    back.end();
    await endOf(running);
    const [{ direction, from, boundary } = { direction: '', from: '', boundary: null }] = calls;
    assert.deepEqual(
      { direction, from, boundary },
      {
        direction: 'reverse',
        from: 'next',
        boundary: { 'orders.created/0': '7', 'orders.created/1': '7' },
      },
    );
    assert.deepEqual(await replicator.remove(leg('reverse')), []);
  });

  it('takes away what it made, and names it', async () => {
    const { calls, say, leg } = await stage();
    say('remove', { state: 'pending' }, { removed: ['bridge orders', `consumer ${secret}`] });
    assert.deepEqual(await replicator.remove(leg('forward')), ['bridge orders', 'consumer ***']);
    const before = calls.length;
    assert.deepEqual(await replicator.remove(leg('reverse')), []);
    assert.equal(calls.length, before);
  });

  it('can do what the plan says, and nothing by default', async () => {
    const flags = async (settings: object) => {
      const { offsetIdentity, reverse, promotion } = capabilitiesOf((await stage(settings)).wave.plan);
      return { offsetIdentity, reverse, promotion };
    };
    assert.deepEqual(await flags({}), { offsetIdentity: false, reverse: false, promotion: 'none' });
    assert.deepEqual(await flags({ offsets: 'identical', reverse: true, promotes: true }), {
      offsetIdentity: true,
      reverse: true,
      promotion: 'async',
    });
  });

  it('is asked for findings of its own beforehand, and changes nothing then', async () => {
    const { calls, say, inquiry } = await stage();
    say('plan', {
      findings: [
        { severity: 'blocker', message: 'headers are dropped' },
        { severity: 'info', message: 'topics are made by hand' },
      ],
    });
    const found = (await replicator.plan(inquiry)).map(({ code, message }) => `${code} ${message}`).join('\n');
    assert.match(found, /REPLICATOR_CANNOT headers are dropped/);
    assert.match(found, /REPLICATOR_LEAVES topics are made by hand/);
    assert.match(found, /REPLICATOR_RISK what it says it does is its word/);
    assert.deepEqual(
      calls.map(({ verb }) => verb),
      ['plan'],
    );
    assert.equal((await replicator.plan({ ...inquiry, running: true })).length, 2);
    assert.equal(calls.length, 1);
  });

  it('is called again after an error, is a finding where it says that it cannot, and refused where it is not defined', async () => {
    const { answers, leg, say, inquiry } = await stage();
    answers.set('stop', [
      { status: 500, body: { message: 'broken' } },
      { status: 200, body: {} },
    ]);
    assert.match(await replicator.stop(leg('forward')), /is done$/);
    say('plan', { state: 'failed', message: 'no room' });
    assert.ok((await replicator.plan(inquiry)).some((f) => f.code === 'REPLICATOR_CANNOT' && f.message === 'no room'));
    const elsewhere = await stage({ webhook: 'elsewhere' });
    await assert.rejects(async () => replicator.plan(elsewhere.inquiry), coded('WEBHOOK_UNKNOWN', /elsewhere/));
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
