/** slack.yaml: where the Slack app posts, how it logs in, and which approver each Slack user is. Strict, because people write it. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { resolve } from 'node:path';
import { z } from 'zod';
import { httpUrl, type Reference, readFileOfSecrets, reference } from '../../kafka/references.ts';

const schema = z
  .strictObject({
    channel: z
      .string()
      .regex(/^[CG][A-Z0-9]{2,}$/, "a channel's id, such as C0123456789 (its details in Slack show it)"),
    botToken: reference,
    /** Socket Mode. */
    appToken: reference.optional(),
    /** Requests over HTTP in place of Socket Mode. */
    http: z
      .strictObject({
        host: z.string().min(1).default('0.0.0.0'),
        port: z.int().min(0).max(65_535).default(3_000),
        signingSecret: reference,
      })
      .optional(),
    key: reference.optional(),
    users: z.record(
      z.string().regex(/^[UW][A-Z0-9]{2,}$/, "a Slack user's id, such as U0123456789"),
      z.string().trim().min(1),
    ),
    /** The report goes into the thread at the end; it is read from both clusters. */
    report: z.boolean().default(false),
    /** Slack's own by default. */
    api: httpUrl('name `botToken`').optional(),
  })
  .refine((policy) => (policy.appToken === undefined) !== (policy.http === undefined), {
    error: 'wanted one of `appToken` (Socket Mode) and `http`',
  });

export interface SlackPolicy {
  readonly channel: string;
  readonly botToken: string;
  /** How Slack's requests arrive. */
  readonly requests:
    | { readonly by: 'socket'; readonly appToken: string }
    | { readonly by: 'http'; readonly host: string; readonly port: number; readonly signingSecret: string };
  /** Signs answers, for gates with `proof: required`. */
  readonly key: KeyObject | null;
  /** Approvers by the id of the Slack user. */
  readonly users: ReadonlyMap<string, string>;
  readonly report: boolean;
  readonly api: string | null;
}

/**
 * Reads `path`, else `KAFKA_CUTOVER_SLACK`, else `./slack.yaml`.
 *
 * @throws CutoverError SLACK_INVALID with the path of the wrong value, never with a secret
 */
export function readSlackPolicy(path?: string, env: NodeJS.ProcessEnv = process.env): SlackPolicy {
  const file = resolve(path ?? env.KAFKA_CUTOVER_SLACK ?? 'slack.yaml');
  const { settings, refuse, secret } = readFileOfSecrets(file, schema, 'SLACK_INVALID', env);
  const { channel, botToken, appToken, http, key, users, report, api = null } = settings;
  return {
    channel,
    botToken: secret(botToken, 'botToken'),
    requests: http
      ? { ...http, by: 'http', signingSecret: secret(http.signingSecret, 'http.signingSecret') }
      : { by: 'socket', appToken: secret(appToken as Reference, 'appToken') },
    key: key ? (privateKey(secret(key, 'key')) ?? refuse('no Ed25519 private key in PEM', 'key')) : null,
    users: new Map(Object.entries(users)),
    report,
    api,
  };
}

function privateKey(pem: string): KeyObject | null {
  try {
    const key = createPrivateKey(pem);
    return key.asymmetricKeyType === 'ed25519' ? key : null;
  } catch {
    return null;
  }
}
