/** clusters.yaml: what its logins become, and what is refused before anything is tried. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { CutoverError } from '../../contract/errors.ts';
import { credentialsFor, parseClusters, principalName } from '../../kafka/clusters.ts';
import { makeAuthority } from './certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-clusters-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const authority = makeAuthority('authority');
const own = authority.issue({ commonName: 'cutover' });
const other = authority.issue({ commonName: 'other' });
const files = {
  'ca.pem': authority.cert,
  'own.cert.pem': own.cert,
  'own.key.pem': own.key,
  'other.cert.pem': other.cert,
  'other.key.pem': other.key,
  'garbage.pem': 'planted garbage',
  token: 'a.b.c\n',
};
for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
const env = { P: 'planted-password', S: 'planted-client-secret', T: 'planted.token' };
const ca = { file: 'ca.pem' };
const certificate = (name: string) => ({ cert: { file: `${name}.cert.pem` }, key: { file: `${name}.key.pem` } });
const scram = (username: string) => ({ sasl: { mechanism: 'scram-sha-512', username, password: { env: 'P' } } });
const password = (username: string) => ({ mechanism: 'scram-sha-512', username, password: env.P });

function cluster(entry: object) {
  const text = JSON.stringify({ next: { bootstrap: 'b:9092', ...entry } });
  return parseClusters(text, join(folder, 'clusters.yaml'), env).cluster('next');
}

describe('a login in clusters.yaml', () => {
  it('may be a token: in the environment, or in a file that is read when it is needed', () => {
    const token = (reference: object) => cluster({ sasl: { mechanism: 'oauthbearer', token: reference } });
    assert.deepEqual(token({ env: 'T' }).credentials.own, { token: { from: 'value', token: env.T } });
    assert.deepEqual(token({ file: 'token' }).credentials.own, {
      token: { from: 'file', path: join(folder, 'token') },
    });
  });

  it('may be OAuth 2 client credentials, with extensions', () => {
    const clientCredentials = {
      tokenUrl: 'https://issuer.example/token',
      clientId: 'cutover',
      clientSecret: { env: 'S' },
      scope: 'kafka',
      audience: 'next',
    };
    const extensions = { logicalCluster: 'lkc-1' };
    assert.deepEqual(cluster({ sasl: { mechanism: 'oauthbearer', clientCredentials, extensions } }).credentials.own, {
      token: { from: 'clientCredentials', ...clientCredentials, clientSecret: env.S, extensions },
    });
  });

  it("may be AWS's", () => {
    const sasl = { mechanism: 'aws-msk-iam', region: 'eu-central-1', roleArn: 'arn:aws:iam::1:role/cutover' };
    assert.deepEqual(cluster({ tls: {}, sasl }).credentials.own, {
      tls: {},
      token: { from: 'aws-msk-iam', region: 'eu-central-1', roleArn: 'arn:aws:iam::1:role/cutover' },
    });
  });

  const encrypted = (entry: object) => ({ ...entry, tls: {} });
  const msk = { mechanism: 'aws-msk-iam', region: 'eu-central-1' };
  const refused: Record<string, readonly [entry: object, says: RegExp]> = {
    'Kerberos, which is not supported': [
      { sasl: { mechanism: 'gssapi' } },
      /one of plain, scram-sha-256, scram-sha-512, oauthbearer, aws-msk-iam .*next\.sasl\.mechanism/,
    ],
    'a token and client credentials at once': [
      {
        sasl: {
          mechanism: 'oauthbearer',
          token: { env: 'T' },
          clientCredentials: { tokenUrl: 'https://i/', clientId: 'c', clientSecret: { env: 'S' } },
        },
      },
      /one of `token` and `clientCredentials`/,
    ],
    'oauthbearer with neither': [{ sasl: { mechanism: 'oauthbearer' } }, /one of `token` and `clientCredentials`/],
    'a token in the file itself': [
      { sasl: { mechanism: 'oauthbearer', token: 'planted' } },
      /a secret is not written here.*next\.sasl\.token/,
    ],
    'a token file that is not there': [
      { sasl: { mechanism: 'oauthbearer', token: { file: 'gone' } } },
      /next\.sasl\.token.*ENOENT/,
    ],
    'an unset client secret': [
      {
        sasl: {
          mechanism: 'oauthbearer',
          clientCredentials: { tokenUrl: 'https://i/', clientId: 'c', clientSecret: { env: 'UNSET' } },
        },
      },
      /clientCredentials\.clientSecret.*no UNSET/,
    ],
    'a token URL with a secret in it': [
      {
        sasl: {
          mechanism: 'oauthbearer',
          clientCredentials: { tokenUrl: 'https://c:planted@i/', clientId: 'c', clientSecret: { env: 'S' } },
        },
      },
      /without a user in it/,
    ],
    'an extension named auth': [
      { sasl: { mechanism: 'oauthbearer', token: { env: 'T' }, extensions: { auth: 'x' } } },
      /named in letters, and not `auth` .*next\.sasl\.extensions/,
    ],
    'AWS without TLS': [{ sasl: msk }, /IAM logins over TLS only/],
    'an AWS role and profile at once': [encrypted({ sasl: { ...msk, roleArn: 'r', profile: 'p' } }), /not both/],
    'a certificate without its key': [{ tls: { cert: { file: 'own.cert.pem' } } }, /belong together/],
    'the key of another certificate': [
      { tls: { cert: { file: 'own.cert.pem' }, key: { file: 'other.key.pem' } } },
      /next\.tls\.cert.*KEY_VALUES_MISMATCH/,
    ],
    'an authority that is no certificate': [
      { tls: { ca: { file: 'garbage.pem' } } },
      /not a certificate in PEM .*next\.tls\.ca\)/,
    ],
    'a key that is none': [
      { tls: { cert: { file: 'own.cert.pem' }, key: { file: 'garbage.pem' } } },
      /next\.tls\.cert/,
    ],
    'a mirror principal without a login': [{ mirrorPrincipals: [{ principal: 'User:a' }] }, /a login of its own/],
    'a SCRAM user with its password in the file': [
      { scramUsers: { a: { mechanism: 'scram-sha-512', password: 'planted' } } },
      /a secret is not written here.*next\.scramUsers\.a\.password/,
    ],
    'a principal without its type': [{ principal: 'mirror' }, /User:mirror/],
  };
  for (const [what, [entry, says]] of Object.entries(refused)) {
    it(`is refused: ${what}`, () => {
      assert.throws(
        () => cluster(entry),
        (error) => {
          assert.ok(error instanceof CutoverError);
          assert.equal(error.code, 'CLUSTERS_INVALID');
          assert.match(error.message, says);
          assert.doesNotMatch(error.message, /planted/);
          return true;
        },
      );
    });
  }
});

describe("a mirror's login", () => {
  it("takes the cluster's authority where it brings a certificate of its own", () => {
    const { credentials } = cluster({
      tls: { ca, ...certificate('own'), serverName: 'kafka' },
      principal: 'User:CN=cutover',
      forward: { tls: certificate('other') },
    });
    assert.deepEqual(credentials.forward, {
      tls: { ca: authority.cert.trim(), serverName: 'kafka', cert: other.cert.trim(), key: other.key.trim() },
    });
    assert.equal(principalName(credentials.own), 'User:CN=cutover');
    assert.equal(principalName(credentials.forward), null, "a certificate's name is the broker's to say");
    assert.deepEqual(credentials.reverse, credentials.own);
  });

  it('replaces a login of another kind', () => {
    const { credentials } = cluster({
      sasl: { mechanism: 'oauthbearer', token: { env: 'T' } },
      forward: scram('mirror-forward'),
    });
    assert.deepEqual(credentials.forward, { sasl: password('mirror-forward') });
    assert.equal(principalName(credentials.forward), 'User:mirror-forward');
    assert.equal(principalName(credentials.own), null);
  });
});

describe('mirrorPrincipals', () => {
  it("are logins in the order of the file, over the cluster's TLS", () => {
    const config = cluster({
      ...scram('cutover'),
      tls: { ca },
      mirrorPrincipals: [scram('mirror-1'), { tls: certificate('other'), principal: 'User:CN=other' }],
    });
    const [first, second] = config.mirrorPrincipals;
    assert.deepEqual(first, { sasl: password('mirror-1'), tls: { ca: authority.cert.trim() } });
    assert.equal(first && principalName(first), 'User:mirror-1');
    assert.equal(second && principalName(second), 'User:CN=other');
    assert.equal(credentialsFor(config, { mirrorPrincipal: 1 }), second);
    assert.throws(() => credentialsFor(config, { mirrorPrincipal: 2 }), { code: 'CLUSTERS_INVALID' });
  });

  it('are none where the file names none', () => {
    assert.deepEqual(cluster(scram('cutover')).mirrorPrincipals, []);
  });
});
