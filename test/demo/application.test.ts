import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { listen, type SwitchRequest } from '../../examples/demo/application.ts';
import { sign, signatureHeader, timestampHeader } from '../../migration/switches/webhook.ts';

const secret = 'shared';
const request: SwitchRequest = { id: '1', action: 'switch', who: 'producers', from: 'legacy', to: 'next' };

describe('an application that hears the webhook', () => {
  it('does what it is told, and answers when it is done', async (t) => {
    const { call, heard } = await application(t);
    assert.equal(await call({ ...request, migration: 'orders', boundary: { 'orders.created/0': '5' } }), 200);
    assert.deepEqual(heard, [request]);
  });

  it('does a request once that comes twice, also while the first one is still being done', async (t) => {
    const { call, heard } = await application(t);
    const answers = await Promise.all([call(request), call(request)]);
    assert.deepEqual([...answers, await call(request)], [200, 200, 200]);
    assert.equal(heard.length, 1);
  });

  it('tries again when a request is repeated that failed', async (t) => {
    let failures = 1;
    const { call, heard } = await application(t, () => {
      if (failures-- > 0) throw new Error('the cluster refuses us');
    });
    assert.deepEqual([await call(request), await call(request)], [500, 200]);
    assert.equal(heard.length, 2);
  });

  it('refuses a wrong signature, an old one and a changed body', async (t) => {
    const { call, heard } = await application(t);
    assert.equal(await call(request, { secret: 'other' }), 401);
    assert.equal(await call(request, { ageSeconds: 3_600 }), 401);
    assert.equal(await call(request, { change: (body) => body.replace('next', 'evil') }), 401);
    assert.deepEqual(heard, []);
  });

  it('refuses an action that it does not know', async (t) => {
    const { call, heard } = await application(t);
    assert.equal(await call({ ...request, action: 'explode' }), 400);
    assert.deepEqual(heard, []);
  });
});

interface CallOptions {
  readonly secret?: string;
  readonly ageSeconds?: number;
  readonly change?: (body: string) => string;
}

async function application(t: TestContext, act: () => void = () => undefined) {
  const heard: SwitchRequest[] = [];
  const onWebhook = async (told: SwitchRequest) => {
    heard.push(told);
    await new Promise((done) => setTimeout(done, 20));
    act();
  };
  const server = await listen({ port: 0, webhookSecret: secret, onWebhook });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const call = async (body: object, options: CallOptions = {}): Promise<number> => {
    const text = JSON.stringify(body);
    const timestamp = String(Math.floor(Date.now() / 1000) - (options.ageSeconds ?? 0));
    const answer = await fetch(`http://127.0.0.1:${port}/webhook`, {
      method: 'POST',
      body: options.change?.(text) ?? text,
      headers: {
        [timestampHeader]: timestamp,
        [signatureHeader]: sign(options.secret ?? secret, timestamp, text),
      },
    });
    return answer.status;
  };
  return { call, heard };
}
