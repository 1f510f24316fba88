/** Signs answers to gates whose proof is required: what the gate shows, with the sender's Ed25519 key. */
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ApprovalStatement, statementText } from '../contract/approval.ts';
import { CutoverError } from '../contract/errors.ts';
import type { Gate } from '../contract/status.ts';
import type { GateAnswer } from './temporal-answers.ts';

/** How long a signed answer counts, unless its sender says otherwise. */
export const answerValidMs = 600_000;

/** @throws CutoverError USAGE where the file holds no Ed25519 private key */
export function readSigningKey(path: string): KeyObject {
  let found: string;
  try {
    const key = createPrivateKey(readFileSync(path));
    if (key.asymmetricKeyType === 'ed25519') return key;
    found = `a key of type ${key.asymmetricKeyType}`;
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    // What OpenSSL says may quote the file.
    found = syscall ? (code ?? 'not readable') : 'something else';
  }
  throw new CutoverError('USAGE', {
    what: 'no key to sign with',
    where: path,
    found,
    wanted: 'an Ed25519 private key in PEM, without a passphrase',
    next: 'Make one: `openssl genpkey -algorithm ed25519 -out approver.pem`.',
  });
}

/** What a message carries beside its words. */
export function signedAnswer(
  key: KeyObject,
  answer: {
    readonly message: ApprovalStatement['message'];
    readonly migration: string;
    /** Id of the chain's first run. */
    readonly run: string;
    readonly gate: Pick<GateAnswer, 'gate' | 'wave' | 'openedAt' | 'digest'>;
    readonly by: string;
    /** What the sender saw; what the gate shows when left out. */
    readonly digest?: string | undefined;
  },
  validMs: number = answerValidMs,
): { readonly expiresAt: string; readonly signature: string } {
  const { gate, digest = gate.digest ?? '', ...said } = answer;
  const expiresAt = new Date(Date.now() + validMs).toISOString();
  const { wave, openedAt } = gate;
  const statement = { ...said, gate: gate.gate as Gate, wave, digest, openedAt, by: answer.by.trim(), expiresAt };
  return { expiresAt, signature: sign(null, Buffer.from(statementText(statement)), key).toString('base64') };
}
