import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { produceV9 } from '@platformatic/kafka';
import fc from 'fast-check';
import { type Acl, aclKey, awaitAcls, createAcls, deleteAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { upsertScramUser } from '../../kafka/scram.ts';
import { createTopic, deleteTopic } from '../../kafka/topics.ts';
import { type AccessRules, mayDo, readersOf, type WhoMay, writersOf } from '../../migration/authorizer.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

/** `allow write topic orders User:a`, `deny all topic orders* User:* 10.0.0.1`; `=*` is the literal `*`. */
function acl(text: string): Acl {
  const [permission, operation, resourceType, name = '', principal, host = '*'] = text.split(' ');
  const prefixed = name.endsWith('*') && name !== '=*';
  const resourceName = name === '=*' ? '*' : prefixed ? name.slice(0, -1) : name;
  return {
    permission,
    operation,
    resourceType,
    resourceName,
    patternType: prefixed ? 'prefixed' : 'literal',
    principal,
    host,
  } as Acl;
}

const writers: readonly (readonly [what: string, rules: string[], wanted: WhoMay, more?: Partial<AccessRules>])[] = [
  ['nobody without rules', [], { named: [], everybody: false }],
  ['everybody without rules, if so configured', [], { named: [], everybody: true }, { allowEveryone: true }],
  [
    'nobody else once any rule speaks about the topic',
    ['allow read topic orders User:mirror'],
    { named: [], everybody: false },
    { allowEveryone: true },
  ],
  [
    'everybody where rules are about other topics only',
    ['allow read topic payments User:a'],
    { named: [], everybody: true },
    { allowEveryone: true },
  ],
  ['who may by name', ['allow write topic orders User:a'], { named: ['User:a'], everybody: false }],
  ['not who may elsewhere', ['allow write topic orders2 User:a'], { named: [], everybody: false }],
  ['who may by prefix', ['allow write topic ord* User:a'], { named: ['User:a'], everybody: false }],
  ['not by a prefix that is longer', ['allow write topic orders.* User:a'], { named: [], everybody: false }],
  ['who may everywhere', ['allow write topic =* User:a'], { named: ['User:a'], everybody: false }],
  ['who may do all', ['allow all topic orders User:a'], { named: ['User:a'], everybody: false }],
  ['not who may alter', ['allow alter topic orders User:a'], { named: [], everybody: false }],
  ['not who may read a group of that name', ['allow write group orders User:a'], { named: [], everybody: false }],
  ['everybody by User:*', ['allow write topic orders User:*'], { named: [], everybody: true }],
  [
    'those named beside User:*',
    ['allow write topic orders User:*', 'allow read topic orders User:a'],
    { named: ['User:a'], everybody: true },
  ],
  [
    'everybody but the denied one',
    ['allow write topic orders User:*', 'deny write topic orders User:a'],
    { named: [], everybody: true },
  ],
  [
    'not who is denied, whichever pattern is longer',
    ['allow write topic orders User:a', 'deny write topic o* User:a'],
    { named: [], everybody: false },
  ],
  [
    'not who is denied everywhere',
    ['allow write topic orders User:a', 'deny all topic =* User:*'],
    { named: [], everybody: false },
  ],
  [
    'who is denied something else',
    ['allow write topic orders User:a', 'deny read topic orders User:a'],
    { named: ['User:a'], everybody: false },
  ],
  [
    'who is denied from another host only',
    ['allow write topic orders User:a', 'deny write topic orders User:a 10.0.0.1'],
    { named: ['User:a'], everybody: false },
  ],
  [
    'not who is denied from the one host that is allowed',
    ['allow write topic orders User:a 10.0.0.1', 'deny write topic orders User:* 10.0.0.1'],
    { named: [], everybody: false },
  ],
  [
    'who is allowed from one host',
    ['allow write topic orders User:a 10.0.0.1'],
    { named: ['User:a'], everybody: false },
  ],
  ['everybody from one host', ['allow write topic orders User:* 10.0.0.1'], { named: [], everybody: true }],
  [
    'not super users, whom no rule stops',
    ['allow write topic orders User:root'],
    { named: [], everybody: false },
    { superUsers: new Set(['User:root']) },
  ],
];

describe('writers of a topic are', () => {
  for (const [what, rules, wanted, more] of writers) {
    test(what, () => assert.deepEqual(writersOf({ acls: rules.map(acl), ...more }, 'orders'), wanted));
  }
});

test('readers of a group come from rules on groups only', () => {
  const acls = ['allow read group g* User:a', 'allow read topic g1 User:b', 'deny read group g1 User:c'].map(acl);
  assert.deepEqual(readersOf({ acls }, 'g1'), { named: ['User:a'], everybody: false });
});

describe('describing is', () => {
  const cases: readonly (readonly [string, string[], boolean])[] = [
    ['implied by an allowed write', ['allow write topic t User:a'], true],
    ['implied by an allowed delete', ['allow delete topic t User:a'], true],
    ['not implied by alter-configs', ['allow alter-configs topic t User:a'], false],
    ['not denied by a denied write', ['allow read topic t User:a', 'deny write topic t User:a'], true],
    ['denied by itself', ['allow all topic t User:a', 'deny describe topic t User:a'], false],
  ];
  for (const [what, rules, wanted] of cases) {
    test(what, () => {
      const topic = { type: 'topic', name: 't' } as const;
      assert.equal(mayDo({ acls: rules.map(acl) }, 'User:a', '127.0.0.1', 'describe', topic), wanted);
    });
  }
});

const { clusters } = await sharedStack();
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
const setsOfRules = 40;
/** TOPIC_AUTHORIZATION_FAILED */
const refused = 29;

// Rules on `*` name the user of this test only: the brokers are shared by the whole run.
for (const name of ['legacy', 'next']) {
  test(`${name}: the model says what the broker does, for ${setsOfRules} random sets of rules (seed ${seed})`, async () => {
    const config = clusters.cluster(name);
    await using admin = await Cluster.connect(config);
    const user = uniqueName('authorizer');
    const topic = `${user}-topic`;
    const principal = `User:${user}`;
    await upsertScramUser(admin, user, 'secret');
    await createTopic(admin, { name: topic, partitions: 1, replicationFactor: 1, configs: {} });
    const sasl = `{ mechanism: scram-sha-512, username: ${user}, password: { env: P } }`;
    const file = parseClusters(`x: { bootstrap: "${config.bootstrap[0]}", sasl: ${sasl} }`, 'test', { P: 'secret' });
    await using application = await Cluster.connect(file.cluster('x'));

    const rule = fc
      .record({
        resourceType: fc.constant('topic' as const),
        pattern: fc.constantFrom(
          ['literal', topic] as const,
          ['literal', '*'] as const,
          ['literal', `${topic}x`] as const,
          ['prefixed', topic.slice(0, -2)] as const,
          ['prefixed', topic] as const,
          ['prefixed', `${topic}-`] as const,
        ),
        principal: fc.constantFrom(principal, principal, principal, 'User:*', `${principal}x`),
        host: fc.constantFrom('*', '*', '127.0.0.1', '10.9.8.7'),
        operation: fc.constantFrom('all', 'read', 'write', 'write', 'describe', 'alter', 'delete') as fc.Arbitrary<
          Acl['operation']
        >,
        permission: fc.constantFrom('allow' as const, 'allow' as const, 'deny' as const),
      })
      .map(({ pattern, ...rest }): Acl => {
        const [patternType, resourceName] = pattern;
        return { ...rest, patternType, resourceName, principal: resourceName === '*' ? principal : rest.principal };
      });
    const answers = new Set<string>();
    for (const acls of fc.sample(fc.array(rule, { minLength: 1, maxLength: 5 }), { numRuns: setsOfRules, seed })) {
      await createAcls(admin, acls);
      await awaitAcls(admin, { present: acls });
      const message = { topic, partition: 0, value: Buffer.from('x'), timestamp: BigInt(Date.now()) };
      const produced = await application.call('any', produceV9.api, -1, 5_000, [message]);
      const wrote = typeof produced === 'object' && produced.responses[0]?.partitionResponses[0]?.errorCode !== refused;
      const saw = (await application.metadata([topic])).topics.has(topic);
      const modelled = {
        write: mayDo({ acls }, principal, '127.0.0.1', 'write', { type: 'topic', name: topic }),
        describe: mayDo({ acls }, principal, '127.0.0.1', 'describe', { type: 'topic', name: topic }),
      };
      assert.deepEqual(modelled, { write: wrote, describe: saw }, acls.map(aclKey).join('\n'));
      answers.add(JSON.stringify(modelled));
      await deleteAcls(admin, acls);
      await awaitAcls(admin, { absent: acls });
    }
    assert.ok(answers.size >= 3, `the random rules only led to ${[...answers]}`);
    await deleteTopic(admin, topic);
  });
}
