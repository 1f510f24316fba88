/** The workflow's first activities: what they refuse by themselves, before any cluster is asked. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import { type Code, codes, finding } from '../../contract/errors.ts';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { toldFindings } from '../../migration/preflight.ts';
import { freePorts } from '../../stack/ports.ts';
import { environment } from './environment.ts';

const [nobody = 0] = await freePorts(1);
const yaml = `legacy: { bootstrap: "127.0.0.1:${nobody}" }\nnext: { bootstrap: "127.0.0.1:${nobody}" }\n`;
const activities = createActivities({
  clusters: parseClusters(yaml, 'clusters.yaml', {}),
  log: pino({ level: 'silent' }),
});
after(() => activities[Symbol.asyncDispose]());

const input: PlanInput = { name: 'orders', source: 'legacy', target: 'next', topics: { include: ['orders\\..*'] } };
const parse = (sent: unknown, id: string) => environment().run(activities.parsePlan, sent, id);
const preflight = (over: Partial<PlanInput>) =>
  environment().run(activities.preflight, { plan: parsePlan({ ...input, ...over }) });

/** Type, message and retryability of what Temporal would see. */
async function refusal(running: Promise<unknown>): Promise<{ type: string; message: string; nonRetryable: boolean }> {
  const error = await running.then(
    (result) => assert.fail(`not refused: ${JSON.stringify(result)}`),
    (failed: unknown) => failed,
  );
  assert.ok(error instanceof ApplicationFailure, String(error));
  return { type: error.type ?? '', message: error.message, nonRetryable: error.nonRetryable === true };
}

describe('parsePlan', () => {
  it('fills the defaults of what a person wrote, durations in milliseconds', async () => {
    const plan = await parse({ ...input, fence: { maxHold: '30s' } }, 'cutover/orders');
    assert.deepEqual(plan, parsePlan({ ...input, fence: { maxHold: '30s' } }));
    assert.deepEqual([plan.fence.maxHold, plan.gates.cutover.approvals], [30_000, 1]);
  });

  for (const id of [
    'orders',
    'cutover/orders2',
    'cutover/Orders',
    'cutover/',
    '8f14e45f-ceea-467f-a83c-0d9a1c1b7a1e',
  ]) {
    it(`refuses the workflow id ${id}`, async () => {
      const { type, message, nonRetryable } = await refusal(parse(input, id));
      assert.deepEqual([type, nonRetryable], ['WORKFLOW_ID_MISMATCH', true]);
      assert.match(
        message,
        new RegExp(`\\(plan orders\\): found ${id}, wanted cutover/orders\\. Next: Start it again`),
      );
    });
  }

  for (const [what, sent, where] of [
    ['nothing', undefined, /\(top\)/],
    ['a text', 'name: orders', /\(top\)/],
    ['an unknown key', { ...input, topic: {} }, /\(top\): Unrecognized key: "topic"/],
    [
      'a bad regular expression',
      { ...input, topics: { include: ['orders('] } },
      /topics\.include\.0: not a JavaScript/,
    ],
    ['durations that were read already', { ...input, fence: { maxHold: 60_000 } }, /fence\.maxHold/],
  ] as const) {
    it(`refuses ${what}, naming the workflow and the path`, async () => {
      const { type, message, nonRetryable } = await refusal(parse(sent, 'cutover/orders'));
      assert.deepEqual([type, nonRetryable], ['PLAN_INVALID', true]);
      assert.match(message, /\(workflow cutover\/orders\)/);
      assert.match(message, where);
    });
  }
});

describe('preflight', () => {
  it('refuses an unknown cluster for good, though none can be reached', async () => {
    const { type, nonRetryable } = await refusal(preflight({ target: 'nowhere' }));
    assert.deepEqual([type, nonRetryable], ['CLUSTER_UNKNOWN', true]);
  });

  it('refuses an unknown webhook for good', async () => {
    const { type, nonRetryable } = await refusal(preflight({ producers: { switch: 'webhook', webhook: 'deployer' } }));
    assert.deepEqual([type, nonRetryable], ['WEBHOOK_UNKNOWN', true]);
  });

  it('refuses what the replicator cannot do for good', async () => {
    const { type, message, nonRetryable } = await refusal(
      preflight({ replicator: { kind: 'bridge', module: 'orders' } }),
    );
    assert.deepEqual([type, nonRetryable], ['REPLICATOR_CANNOT', true]);
    assert.match(message, /Set rollback\.reverseMirror to false/);
  });

  it('says which cluster does not answer, and may be tried again', async () => {
    const { type, message, nonRetryable } = await refusal(preflight({}));
    assert.deepEqual([type, nonRetryable], ['CLUSTER_UNREACHABLE', false]);
    assert.match(message, new RegExp(`cluster (legacy|next).*127\\.0\\.0\\.1:${nobody}`));
  });
});

describe('findings on their way through a workflow', () => {
  const of = (code: Code, count: number) =>
    Array.from({ length: count }, (_, i) => finding(code, `place ${i}`, 'some message'));

  it('are all there while a status can show them', () => {
    const few = [...of('TARGET_TOPIC_HAS_RECORDS', 20), ...of('TOPIC_COMPACTED', 30)];
    assert.deepEqual(toldFindings(few), few);
  });

  it('are the first places of each code, and how many more, where thousands would not fit into its history', () => {
    const [waived] = of('ACL_OPEN_ENDED', 1);
    assert.ok(waived);
    const many = [
      ...of('TARGET_TOPIC_HAS_RECORDS', 1_000),
      { ...waived, waived: { by: 'a', reason: 'b' } },
      ...of('TOPIC_COMPACTED', 2),
    ];
    const told = toldFindings(many);
    assert.deepEqual(
      told.map(({ code, where }) => [code, where]),
      [
        ...[0, 1, 2, 3, 4].map((i) => ['TARGET_TOPIC_HAS_RECORDS', `place ${i}`]),
        ['TARGET_TOPIC_HAS_RECORDS', '995 more'],
        ['ACL_OPEN_ENDED', 'place 0'],
        ['TOPIC_COMPACTED', 'place 0'],
        ['TOPIC_COMPACTED', 'place 1'],
      ],
    );
    assert.deepEqual(told[6]?.waived, { by: 'a', reason: 'b' });
  });

  it('never lose a worse one for a lesser one', () => {
    const all = Object.keys(codes) as Code[];
    const told = toldFindings(all.flatMap((code) => of(code, 3)));
    assert.equal(told.length, 50);
    assert.ok(
      told.every(({ severity }) => severity === 'blocker'),
      'there are more than fifty kinds of blockers',
    );
  });
});
