import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { CutoverError } from '../../contract/errors.ts';
import { matcher, parsePlan, planSchema } from '../../contract/plan.ts';

const smallest = { name: 'orders', source: 'legacy', target: 'next', topics: { include: ['orders\\..*'] } };
const openGate = { approvals: 1, approvers: [], remindEvery: 3_600_000, timeout: null, proof: 'claimed' };

const configMap = { namespace: 'shop', name: 'kafka', key: 'servers' };

describe('the smallest plan', () => {
  it("gets the contract's defaults, with durations in milliseconds", () => {
    assert.deepEqual(parsePlan(smallest), {
      name: 'orders',
      source: 'legacy',
      target: 'next',
      topics: { include: ['orders\\..*'], exclude: [] },
      replicator: { kind: 'exact' },
      mirror: { maxBytesPerSecond: 0, shards: 1, abortedRecords: 'keep' },
      metadata: { configs: true, acls: true, quotas: true },
      principals: [],
      fence: { kind: 'acl', stopWithin: 600_000, maxHold: 60_000, quiet: 300, transactionWait: 20_000, principals: [] },
      producers: { switch: 'manual' },
      consumers: { switch: 'manual', when: 'withProducers' },
      gates: {
        start: { ...openGate, approvals: 0 },
        cutover: openGate,
        producers: openGate,
        consumers: openGate,
        finalize: openGate,
        unfence: openGate,
        rollback: openGate,
      },
      verify: { records: 'full', producersWait: 300_000 },
      rollback: { window: 259_200_000, reverseMirror: true },
      finalize: { unfenceSource: false },
      waivers: [],
      waves: [],
      startedBy: '',
      fourEyes: false,
      notify: [],
    });
  });

  for (const key of ['name', 'source', 'target', 'topics'] as const) {
    it(`is refused without ${key}`, () => {
      const { [key]: _, ...rest } = smallest;
      refused(rest, new RegExp(`found ${key}: `));
    });
  }
});

it('a replicator keeps the settings of its kind, and is ours where none is named', () => {
  assert.deepEqual(parsePlan({ ...smallest, replicator: {} }).replicator, { kind: 'exact' });
  const given = { kind: 'mirrormaker2', connect: 'onprem', settings: { 'tasks.max': '4' } };
  assert.deepEqual(parsePlan({ ...smallest, replicator: given }).replicator, { ...given, naming: 'identity' });
});

describe('a wrong plan is refused with the path of the wrong value', () => {
  const wrong: Record<string, [change: Record<string, unknown>, path: string]> = {
    'an unknown key at the top': [{ sourse: 'x' }, '(top): Unrecognized key: "sourse"'],
    'an unknown key inside': [{ fence: { maxhold: '60s' } }, 'fence: Unrecognized key: "maxhold"'],
    'an unknown key in a gate': [{ gates: { cutover: { approver: ['a'] } } }, 'gates.cutover: Unrecognized key'],
    'an unknown gate': [{ gates: { verify: {} } }, 'gates: Unrecognized key: "verify"'],
    'a name with capitals': [{ name: 'Orders' }, 'name: wanted [a-z0-9]'],
    'a name that is too long': [{ name: 'a'.repeat(64) }, 'name: wanted [a-z0-9]'],
    'a bad regular expression': [{ topics: { include: ['orders.('] } }, 'topics.include.0: not a JavaScript regular'],
    'a bad regular expression to exclude': [
      { topics: { include: ['a'], exclude: ['a', '['] } },
      'topics.exclude.1: not a JavaScript regular',
    ],
    'no topics': [{ topics: { include: [] } }, 'topics.include: '],
    'one name for both clusters': [{ target: 'legacy' }, 'target: wanted another cluster than the source'],
    'an unknown replicator': [{ replicator: { kind: 'rsync' } }, 'replicator.kind: '],
    'settings of another replicator': [
      { replicator: { kind: 'exact', connect: 'onprem' } },
      'replicator: Unrecognized key: "connect"',
    ],
    'MirrorMaker 2 without the place where it runs': [{ replicator: { kind: 'mirrormaker2' } }, 'replicator.connect: '],
    'a setting that is no text': [
      { replicator: { kind: 'mirrormaker2', connect: 'onprem', settings: { 'tasks.max': 4 } } },
      'replicator.settings.tasks.max: ',
    ],
    'a number as a duration': [{ fence: { maxHold: 60 } }, 'fence.maxHold: '],
    'a duration without a unit': [{ fence: { maxHold: '60' } }, 'fence.maxHold: wanted a duration such as'],
    'a duration with a fraction': [{ rollback: { window: '1.5h' } }, 'rollback.window: wanted a duration such as'],
    'a fence that is held for less than a second': [
      { fence: { maxHold: '900ms' } },
      'fence.maxHold: wanted at least 1s',
    ],
    'a quiet time as long as the fence': [
      { fence: { maxHold: '5s', quiet: '5s' } },
      'fence.quiet: wanted less than fence.maxHold',
    ],
    'a principal without a type': [{ fence: { principals: ['app'] } }, 'fence.principals.0: wanted Type:name'],
    'half an approval': [{ gates: { cutover: { approvals: 1.5 } } }, 'gates.cutover.approvals: '],
    'a gate without end': [{ gates: { cutover: { timeout: 'never' } } }, 'gates.cutover.timeout: '],
    'an approver without a name': [{ gates: { cutover: { approvers: ['  '] } } }, 'gates.cutover.approvers.0: '],
    'a waiver without a reason': [{ waivers: [{ code: 'TOPIC_SILENT', by: 'me', reason: ' ' }] }, 'waivers.0.reason: '],
    'groups that stay without a way for records to reach them': [
      { consumers: { when: 'later' }, rollback: { reverseMirror: false } },
      'consumers.when: wanted withProducers',
    ],
    'two waves of one name': [
      {
        waves: [
          { name: 'one', topics: { include: ['a'] } },
          { name: 'one', topics: { include: ['b'] } },
        ],
      },
      'waves: two waves are named one',
    ],
    'a fence that people hold, and nobody to say so': [
      { fence: { kind: 'manual' }, gates: { cutover: { approvals: 0 } } },
      'gates.cutover.approvals: wanted at least 1: with fence.kind manual',
    ],
    'a webhook that is to let writers go on where they no longer write': [
      { fence: { kind: 'webhook' }, finalize: { unfenceSource: true } },
      'finalize.unfenceSource: wanted false',
    ],
    'a ConfigMap to switch, and none named': [{ consumers: { switch: 'config-map' } }, 'consumers.configMap: wanted'],
    'a ConfigMap that nothing switches': [{ producers: { configMap } }, 'producers.configMap: only with'],
    'values of a Secret': [
      {
        producers: {
          switch: 'config-map',
          configMap: { ...configMap, kind: 'Secret', values: { source: 'a', target: 'b' } },
        },
      },
      'producers.configMap.values: not with kind: Secret',
    ],
    'one key for the applications of several waves': [
      {
        producers: { switch: 'config-map', configMap },
        waves: [
          { name: 'one', topics: { include: ['a'] } },
          { name: 'two', topics: { include: ['b'] } },
        ],
      },
      'producers.switch: not with several waves',
    ],
    'negative bandwidth': [{ mirror: { maxBytesPerSecond: -1 } }, 'mirror.maxBytesPerSecond: '],
    'no shard': [{ mirror: { shards: 0 } }, 'mirror.shards: '],
  };
  for (const [title, [change, path]] of Object.entries(wrong)) {
    it(title, () => {
      const message = refused({ ...smallest, ...change });
      assert.ok(message.includes(path), `${message}\nwanted ${path}`);
    });
  }

  it('and all wrong values are named at once, with the file', () => {
    const message = refused({ ...smallest, name: 'Orders', source: '' }, /^PLAN_INVALID: /, 'plan.yaml');
    assert.match(message, /\(plan\.yaml\).*name: .*; source: /);
  });

  for (const input of [null, 'orders', 42, []]) {
    it(`something that is not a plan at all: ${JSON.stringify(input)}`, () => {
      refused(input, /\(top\): /);
    });
  }
});

describe('durations', () => {
  const inMs = { '0ms': 0, '250ms': 250, '90s': 90_000, '5m': 300_000, '24h': 86_400_000, '7d': 604_800_000 };
  for (const [text, ms] of Object.entries(inMs)) {
    it(`${text} is ${ms} ms`, () => {
      assert.equal(parsePlan({ ...smallest, verify: { producersWait: text } }).verify.producersWait, ms);
    });
  }

  it('none leaves a gate without a deadline', () => {
    const { gates } = parsePlan({ ...smallest, gates: { cutover: { timeout: 'none' }, finalize: { timeout: '2h' } } });
    assert.equal(gates.cutover.timeout, null);
    assert.equal(gates.finalize.timeout, 7_200_000);
  });
});

describe('approvers', () => {
  it('lose the blanks around their names', () => {
    const plan = parsePlan({ ...smallest, gates: { cutover: { approvers: [' kafka-owner '] } } });
    assert.deepEqual(plan.gates.cutover.approvers, ['kafka-owner']);
  });
});

describe('topic patterns', () => {
  const orders = matcher({ include: ['orders\\..*', 'audit'], exclude: ['orders\\.test'] });
  it('match whole names only', () => {
    assert.equal(orders('orders.created'), true);
    assert.equal(orders('audit'), true);
    assert.equal(orders('old-orders.created'), false);
    assert.equal(orders('audit2'), false);
    assert.equal(orders('my-audit'), false);
  });

  it('match whole names also where a pattern holds alternatives', () => {
    const either = matcher({ include: ['a|b'], exclude: ['c|bb'] });
    assert.deepEqual(['a', 'b', 'ab', 'xa', 'bb', 'c'].map(either), [true, true, false, false, false, false]);
  });

  it('leave out what is excluded, whatever includes it', () => {
    assert.equal(orders('orders.test'), false);
    assert.equal(orders('orders.test2'), true);
  });
});

describe('the JSON Schema', () => {
  it('can be published, and asks only for what the contract requires', () => {
    const schema = z.toJSONSchema(planSchema, { io: 'input' }) as unknown as {
      required: string[];
      additionalProperties: boolean;
    };
    assert.deepEqual(schema.required.sort(), ['name', 'source', 'target', 'topics']);
    assert.equal(schema.additionalProperties, false);
  });
});

/** The message with which a plan is refused. */
function refused(input: unknown, pattern = /^PLAN_INVALID: /, where?: string): string {
  try {
    parsePlan(input, where);
  } catch (error) {
    assert.ok(error instanceof CutoverError);
    assert.equal(error.code, 'PLAN_INVALID');
    assert.match(error.message, pattern);
    return error.message;
  }
  assert.fail('the plan was accepted');
}
