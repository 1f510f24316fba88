import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { finding } from '../../contract/errors.ts';
import { parsePlan } from '../../contract/plan.ts';
import { fenceFacts, transactionFacts } from '../../migration/fences/facts.ts';
import { fenceFindings } from '../../migration/fences/findings.ts';

const planWith = (fence: object) =>
  parsePlan({ name: 'orders', source: 'legacy', target: 'next', topics: { include: ['orders'] }, fence });
const moved = { topics: ['orders'], groups: ['billing'] };

describe('a fence that brokers do not enforce', () => {
  it('is a blocker that says what is watched instead, until somebody waives it', () => {
    const [first, ...more] = fenceFindings(planWith({ kind: 'manual', quiet: '2s' }), []);
    assert.deepEqual([first?.code, first?.severity, more], ['FENCE_NOT_ENFORCED', 'blocker', []]);
    assert.match(first?.message ?? '', /manual: people stop the writers of legacy.*over 2000 ms \(fence\.quiet\)/);
  });

  it('is one more where nothing keeps applications off the target, and says why', () => {
    const plan = planWith({ kind: 'webhook' });
    const withoutAuthorizer = fenceFindings(plan, null)[1];
    assert.equal(withoutAuthorizer?.code, 'TARGET_NOT_PROTECTED');
    assert.match(withoutAuthorizer?.message ?? '', /no authorizer/);
    const open = finding('ACL_OPEN_ENDED', 'target', 'everybody may write or join orders');
    assert.partialDeepStrictEqual(fenceFindings(plan, [open])[1], {
      code: 'TARGET_NOT_PROTECTED',
      message: 'everybody may write or join orders',
    });
  });
});

describe('before a gate that leads to a fence', () => {
  const told = (fence: object, direction: 'forward' | 'reverse') =>
    fenceFacts(planWith(fence), direction, moved).join('\n');

  it('people are told what is theirs to do, on which cluster, and in which time', () => {
    assert.match(
      told({ kind: 'manual', stopWithin: '5m' }, 'forward'),
      /people stop everything that writes to orders on legacy, and the consumers of billing: .* within 300 s[\s\S]*next is opened within 60 s.*start nothing on legacy before gate unfence[\s\S]*not enforced/,
    );
    assert.match(told({ kind: 'manual' }, 'reverse'), /writes to orders on next.*[\s\S]*legacy is opened/);
  });

  it('they are told what applications see', () => {
    assert.match(told({ kind: 'acl' }, 'forward'), /writers to legacy get TOPIC_AUTHORIZATION_FAILED/);
    assert.match(
      told({ kind: 'webhook', webhook: 'deployer' }, 'forward'),
      /webhook deployer stops the writers of legacy/,
    );
    assert.match(
      transactionFacts(planWith({}), ['billing-1 (Ongoing, 3 s)']).join(),
      /ended after 20 s: billing-1 .*what they wrote is aborted, and their producers must begin anew/,
    );
    assert.deepEqual(transactionFacts(planWith({}), []), []);
  });
});
