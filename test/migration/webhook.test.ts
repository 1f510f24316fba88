import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, describe, it } from 'node:test';
import {
  callWebhook,
  sign,
  signatureHeader,
  timestampHeader,
  verifySignature,
  type WebhookCall,
} from '../../migration/switches/webhook.ts';

const secret = 'a secret that nobody may see';
const call: WebhookCall = {
  migration: 'orders',
  wave: 'all',
  action: 'switch',
  who: 'producers',
  from: 'legacy',
  to: 'next',
  bootstrap: ['a:9092', 'b:9092'],
  topics: ['orders.in'],
  groups: ['orders-app'],
  boundary: new Map([['orders.in/0', 9_007_199_254_740_993n]]),
  occasion: 'orders/boundary/all/1-forward',
};

interface Received {
  readonly headers: IncomingMessage['headers'];
  readonly method: string | undefined;
  readonly body: string;
}

/** A receiver that answers each call as the test says; the last answer is repeated. */
async function receiver(...answers: { status: number; body?: string; location?: string; afterMs?: number }[]) {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      received.push({ headers: request.headers, method: request.method, body });
      const answer = answers[Math.min(received.length, answers.length) - 1] ?? { status: 200 };
      setTimeout(() => {
        response.writeHead(answer.status, answer.location ? { location: answer.location } : {});
        response.end(answer.body);
      }, answer.afterMs ?? 0);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  after(() => server.closeAllConnections());
  after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { received, webhook: { name: 'deployer', url: `http://127.0.0.1:${port}/hook`, secret } };
}

describe('the switch webhook', () => {
  it('sends what the contract says, signed', async () => {
    const { received, webhook } = await receiver({ status: 204 });

    const result = await callWebhook(webhook, call);

    const [{ headers, method, body } = {} as Received] = received;
    assert.equal(method, 'POST');
    assert.deepEqual(JSON.parse(body), {
      id: result.id,
      migration: 'orders',
      wave: 'all',
      action: 'switch',
      who: 'producers',
      from: 'legacy',
      to: 'next',
      bootstrap: 'a:9092,b:9092',
      topics: ['orders.in'],
      groups: ['orders-app'],
      boundary: { 'orders.in/0': '9007199254740993' },
    });
    const timestamp = String(headers['kafka-cutover-timestamp']);
    const hmac = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex');
    assert.equal(headers['kafka-cutover-signature'], `v1=${hmac}`);
    assert.ok(Math.abs(Number(timestamp) * 1000 - Date.now()) < 10_000);
    assert.deepEqual([result.status, result.attempts], [204, 1]);
  });

  it('is repeated under the same id until it is answered with 2xx', async () => {
    const { received, webhook } = await receiver({ status: 503, body: 'deploying' }, { status: 200 });
    const failures: string[] = [];

    const result = await callWebhook(webhook, call, { onAttempt: (failure) => failures.push(failure) });

    assert.equal(result.attempts, 2);
    assert.equal(received[0]?.body, received[1]?.body);
    assert.deepEqual(failures, ['status 503: deploying']);
  });

  it('has another id for another move, the same one for a second process', async () => {
    const { webhook } = await receiver({ status: 200 });
    const ids = [];
    for (const occasion of ['one', 'two', 'one']) ids.push((await callWebhook(webhook, { ...call, occasion })).id);
    assert.equal(ids[0], ids[2]);
    assert.notEqual(ids[0], ids[1]);
    assert.notEqual((await callWebhook(webhook, { ...call, who: 'consumers', occasion: 'one' })).id, ids[0]);
  });

  it('fails with the status and the beginning of the answer, never with the secret', async () => {
    const { webhook } = await receiver({ status: 500, body: `no: ${secret} ${'x'.repeat(5000)}` });

    await assert.rejects(callWebhook(webhook, call, { giveUpAfterMs: 300 }), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'WEBHOOK_FAILED');
      assert.match(
        error.message,
        /switch of the producers was not confirmed .*webhook deployer.*status 500: no: \*\*\* xxx/s,
      );
      assert.ok(!error.message.includes(secret));
      assert.ok(error.message.length < 600);
      return true;
    });
    // Nor with half of it, where the answer is cut.
    const { webhook: cut } = await receiver({ status: 500, body: `${'x'.repeat(195)}${secret}` });
    await assert.rejects(callWebhook(cut, call, { giveUpAfterMs: 300 }), (error: Error) => {
      assert.match(error.message, /x{195}\*\*\*/);
      return !error.message.includes(secret.slice(0, 5));
    });
  });

  it('does not follow redirects with a signed call', async () => {
    const elsewhere = await receiver({ status: 200 });
    const { webhook } = await receiver({ status: 307, location: elsewhere.webhook.url });
    await assert.rejects(callWebhook(webhook, call, { giveUpAfterMs: 0 }), {
      code: 'WEBHOOK_FAILED',
      message: /status 307/,
    });
    assert.equal(elsewhere.received.length, 0);
  });

  it('gives up on a receiver that does not answer, and on one that is not there', async () => {
    const { webhook } = await receiver({ status: 200, afterMs: 5_000 });
    await assert.rejects(callWebhook(webhook, call, { timeoutMs: 100, giveUpAfterMs: 0 }), {
      code: 'WEBHOOK_FAILED',
      message: /no answer within 100 ms/,
    });
    await assert.rejects(callWebhook({ ...webhook, url: 'http://127.0.0.1:1/' }, call, { giveUpAfterMs: 0 }), {
      code: 'WEBHOOK_FAILED',
      message: /no answer: /,
    });
  });

  it('ends at once when it is cancelled', async () => {
    const { webhook } = await receiver({ status: 500 });
    const signal = AbortSignal.timeout(100);
    const began = Date.now();
    await assert.rejects(callWebhook(webhook, call, { signal, giveUpAfterMs: 60_000 }));
    assert.ok(Date.now() - began < 5_000);
  });
});

describe('receivers', () => {
  const nowMs = 1_700_000_000_000;
  const timestamp = '1700000000';
  const body = '{"id":"x"}';

  it('accept what we signed', () => {
    assert.ok(verifySignature(secret, timestamp, body, sign(secret, timestamp, body), { nowMs }));
    assert.deepEqual([timestampHeader, signatureHeader], ['Kafka-Cutover-Timestamp', 'Kafka-Cutover-Signature']);
  });

  it('refuse another body, time, secret or form of signature', () => {
    const signature = sign(secret, timestamp, body);
    const refused = [
      verifySignature(secret, timestamp, `${body} `, signature, { nowMs }),
      verifySignature(secret, '1700000001', body, signature, { nowMs }),
      verifySignature('other', timestamp, body, signature, { nowMs }),
      verifySignature(secret, timestamp, body, signature.slice(3), { nowMs }),
      verifySignature(secret, timestamp, body, '', { nowMs }),
      verifySignature(secret, 'soon', body, sign(secret, 'soon', body), { nowMs }),
    ];
    assert.deepEqual(refused, [false, false, false, false, false, false]);
  });

  it('refuse a call that was recorded and is sent again later', () => {
    const signature = sign(secret, timestamp, body);
    assert.ok(verifySignature(secret, timestamp, body, signature, { nowMs: nowMs + 299_000 }));
    assert.ok(!verifySignature(secret, timestamp, body, signature, { nowMs: nowMs + 301_000 }));
    assert.ok(!verifySignature(secret, timestamp, body, signature, { nowMs: nowMs + 2_000, toleranceMs: 1_000 }));
  });
});
