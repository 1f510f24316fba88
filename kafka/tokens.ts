/**
 * Access tokens for SASL/OAUTHBEARER: a given one, one in a file that somebody keeps fresh, one from an OAuth 2 token
 * endpoint, or one signed for MSK by AWS's own signer. A token is a secret: no error here holds one, nor what it was
 * bought with.
 */
import { readFile } from 'node:fs/promises';
import { CutoverError } from '../contract/errors.ts';

export type TokenLogin = TokenSource & {
  /** SASL extensions (KIP-342), sent beside the token. */
  readonly extensions?: Readonly<Record<string, string>>;
};

type TokenSource =
  | { readonly from: 'value'; readonly token: string }
  /** Read again for every login: a sidecar refreshes it. */
  | { readonly from: 'file'; readonly path: string }
  | ({ readonly from: 'clientCredentials' } & ClientCredentials)
  | ({ readonly from: 'aws-msk-iam' } & AwsLogin);

interface ClientCredentials {
  readonly tokenUrl: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scope?: string;
  readonly audience?: string;
}

/** Without role and profile: AWS's default chain (environment, profile, container, instance). */
interface AwsLogin {
  readonly region: string;
  readonly roleArn?: string;
  readonly profile?: string;
}

interface Issued {
  readonly token: string;
  /** Unix milliseconds; 0 where the issuer did not say, so that the token is used once. */
  readonly expiresAt: number;
}

/** How long a token endpoint, or AWS's credential chain, may take. */
export const tokenTimeoutMs = 10_000;
/** A kept token is replaced this long before it expires, or in the last fifth of a shorter life. */
export const tokenMarginMs = 60_000;

/** One kept token for each login of clusters.yaml, shared by all its connections. */
const kept = new WeakMap<TokenLogin, { readonly issued: Promise<Issued>; staleAt: number }>();

/**
 * The token for one login.
 *
 * @param where for the error: which cluster and broker it is for
 * @throws CutoverError CLUSTER_AUTH_FAILED: the issuer refuses us; CLUSTER_UNREACHABLE: it does not answer, or the file
 *   is not there just now; CLUSTERS_INVALID: AWS's signer is not installed
 */
export async function obtainToken(login: TokenLogin, where: string): Promise<string> {
  if (login.from === 'value') return checked(login.token, where);
  if (login.from === 'file') return checked(await tokenInFile(login.path, where), where);
  const known = kept.get(login);
  if (known && Date.now() < known.staleAt) return checked((await known.issued).token, where);
  const issuing = login.from === 'clientCredentials' ? buyToken(login, where) : signForMsk(login, where);
  // Connections open many at a time: until it is there, all of them wait for this one.
  const entry = { issued: issuing, staleAt: Number.POSITIVE_INFINITY };
  kept.set(login, entry);
  try {
    const asked = Date.now();
    const { token, expiresAt } = await issuing;
    entry.staleAt = expiresAt - Math.min(tokenMarginMs, (expiresAt - asked) / 5);
    return checked(token, where);
  } catch (error) {
    kept.delete(login);
    throw error;
  }
}

/** RFC 6750, section 2.1. Anything else could also end the SASL message early. */
function checked(token: string, where: string): string {
  if (/^[A-Za-z0-9._~+/-]+=*$/.test(token)) return token;
  throw new CutoverError('CLUSTER_AUTH_FAILED', {
    what: 'what should be an access token is none',
    where,
    found: `${token.length} characters, some of them outside of RFC 6750`,
    wanted: 'the bare token: no quotes, no `Bearer `, one line',
    next: 'Check what `sasl.token` or the token endpoint gives.',
  });
}

async function tokenInFile(path: string, where: string): Promise<string> {
  let found: string | undefined;
  try {
    const token = (await readFile(path, 'utf8')).trim();
    if (token) return token;
    found = 'an empty file';
  } catch (error) {
    found = (error as NodeJS.ErrnoException).code;
  }
  // To be tried again: who refreshes a file may have to truncate it first.
  throw new CutoverError('CLUSTER_UNREACHABLE', {
    what: 'no access token in its file',
    where: `${where}, ${path}`,
    found,
    next: 'Check what writes the file that `sasl.token` names.',
  });
}

/** RFC 6749, section 4.4: the client-credentials grant, with the client's name and secret in the Authorization header. */
async function buyToken(login: ClientCredentials, where: string): Promise<Issued> {
  const { origin, pathname } = new URL(login.tokenUrl);
  const place = `${where}, token endpoint ${origin}${pathname}`;
  const encode = (part: string) => new URLSearchParams([['', part]]).toString().slice(1);
  const basic = Buffer.from(`${encode(login.clientId)}:${encode(login.clientSecret)}`).toString('base64');
  const asked = Date.now();
  let response: Response;
  let text: string;
  try {
    response = await fetch(login.tokenUrl, {
      method: 'POST',
      headers: { authorization: `Basic ${basic}`, accept: 'application/json' },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        ...(login.scope && { scope: login.scope }),
        ...(login.audience && { audience: login.audience }),
      }),
      // The secret goes where the file says and nowhere else.
      redirect: 'error',
      signal: AbortSignal.timeout(tokenTimeoutMs),
    });
    text = await response.text();
  } catch (error) {
    const { cause, message } = error as { cause?: { code?: string; message?: string }; message?: string };
    throw new CutoverError('CLUSTER_UNREACHABLE', {
      what: 'no access token: the token endpoint does not answer',
      where: place,
      found: cause?.code ?? cause?.message ?? message,
      next: 'Check `sasl.clientCredentials.tokenUrl`, and that the endpoint is up. A certificate authority of your own goes into NODE_EXTRA_CA_CERTS.',
    });
  }
  const answer = jsonObject(text);
  if (!response.ok) {
    const passes = response.status >= 500 || response.status === 408 || response.status === 429;
    // The code alone: a description may repeat what was sent.
    const reason = typeof answer.error === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(answer.error) ? answer.error : '';
    throw new CutoverError(passes ? 'CLUSTER_UNREACHABLE' : 'CLUSTER_AUTH_FAILED', {
      what: 'no access token: the token endpoint refused',
      where: place,
      found: `HTTP ${response.status}${reason && `, ${reason}`}`,
      wanted: 'a token for the client-credentials grant',
      next: 'Check clientId, clientSecret, scope and audience in clusters.yaml, and whether the client may use this grant.',
    });
  }
  const { access_token: token, expires_in: seconds } = answer;
  if (typeof token !== 'string' || token === '') {
    throw new CutoverError('CLUSTER_AUTH_FAILED', {
      what: 'no access token in the answer of the token endpoint',
      where: place,
      found: `HTTP ${response.status}, ${Object.keys(answer).length} fields`,
      wanted: 'JSON with `access_token` (RFC 6749, section 5.1)',
      next: 'Check `sasl.clientCredentials.tokenUrl`.',
    });
  }
  const lifeMs = Number(seconds) * 1000;
  return { token, expiresAt: lifeMs > 0 ? asked + lifeMs : 0 };
}

function jsonObject(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** A presigned `kafka-cluster:Connect` request, which is what MSK takes for a token; good for 15 minutes. */
async function signForMsk({ region, roleArn, profile }: AwsLogin, where: string): Promise<Issued> {
  const place = `${where}, AWS region ${region}`;
  const signer = await import('aws-msk-iam-sasl-signer-js').catch(() => {
    // Loaded here and optional: it brings 75 packages that nobody needs outside of AWS.
    throw new CutoverError('CLUSTERS_INVALID', {
      what: "aws-msk-iam needs AWS's signer",
      where: place,
      found: 'no package aws-msk-iam-sasl-signer-js',
      next: 'Install without `--omit=optional`, or add it: `npm install aws-msk-iam-sasl-signer-js`.',
    });
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const signing = roleArn
      ? signer.generateAuthTokenFromRole({ region, awsRoleArn: roleArn, awsRoleSessionName: 'kafka-cutover' })
      : profile
        ? signer.generateAuthTokenFromProfile({ region, awsProfileName: profile })
        : signer.generateAuthToken({ region });
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(Object.assign(new Error(), { name: 'TimeoutError' })), tokenTimeoutMs);
    });
    const { token, expiryTime } = await Promise.race([signing, tooLate]);
    return { token, expiresAt: expiryTime };
  } catch (error) {
    const { name, $fault } = error as { name?: string; $fault?: 'client' | 'server' };
    const refused = name === 'CredentialsProviderError' || $fault === 'client';
    // The name alone, and no cause: a message may hold the command line of a `credential_process`.
    throw new CutoverError(refused ? 'CLUSTER_AUTH_FAILED' : 'CLUSTER_UNREACHABLE', {
      what: 'no AWS credentials to sign with',
      where: place,
      found: name,
      wanted: roleArn ? `the role ${roleArn}` : profile ? `the profile ${profile}` : "AWS's default credential chain",
      next: 'Run `aws sts get-caller-identity` where this runs, under the same account and environment.',
    });
  } finally {
    clearTimeout(timer);
  }
}
