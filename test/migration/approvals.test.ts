import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, it } from 'node:test';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { approvalFindings, verifyApproval } from '../../migration/approvals.ts';

const makeKey = () => generateKeyPairSync('ed25519');
const [first, second, others] = [makeKey(), makeKey(), makeKey()];
const spki = { type: 'spki' } as const;
const onOneLine = (key: KeyObject) => key.export({ ...spki, format: 'der' }).toString('base64');
const asPem = (key: KeyObject) => key.export({ ...spki, format: 'pem' }).toString();

function clusters(approvers: object) {
  return parseClusters(JSON.stringify({ approvers }), 'clusters.yaml', { PEM: asPem(second.publicKey) });
}
const file = clusters({ 'Kafka-Owner': { keys: [onOneLine(first.publicKey), { env: 'PEM' }] } });

describe('a signature', () => {
  const statement = '["kafka-cutover/v1","approve"]';
  const by = (key: KeyObject) => sign(null, Buffer.from(statement), key).toString('base64');

  it('holds when any key of that approver made it, however the name is written', () => {
    verifyApproval(file, { by: ' kafka-OWNER', statement, signature: by(first.privateKey) });
    verifyApproval(file, { by: 'kafka-owner', statement, signature: by(second.privateKey) });
  });

  it("does not hold when it is another key's, of another text, garbage, or its sender has no key", () => {
    const refused = [
      { by: 'kafka-owner', statement, signature: by(others.privateKey) },
      { by: 'kafka-owner', statement: `${statement} `, signature: by(first.privateKey) },
      { by: 'kafka-owner', statement, signature: '' },
      { by: 'kafka-owner', statement, signature: 'no base64 !' },
      { by: 'orders-owner', statement, signature: by(first.privateKey) },
    ];
    for (const answer of refused) assert.throws(() => verifyApproval(file, answer), { code: 'PROOF_INVALID' });
  });
});

describe('keys of approvers in clusters.yaml', () => {
  it('are Ed25519 public keys and nothing else', () => {
    const wrong = [
      'garbage',
      makeKey().privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      onOneLine(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey),
    ];
    for (const key of wrong) {
      const where = /CLUSTERS_INVALID: not a public key \(clusters\.yaml at approvers\.ana\.keys\.1\)/;
      assert.throws(() => clusters({ ana: { keys: [onOneLine(first.publicKey), key] } }), where);
    }
  });
});

describe('a plan whose gates want signed answers', () => {
  const findings = (gates: PlanInput['gates'], more: Partial<PlanInput> = {}) =>
    approvalFindings(
      parsePlan({ name: 'o', source: 'a', target: 'b', topics: { include: ['o'] }, gates, ...more }),
      file,
    ).map(({ code, where }) => `${code} ${where}`);
  const required = { proof: 'required' } as const;

  it('is refused where too few of those who may approve can sign', () => {
    const missing = (gate: string) => [`APPROVAL_KEYS_MISSING plan gates.${gate}.proof`];
    assert.deepEqual(findings({ cutover: { ...required, approvers: ['kafka-owner'] } }), []);
    assert.deepEqual(findings({ cutover: required }), []);
    assert.deepEqual(findings({ cutover: { ...required, approvals: 2 } }), missing('cutover'));
    assert.deepEqual(findings({ finalize: { ...required, approvers: ['orders-owner'] } }), missing('finalize'));
    assert.deepEqual(findings({ start: required }), [], 'approvals: 0 waits for nobody');
    const inherited = { cutover: { approvers: ['orders-owner'] }, rollback: required };
    assert.deepEqual(findings(inherited), missing('rollback'));
    const started = { fourEyes: true, startedBy: 'Kafka-Owner' };
    assert.deepEqual(findings({ cutover: required }, started), missing('cutover'));
  });
});
