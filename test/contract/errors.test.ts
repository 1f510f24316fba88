import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Code, type CodeEntry, CutoverError, codes, finding, formatDetail } from '../../contract/errors.ts';

const entries = Object.entries(codes) as [Code, CodeEntry][];

describe('the list of codes', () => {
  it('is written in SCREAMING_SNAKE words', () => {
    for (const [code] of entries) assert.match(code, /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/);
  });

  it('tells the operator in one sentence each what a code means and what to do next', () => {
    for (const [code, { meaning, next }] of entries) {
      assert.match(meaning, /^(?:[A-Z]|min\.insync).*\.$/, `${code}.meaning`);
      assert.match(next, /^[A-Z].*\.$/, `${code}.next`);
    }
  });

  it('never calls a warning or an info retryable: only failures are tried again', () => {
    const odd = entries.filter(([, entry]) => entry.retryable && entry.severity !== 'blocker').map(([code]) => code);
    assert.deepEqual(odd, []);
  });
});

describe('an error message', () => {
  it('says what, where, found, wanted and next', () => {
    const detail = { what: 'not an address', where: 'legacy', found: '"a"', wanted: 'host:port', next: 'Mend it.' };
    assert.equal(
      formatDetail('CLUSTERS_INVALID', detail),
      'CLUSTERS_INVALID: not an address (legacy): found "a", wanted host:port. Next: Mend it.',
    );
  });

  it("falls back to the code's own advice", () => {
    assert.equal(
      formatDetail('NO_TOPICS', { what: 'nothing matches' }),
      `NO_TOPICS: nothing matches. Next: ${codes.NO_TOPICS.next}`,
    );
  });

  it('leaves out what is not known', () => {
    const message = formatDetail('CLUSTER_UNREACHABLE', { what: 'no answer', where: 'legacy', found: '' });
    assert.doesNotMatch(message, /found|wanted|undefined/);
    assert.match(formatDetail('PARITY_FAILED', { what: 'x', wanted: 'y' }), /^PARITY_FAILED: x: wanted y\. Next: /);
  });

  it('is the message of the error, which keeps code, detail and cause for scripts', () => {
    const cause = new Error('ECONNREFUSED');
    const error = new CutoverError('CLUSTER_UNREACHABLE', { what: 'no answer' }, { cause });
    assert.equal(error.message, formatDetail('CLUSTER_UNREACHABLE', { what: 'no answer' }));
    assert.equal(error.name, 'CutoverError');
    assert.equal(error.code, 'CLUSTER_UNREACHABLE');
    assert.equal(error.cause, cause);
    assert.equal(error.retryable, true);
    assert.equal(new CutoverError('PLAN_INVALID', { what: 'x' }).retryable, false);
  });
});

describe('a finding', () => {
  it("takes severity and advice from its code's entry", () => {
    assert.deepEqual(finding('FENCE_ON_TRUST', 'orders.paid', 'everybody may write'), {
      code: 'FENCE_ON_TRUST',
      severity: 'blocker',
      where: 'orders.paid',
      message: 'everybody may write',
      next: codes.FENCE_ON_TRUST.next,
    });
  });

  it('can carry its own advice', () => {
    assert.equal(finding('TOPIC_SILENT', 'legacy', '3 s apart', 'Start ntpd.').next, 'Start ntpd.');
  });
});
