/** An open transaction holds the mirror back: who waits for it is told which one it is, and when it is over. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import { runForegroundMirror } from '../../activities/foreground-mirror.ts';
import type { Measurement } from '../../activities/types.ts';
import { ForegroundProgress } from '../../client/foreground.ts';
import type { Terminal } from '../../client/terminal.ts';
import { type Plan, parsePlan } from '../../contract/plan.ts';
import { raiseTerms } from '../../kafka/terms.ts';
import { describeTransactions } from '../../kafka/transactions.ts';
import { holdingFindings, holdingTransactions } from '../../migration/transactions.ts';
import { batchOf, Estate } from '../e2e/support/estate.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
after(() => activities[Symbol.asyncDispose]());

const timeoutMs = 90_000;
/** More than a fence of a second has time for. */
const recordsMany = 3_000;

/** Two partitions, of which a transaction holds the first one open. */
async function given(prefix: string) {
  const name = uniqueName(prefix);
  const topic = `${name}.t`;
  await estate.createTopic('source', topic, 2);
  const plan = parsePlan({
    name,
    source: 'legacy',
    target: 'next',
    topics: { include: [topic] },
    fence: { maxHold: '1s', quiet: '300ms' },
  });
  const transactionalId = `tx-${name}`;
  // A fresh cluster's coordinators need a moment, which kafkajs does not give them.
  await raiseTerms(estate.source, [transactionalId]);
  const producer = estate
    .application('source', 'cutover')
    .producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const transaction = await producer.transaction();
  const messages = Array.from({ length: recordsMany }, (_, n) => ({ value: `${n}`, partition: 0 }));
  await transaction.send({ topic, messages });
  await estate.append('source', topic, batchOf(['a', 'b', 'c']), 1);
  const end = async (how: 'commit' | 'abort') => {
    await transaction[how]();
    await producer.disconnect();
  };
  const { producerId } = (await describeTransactions(estate.source, [transactionalId])).get(transactionalId) ?? {};
  const named = new RegExp(
    `partition ${topic}/0: transactional id ${transactionalId} \\(producer ${producerId}\\) is Ongoing since \\d+ s`,
  );
  return { plan, topic, transactionalId, producerId, end, named };
}

async function inventoried(plan: Plan) {
  const { inventory, blockers } = (await environment().run(activities.preflight, { plan })) as {
    inventory: string;
    blockers: number;
  };
  assert.equal(blockers, 0);
  return { plan, wave: 'all', inventory };
}

describe('an open transaction', () => {
  it('is found by the partitions that it holds, and by nothing else', async () => {
    const { topic, transactionalId, producerId, end } = await given('holds');
    const both = [0, 1].map((partition) => ({ topic, partition }));

    const found = await holdingTransactions(estate.source, both);
    const elsewhere = await holdingTransactions(estate.source, both.slice(1));
    await end('abort');
    await waitFor(
      'the end of the transaction',
      timeoutMs,
      async () => (await holdingTransactions(estate.source, both)).length === 0,
    );

    assert.deepEqual(
      found.map((t) => [t.transactionalId, t.producerId, t.state, t.partitions]),
      [[transactionalId, producerId, 'Ongoing', [`${topic}/0`]]],
    );
    assert.deepEqual(elsewhere, []);
  });

  it('is worth a line once it is not over in a moment; the oldest are said, the others counted', () => {
    const aged = (ageMs: number) => ({
      transactionalId: `t${ageMs}`,
      producerId: 7n,
      state: 'Ongoing',
      ageMs,
      partitions: ['a/0', 'a/1'],
    });
    const unknown = { ...aged(90_000), transactionalId: null, state: 'unknown to any coordinator' };

    assert.deepEqual(holdingFindings([aged(400)]), []);
    const lines = holdingFindings([unknown, ...[80, 70, 60, 50, 40, 30].map((s) => aged(s * 1_000)), aged(10)]);

    assert.deepEqual(
      lines.map(({ code, where }) => [code, where]),
      [
        ...Array.from({ length: 5 }, () => ['OPEN_TRANSACTION', 'partition a/0 and 1 more']),
        ['OPEN_TRANSACTION', '2 more'],
      ],
    );
    assert.match(lines[0]?.message ?? '', /^a transaction \(producer 7\) is unknown to any coordinator since 90 s;/);
  });

  it('is named by drain-lag while it waits, and not any more once it has ended', async () => {
    const { plan, end, named } = await given('drained');
    const scope = await inventoried(plan);
    await environment().run(activities.prepareTarget, scope);
    const worker = environment();
    let beat: Measurement | undefined;
    worker.on('heartbeat', (details: Measurement | undefined) => {
      beat = details ?? beat;
    });
    let failed: unknown;
    const waiting = worker
      .run(activities.drainLag, { ...scope, direction: 'forward' as const })
      .catch((error: unknown) => {
        failed = error;
      });
    const lines = () => {
      if (failed) throw failed;
      return beat?.findings?.map((f) => `${f.where}: ${f.message}`);
    };

    await waitFor('the transaction to be named', timeoutMs, () => lines()?.some((line) => named.test(line)));
    await end('abort');
    await waitFor('it not to be named any more', timeoutMs, () => lines()?.length === 0);

    worker.cancel();
    await waiting;
    await environment().run(activities.undoAll, { ...scope, removeTarget: true });
  });

  it('is named by a mirror in the foreground, which goes on when it has ended', async () => {
    const { plan, end, named } = await given('foreground');
    const said: string[] = [];
    const terminal = { isScreen: () => false, progress: (line: string) => said.push(line) } as unknown as Terminal;
    using progress = new ForegroundProgress(terminal, 'mirrored');
    const stop = new AbortController();
    let failed: unknown;
    const mirroring = runForegroundMirror(plan, clusters, {
      untilCaughtUp: true,
      signal: stop.signal,
      onProgress: (now) => progress.update(now),
    });
    mirroring.catch((error: unknown) => {
      failed = error;
    });

    const line = await waitFor('the transaction to be named', timeoutMs, () => {
      if (failed) throw failed;
      return said.find((one) => named.test(one));
    });
    await end('commit');
    const { records } = await mirroring;

    assert.match(line, /^waits: OPEN_TRANSACTION partition /);
    assert.ok(records >= recordsMany + 3, `${records} records`);
  });
});
