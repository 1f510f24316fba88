/** What a mirror holds of what it read: all of it is let go of again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Memory } from '../../mirror/memory.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { ownStack } from '../support/stack.ts';
import { createTopicPair, kafkajsOf, offsetsOf, openPair } from './support.ts';

const pair = await openPair(
  // Aborted records are kept by writing them without a coordinator.
  ownStack({ brokerConfig: { target: { 'transaction.partition.verification.enable': 'false' } } }),
);
const patienceMs = 120_000;

describe('the memory of a mirror', () => {
  it('counts a buffer whole as long as any part of it is held', () => {
    const memory = new Memory();
    const answer = Buffer.alloc(1_000_000);
    const parts = [answer.subarray(0, 10), answer.subarray(500, 600)];

    for (const part of parts) memory.hold(part);
    const both = memory.bytes;
    memory.release(parts[0] as Buffer);
    const one = memory.bytes;
    memory.drop(parts[1] as Buffer);

    assert.deepEqual([both, one, memory.bytes], [1_000_000, 1_000_000, 0]);
  });

  it('has room again for aborted records, once those before are written', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const producer = kafkajsOf(pair.source).producer({
      transactionalId: topic,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    const value = Buffer.alloc(900_000, 'x');
    // Twice what one partition may hold.
    for (let n = 0; n < 9; n++) await transaction.send({ topic, messages: [{ value, partition: 0 }] });
    await transaction.abort();
    await producer.disconnect();
    // A coordinator answers before its marker is written.
    const { end } = offsetsOf(pair.source, topic);
    const deadline = Date.now() + patienceMs;
    while ((await end()) < 10n && Date.now() < deadline) await sleep(20);

    await runMirror({
      from: pair.source,
      into: pair.target,
      partitions: partitions.map((p) => ({ ...p, keepAborted: true })),
      signal: AbortSignal.timeout(patienceMs),
      untilCaughtUp: true,
    });

    assert.equal(await offsetsOf(pair.source, topic).end(), 10n);
    assert.equal(await offsetsOf(pair.target, topic).end(), 10n);
  });
});
