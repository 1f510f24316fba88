import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { matcher, parsePlan } from '../../contract/plan.ts';
import { aclKey } from '../../kafka/acls.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { mayDo } from '../../migration/authorizer.ts';
import { aclsOf, leastRights, namesOf } from '../../migration/least-rights.ts';
import { run, written } from '../client/command-line.ts';

const clustersText = JSON.stringify(
  Object.fromEntries(
    ['legacy', 'next'].map((cluster) => {
      const login = (username: string) => ({
        sasl: { mechanism: 'plain', username, password: { env: 'PASSWORD' } },
      });
      const pool = [login('pool-1'), login('pool-2')];
      return [
        cluster,
        {
          bootstrap: `${cluster}:9092`,
          ...login('cutover'),
          forward: login('to'),
          reverse: login('back'),
          mirrorPrincipals: pool,
        },
      ];
    }),
  ),
);
const { clusters } = parseClusters(clustersText, 'clusters.yaml', { PASSWORD: 'x' });
const configs = { source: clusters.get('legacy') as never, target: clusters.get('next') as never };
const minimal = { name: 'a', source: 'legacy', target: 'next', topics: { include: ['orders\\..*'] } };
const rulesOf = (plan: object, side: 'source' | 'target') =>
  aclsOf(leastRights(parsePlan({ ...minimal, ...plan }), configs).filter((right) => right.side === side));

describe('names that a pattern of a plan matches', () => {
  const cases: Readonly<Record<string, { names: string[]; matches?: string[] }>> = {
    'orders\\.created': { names: ['literal orders.created'] },
    '^orders$': { names: ['literal orders'] },
    'orders\\..*': { names: ['prefixed orders.'], matches: ['orders.', 'orders.a'] },
    'orders-(a|b)': { names: ['prefixed orders-'], matches: ['orders-a', 'orders-b'] },
    'a|b\\.[|x]': { names: ['literal a', 'prefixed b.'], matches: ['a', 'b.|'] },
    'orders?': { names: ['prefixed order'], matches: ['order', 'orders'] },
    'a+': { names: ['literal *'], matches: ['a', 'aaa'] },
    '.*': { names: ['literal *'], matches: ['anything'] },
    '\\d+': { names: ['literal *'], matches: ['7'] },
    'x|.*': { names: ['literal x', 'literal *'], matches: ['y'] },
  };
  for (const [pattern, { names, matches = [] }] of Object.entries(cases)) {
    it(`of ${pattern} are ${names.join(' and ')}`, () => {
      const found = namesOf(pattern);
      assert.deepEqual(
        found.map((named) => `${named.pattern} ${named.name}`),
        names,
      );
      for (const topic of matches) {
        assert.ok(matcher({ include: [pattern], exclude: [] })(topic), topic);
        const acls = found.map(({ pattern: patternType, name: resourceName }) => ({
          resourceType: 'topic' as const,
          patternType,
          resourceName,
          principal: 'User:a',
          host: '*',
          operation: 'read' as const,
          permission: 'allow' as const,
        }));
        assert.ok(mayDo({ acls }, 'User:a', '*', 'read', { type: 'topic', name: topic }), topic);
      }
    });
  }
});

describe('the least rights of a plan', () => {
  it('let nobody write the source where nothing flows back', () => {
    const oneWay = rulesOf({ rollback: { reverseMirror: false } }, 'source').filter(
      ({ resourceName }) => resourceName !== '__kafka_cutover',
    );
    const topics = oneWay.filter(({ resourceType }) => resourceType === 'topic');
    assert.deepEqual(topics.map(({ principal, operation }) => `${principal} ${operation}`).sort(), [
      'User:cutover alter-configs',
      'User:cutover read',
      'User:to describe',
      'User:to read',
    ]);
    const back = rulesOf({}, 'source');
    assert.ok(mayDo({ acls: back }, 'User:back', '*', 'write', { type: 'topic', name: 'orders.a' }));
    assert.ok(mayDo({ acls: back }, 'User:pool-2', '*', 'write', { type: 'topic', name: 'orders.a' }));
    assert.ok(!mayDo({ acls: back }, 'User:to', '*', 'write', { type: 'topic', name: 'orders.a' }));
  });

  it('take what a plan does not ask for away: quotas and aborted records need ALTER_CONFIGS on the cluster', () => {
    const alters = (plan: object, side: 'source' | 'target') =>
      rulesOf(plan, side).some((acl) => acl.resourceType === 'cluster' && acl.operation === 'alter-configs');
    const drop = { mirror: { abortedRecords: 'drop' } };
    assert.deepEqual([alters({}, 'source'), alters(drop, 'source'), alters(drop, 'target')], [true, false, true]);
    assert.equal(alters({ ...drop, metadata: { quotas: false } }, 'target'), false);
  });

  it('are people’s to grant where the migration carries no rules, and a login without a name is refused', () => {
    const granted = (acls: boolean) =>
      leastRights(parsePlan({ ...minimal, metadata: { acls } }), configs).filter((one) => one.granted === 'by you');
    assert.ok(granted(true).every(({ principal }) => principal === 'User:cutover'));
    assert.ok(granted(false).some(({ principal }) => principal === 'User:to'));
    const unnamed = { ...clusters.get('legacy'), credentials: { own: {}, forward: {}, reverse: {} } } as never;
    assert.throws(() => leastRights(parsePlan(minimal), { ...configs, source: unnamed }), {
      code: 'PRINCIPAL_UNKNOWN',
    });
  });

  it('stand in docs/security.md as the command prints them, quoted for a shell', async () => {
    const clustersFile = written(clustersText);
    const env = { KAFKA_CUTOVER_CLUSTERS: clustersFile, PASSWORD: 'x' };
    const ran = await run(['acls', written(JSON.stringify({ ...minimal, name: 'orders' })), '--json'], env);
    assert.equal(ran.exitCode, 0, ran.stderr);
    const { sides } = ran.json() as { sides: { commands: string[] }[] };
    const source = sides[0]?.commands ?? [];
    assert.ok(
      source.every((line) => line.startsWith('kafka-acls.sh --bootstrap-server legacy:9092 --command-config ')),
    );
    assert.ok(
      source.some((line) => line.endsWith("--allow-principal User:cutover --operation Write --transactional-id '*'")),
    );
    assert.ok(
      source.some((line) =>
        line.endsWith('--operation Read --operation AlterConfigs --topic orders. --resource-pattern-type prefixed'),
      ),
    );
    const example = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');
    const keys = new Set(rulesOf({ groups: { include: ['orders-.*'] } }, 'target').map(aclKey));
    assert.ok(keys.size > 20);
    const secrets = Object.fromEntries(
      [...readFileSync(new URL('../../examples/clusters.yaml', import.meta.url), 'utf8').matchAll(/env: (\w+)/g)].map(
        ([, name = '']) => [name, 'x'],
      ),
    );
    const path = (name: string) => new URL(`../../examples/${name}`, import.meta.url).pathname;
    const shown = await run(['acls', path('orders.yaml')], {
      ...secrets,
      KAFKA_CUTOVER_CLUSTERS: path('clusters.yaml'),
    });
    const table = shown.stdout.split('\n').filter((line) => /^( {2}User:|\w+ \((source|target)\)$)/.test(line));
    assert.ok(table.length > 20, shown.stderr);
    assert.ok(example.includes(table.join('\n')), table.join('\n'));
  });
});
