/** Signed approvals (`proof: required`): whose key made a signature, and whether enough people have one. */
import { verify } from 'node:crypto';
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import { gateNames } from '../contract/status.ts';
import type { ClustersFile } from '../kafka/clusters.ts';

/**
 * @param signature Ed25519 over the statement's UTF-8 bytes, base64
 * @throws CutoverError PROOF_INVALID unless a key that the file lists for this person made it
 */
export function verifyApproval(
  file: Pick<ClustersFile, 'approvers' | 'path'>,
  answer: { readonly by: string; readonly statement: string; readonly signature: string },
): void {
  const { by, statement, signature } = answer;
  const keys = [...file.approvers].filter(([name]) => named(name) === named(by)).flatMap(([, keys]) => keys);
  const signed = Buffer.from(statement);
  if (keys.some((key) => verify(null, signed, key, Buffer.from(signature, 'base64')))) return;
  const found = keys.length === 0 ? 'no key listed' : `${keys.length} listed, and none made this signature`;
  throw new CutoverError('PROOF_INVALID', {
    what: `the signature of ${by} does not hold`,
    where: `approvers in ${file.path}`,
    found,
    wanted: `a signature of ${statement}`,
  });
}

/** Gates that could never pass, because too few of those who may approve can sign. */
export function approvalFindings(plan: Plan, file: Pick<ClustersFile, 'approvers' | 'path'>): Finding[] {
  const able = new Set([...file.approvers.keys()].map(named));
  return gateNames.flatMap((name) => {
    const { proof, approvals, approvers: own } = plan.gates[name];
    if (proof !== 'required' || approvals === 0) return [];
    // As the workflow does: whoever may approve the cutover may approve the way back.
    const listed = name === 'rollback' && own.length === 0 ? plan.gates.cutover.approvers : own;
    const starter = plan.fourEyes ? named(plan.startedBy) : null;
    const may = listed.length === 0 ? [...able] : [...new Set(listed.map(named))].filter((one) => able.has(one));
    const count = may.filter((one) => one !== starter).length;
    if (count >= approvals) return [];
    const whom = listed.length === 0 ? 'anybody' : listed.join(', ');
    const message = `${approvals} signed approvals are wanted of ${whom}, and ${file.path} lists keys of ${count}`;
    return [finding('APPROVAL_KEYS_MISSING', `plan gates.${name}.proof`, message)];
  });
}

const named = (name: string): string => name.trim().toLowerCase();
