import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Code, codes } from '../../contract/errors.ts';
import { parsePlan } from '../../contract/plan.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { createTopic } from '../../kafka/topics.ts';
import { takeInventory } from '../../migration/inventory.ts';
import { iamLogins, unnamedLogins } from '../../migration/logins.ts';
import { type Facts, gatherFacts, nothingKnown } from '../../migration/preflight/facts.ts';
import { findFindings } from '../../migration/preflight.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

const named = 'sasl: { mechanism: plain, username: someone, password: { env: PASSWORD } }';
const iam = 'sasl: { mechanism: aws-msk-iam, region: eu-central-1 }';
const oauth = 'sasl: { mechanism: oauthbearer, token: { env: PASSWORD } }';

const configOf = (...lines: readonly string[]) => {
  const text = ['next:', '  bootstrap: "b:9098"', '  tls: {}', ...lines.map((line) => `  ${line}`)].join('\n');
  return parseClusters(text, 'clusters.yaml', { PASSWORD: 'p' }).cluster('next');
};

describe('our logins', () => {
  it('are unnamed where only the broker knows what it calls them, each once', () => {
    assert.deepEqual(unnamedLogins(configOf(named)), []);
    assert.deepEqual(unnamedLogins(configOf(oauth)), ['own']);
    assert.deepEqual(unnamedLogins(configOf(oauth, 'principal: User:us', `forward: { ${oauth} }`)), ['forward']);
    assert.deepEqual(unnamedLogins(configOf(named, `mirrorPrincipals: [{ ${named} }, { ${oauth} }]`)), [
      'mirrorPrincipals',
    ]);
  });

  it('are not bound by access rules where they go through IAM, named or not', () => {
    assert.deepEqual(iamLogins(configOf(iam, 'principal: User:us', `reverse: { ${named} }`)), ['own', 'forward']);
    assert.deepEqual(iamLogins(configOf(named)), []);
  });
});

describe('preflight', () => {
  it('says what is weaker with such logins, and does not go on with an ACL fence that IAM identities pass', async (t) => {
    // Given: facts of real clusters, but for how we logged in.
    const { clusters } = await sharedStack();
    const source = await Cluster.connect(clusters.cluster('legacy'));
    const target = await Cluster.connect(clusters.cluster('next'));
    t.after(() => Promise.all([source.close(), target.close()]));
    const name = uniqueName('logins');
    await createTopic(source, { name, partitions: 1, replicationFactor: 1, configs: {} });
    const topics = { include: [name] };
    const plan = parsePlan({ name, source: 'legacy', target: 'next', topics });
    const inventory = await takeInventory(source, target, plan);
    const facts = await gatherFacts(source, target, inventory);
    const loggedIn: Facts = {
      ...facts,
      source: { ...facts.source, unnamedLogins: ['reverse'] },
      target: { ...facts.target, iamLogins: ['own', 'forward'], unnamedLogins: ['own', 'mirrorPrincipals'] },
    };
    const found = (code: Code, of: Facts, wanted = plan) =>
      findFindings(inventory, wanted, of, nothingKnown).filter((one) => one.code === code);

    // Then
    for (const code of ['PRINCIPAL_UNKNOWN', 'IAM_NOT_BOUND_BY_ACLS', 'ACL_MIRROR_IS_SUPER_USER'] as const) {
      assert.deepEqual(found(code, facts), []);
    }
    assert.deepEqual(
      found('PRINCIPAL_UNKNOWN', loggedIn).map(({ where, message }) => `${where}: ${message.split(':')[0]}`),
      [
        'source: what the brokers call the login `reverse` is not known',
        'target: what the brokers call the login `own` is not known',
        'target: what the brokers call the login `mirrorPrincipals` is not known',
      ],
    );
    const [fence, ...more] = found('IAM_NOT_BOUND_BY_ACLS', loggedIn);
    assert.deepEqual([fence?.where, fence?.severity, more], ['target', codes.IAM_NOT_BOUND_BY_ACLS.severity, []]);
    assert.equal(fence?.severity, 'blocker');
    assert.match(found('ACL_MIRROR_IS_SUPER_USER', loggedIn)[0]?.message ?? '', /logs in by IAM/);
    // Where every application logs in otherwise, people say so.
    const waiver = { code: 'IAM_NOT_BOUND_BY_ACLS', by: 'ana', reason: 'all applications use SCRAM' };
    const waived = parsePlan({ name, source: 'legacy', target: 'next', topics, waivers: [waiver] });
    assert.equal(found('IAM_NOT_BOUND_BY_ACLS', loggedIn, waived)[0]?.waived?.by, 'ana');
  });
});
