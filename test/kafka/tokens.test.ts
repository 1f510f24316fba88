/** Tokens without a broker: how long one is kept, what a token endpoint may answer, and what AWS's signer signs. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { inspect } from 'node:util';
import { CutoverError } from '../../contract/errors.ts';
import { obtainToken, type TokenLogin } from '../../kafka/tokens.ts';
import { startTokenIssuer } from './token-issuer.ts';

const where = 'cluster next, broker b:9092';
const secret = 'planted-secret/with+odd=characters';
const encoded = encodeURIComponent(secret);
const issuer = await startTokenIssuer('the client', encoded);
const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-tokens-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A login of its own each time: what is kept is kept for one login. */
const login = (more: Partial<Extract<TokenLogin, { from: 'clientCredentials' }>> = {}): TokenLogin => ({
  from: 'clientCredentials',
  tokenUrl: issuer.tokenUrl,
  clientId: 'cutover',
  clientSecret: secret,
  ...more,
});
const accept = (lifeSeconds?: number) => {
  let number = 0;
  issuer.answer = {
    status: 200,
    get body() {
      return JSON.stringify({ access_token: `token-${number++}`, ...(lifeSeconds && { expires_in: lifeSeconds }) });
    },
  };
};
async function refusal(asked: Promise<string>): Promise<CutoverError> {
  const error = await asked.then(
    () => assert.fail('a token was given'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CutoverError, inspect(error));
  assert.ok(!inspect(error, { depth: null, showHidden: true }).includes('planted'), inspect(error));
  return error;
}

describe('a token from a token endpoint', () => {
  beforeEach(() => {
    issuer.asked.length = 0;
    issuer.answer = null;
  });

  it('is asked for as RFC 6749 says, with the client in the header and nothing of it in the body', async () => {
    accept(3600);
    await obtainToken(login({ scope: 'kafka write', audience: 'next' }), where);

    const [{ authorization, form } = assert.fail('nothing asked')] = issuer.asked;
    assert.equal(authorization, `Basic ${Buffer.from(`cutover:${encoded}`).toString('base64')}`);
    assert.deepEqual(form, { grant_type: 'client_credentials', scope: 'kafka write', audience: 'next' });
  });

  it('is asked for once by connections that open together, and kept', async () => {
    accept(3600);
    const one = login();

    const together = await Promise.all(Array.from({ length: 20 }, () => obtainToken(one, where)));
    const later = await obtainToken(one, where);

    assert.deepEqual(new Set([...together, later]), new Set(['token-0']));
    assert.equal(issuer.asked.length, 1);
  });

  it('is not kept where the endpoint does not say for how long', async () => {
    accept();
    const one = login();
    assert.deepEqual([await obtainToken(one, where), await obtainToken(one, where)], ['token-0', 'token-1']);
  });

  it('is replaced before it expires', async (t) => {
    accept(3600);
    const one = login();
    t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
    assert.equal(await obtainToken(one, where), 'token-0');
    t.mock.timers.setTime(1_000_000 + 3_539_000);
    assert.equal(await obtainToken(one, where), 'token-0');
    t.mock.timers.setTime(1_000_000 + 3_540_000);
    assert.equal(await obtainToken(one, where), 'token-1');
  });

  it('is replaced in the last fifth of a short life', async (t) => {
    accept(10);
    const one = login();
    t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
    await obtainToken(one, where);
    t.mock.timers.setTime(1_007_999);
    assert.equal(await obtainToken(one, where), 'token-0');
    t.mock.timers.setTime(1_008_000);
    assert.equal(await obtainToken(one, where), 'token-1');
  });

  it('is asked for again after a refusal', async () => {
    const one = login();
    issuer.answer = { status: 503, body: 'planted' };
    await refusal(obtainToken(one, where));
    accept(3600);
    assert.equal(await obtainToken(one, where), 'token-0');
  });

  const answers: Record<string, readonly [status: number, body: string, code: string, says: RegExp]> = {
    'a wrong secret': [
      401,
      `{"error":"invalid_client","error_description":"not ${secret}"}`,
      'CLUSTER_AUTH_FAILED',
      /HTTP 401, invalid_client/,
    ],
    'a scope that is not granted': [400, '{"error":"invalid_scope"}', 'CLUSTER_AUTH_FAILED', /HTTP 400, invalid_scope/],
    'an error that repeats the secret': [400, `{"error":"${secret}"}`, 'CLUSTER_AUTH_FAILED', /found HTTP 400, wanted/],
    'too many requests': [429, '', 'CLUSTER_UNREACHABLE', /HTTP 429/],
    'an outage': [502, '<html>planted</html>', 'CLUSTER_UNREACHABLE', /HTTP 502/],
    'a page in place of a token': [200, '<html>planted</html>', 'CLUSTER_AUTH_FAILED', /no access token in the answer/],
    'a token that would end the message early': [
      200,
      '{"access_token":"planted\\u0001auth=x"}',
      'CLUSTER_AUTH_FAILED',
      /is none/,
    ],
    'a redirect, which would carry the secret elsewhere': [307, '', 'CLUSTER_UNREACHABLE', /does not answer/],
  };
  for (const [what, [status, body, code, says]] of Object.entries(answers)) {
    it(`is not there after ${what}: ${code}`, async () => {
      issuer.answer = { status, body };
      const error = await refusal(obtainToken(login(), where));
      assert.equal(error.code, code);
      assert.match(error.message, says);
    });
  }
});

describe('a token in a file', () => {
  const path = join(folder, 'token');
  const inFile: TokenLogin = { from: 'file', path };

  it('is read again for each login', async () => {
    writeFileSync(path, 'first\n');
    assert.equal(await obtainToken(inFile, where), 'first');
    writeFileSync(path, 'second\n');
    assert.equal(await obtainToken(inFile, where), 'second');
  });

  it('that is just being written may be tried again', async () => {
    writeFileSync(path, '');
    assert.equal((await refusal(obtainToken(inFile, where))).code, 'CLUSTER_UNREACHABLE');
    rmSync(path);
    assert.match((await refusal(obtainToken(inFile, where))).message, /ENOENT/);
  });
});

describe('a token for MSK', () => {
  const variables = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_PROFILE'];
  const elsewhere = {
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_CONFIG_FILE: join(folder, 'no-config'),
    AWS_SHARED_CREDENTIALS_FILE: join(folder, 'no-credentials'),
  };
  const before = { ...process.env };
  beforeEach(() => {
    for (const name of variables) delete process.env[name];
    Object.assign(process.env, elsewhere);
  });
  afterEach(() => {
    for (const name of [...variables, ...Object.keys(elsewhere)]) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  });
  const forMsk = (): TokenLogin => ({ from: 'aws-msk-iam', region: 'eu-central-1' });

  it('is a presigned kafka-cluster:Connect for the region, good for 15 minutes', async () => {
    process.env.AWS_ACCESS_KEY_ID = 'AKIAEXAMPLE';
    process.env.AWS_SECRET_ACCESS_KEY = 'planted-aws-secret';
    process.env.AWS_SESSION_TOKEN = 'session';

    const token = await obtainToken(forMsk(), where);

    const url = new URL(Buffer.from(token, 'base64url').toString());
    const query = Object.fromEntries(url.searchParams);
    assert.equal(url.origin + url.pathname, 'https://kafka.eu-central-1.amazonaws.com/');
    assert.equal(query.Action, 'kafka-cluster:Connect');
    assert.equal(query['X-Amz-Algorithm'], 'AWS4-HMAC-SHA256');
    assert.match(query['X-Amz-Credential'] ?? '', /^AKIAEXAMPLE\/\d{8}\/eu-central-1\/kafka-cluster\/aws4_request$/);
    assert.equal(query['X-Amz-Expires'], '900');
    assert.equal(query['X-Amz-Security-Token'], 'session');
    assert.match(query['X-Amz-Signature'] ?? '', /^[0-9a-f]{64}$/);
    const signedAt = (query['X-Amz-Date'] ?? '').replace(/(....)(..)(..T..)(..)(..Z)/, '$1-$2-$3:$4:$5');
    assert.ok(Math.abs(Date.parse(signedAt) - Date.now()) < 600_000, signedAt);
    assert.ok(!url.href.includes('planted'));
  });

  it('is signed once and kept until a minute before it expires', async (t) => {
    process.env.AWS_ACCESS_KEY_ID = 'AKIAEXAMPLE';
    process.env.AWS_SECRET_ACCESS_KEY = 'planted-aws-secret';
    t.mock.timers.enable({ apis: ['Date'], now: 1_760_000_000_000 });
    const one = forMsk();
    const first = await obtainToken(one, where);
    t.mock.timers.setTime(1_760_000_000_000 + 839_000);
    assert.equal(await obtainToken(one, where), first);
    t.mock.timers.setTime(1_760_000_000_000 + 840_000);
    assert.notEqual(await obtainToken(one, where), first);
  });

  it('is refused where AWS has no credentials for us', async () => {
    const error = await refusal(obtainToken(forMsk(), where));
    assert.equal(error.code, 'CLUSTER_AUTH_FAILED');
    assert.match(error.message, /AWS's default credential chain/);
    assert.match(error.message, /aws sts get-caller-identity/);
  });
});
