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

describe('a Connect cluster in clusters.yaml', () => {
  const connect = (entry: object) =>
    parseClusters(JSON.stringify({ connects: { onprem: entry } }), join(folder, 'clusters.yaml'), env);

  it('is found by its name, its password elsewhere', () => {
    const file = connect({ url: 'https://connect:8083/', basic: { username: 'ana', password: { env: 'P' } }, ca });
    assert.deepEqual(file.connect('onprem'), {
      name: 'onprem',
      url: 'https://connect:8083',
      basic: { username: 'ana', password: env.P },
      ca: authority.cert.trim(),
    });
    assert.throws(() => file.connect('cloud'), { code: 'REPLICATOR_UNKNOWN', message: /cloud.*onprem/ });
  });

  it('is refused with a password in its address, or written out', () => {
    for (const entry of [
      { url: 'http://ana:planted@connect:8083' },
      { url: 'http://connect:8083', basic: { username: 'ana', password: 'planted' } },
    ]) {
      assert.throws(
        () => connect(entry),
        (error: Error) => /connects\.onprem/.test(error.message) && !/planted/.test(error.message),
      );
    }
  });
});

describe('a schema registry in clusters.yaml', () => {
  const registry = (entry: object) =>
    cluster({ registry: { url: 'https://registry.example/api/', ...entry } }).registry;

  it('is asked with a password or a token, and trusts the authority that is named', () => {
    assert.deepEqual(registry({ username: 'cutover', password: { env: 'P' }, ca }), {
      url: 'https://registry.example/api',
      authorization: `Basic ${Buffer.from(`cutover:${env.P}`).toString('base64')}`,
      ca: authority.cert.trim(),
    });
    assert.equal(registry({ token: { file: 'token' } })?.authorization, 'Bearer a.b.c');
    assert.equal(registry({})?.authorization, null);
    assert.equal(cluster({}).registry, null);
  });

  it('is refused with half a login, two, or one in its address', () => {
    for (const [entry, wanted] of [
      [{ username: 'cutover' }, /belong together/],
      [{ username: 'cutover', password: { env: 'P' }, token: { env: 'T' } }, /not both/],
      [{ url: 'https://cutover:planted-password@registry.example' }, /a URL without a user/],
    ] as const) {
      assert.throws(
        () => registry(entry),
        (error: Error) => wanted.test(error.message) && !error.message.includes(env.P),
      );
    }
  });
});

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

describe('Kubernetes in clusters.yaml', () => {
  const read = (entries: object, more: NodeJS.ProcessEnv = {}) =>
    parseClusters(JSON.stringify({ kubernetes: entries }), join(folder, 'clusters.yaml'), { ...env, ...more });

  it('is a server, its authority and a login; a token in a file is read when it is needed', () => {
    const file = read({
      prod: { server: 'https://k8s:6443/', ca, token: { file: 'token' } },
      test: { server: 'https://k8s:6443', ...certificate('own') },
      proxied: { server: 'http://127.0.0.1:8001' },
    });
    assert.deepEqual(file.kubernetesNames, ['prod', 'test', 'proxied']);
    assert.deepEqual(file.kubernetes('prod'), {
      name: 'prod',
      server: 'https://k8s:6443',
      ca: authority.cert.trim(),
      token: { path: join(folder, 'token') },
    });
    const { cert, key } = file.kubernetes('test');
    assert.deepEqual([cert, key], [own.cert.trim(), own.key.trim()]);
    assert.equal(file.kubernetes('proxied').token, undefined);
    assert.throws(() => file.kubernetes('nowhere'), {
      code: 'KUBERNETES_UNKNOWN',
      message: /found nowhere, wanted one of: prod, test, proxied/,
    });
  });

  it("takes a pod's own server where none is named", () => {
    const inPod = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    const file = read({ here: { ca, token: { env: 'T' } } }, inPod);
    const { server, token } = file.kubernetes('here');
    assert.deepEqual([server, token], ['https://[fd00::1]:443', { value: env.T }]);
    // Named or not, what is left out is the service account's.
    const where = { code: 'CLUSTERS_INVALID', message: /serviceaccount\/ca\.crt/ };
    assert.throws(() => read({ here: {} }, inPod).kubernetes('here'), where);
    assert.throws(() => read({}, inPod).kubernetes(null), where);
  });

  it("is no hindrance outside a pod until the pod's own is asked for", () => {
    const file = read({ here: {}, there: { server: 'https://k8s:6443' } });
    assert.equal(file.kubernetes('there').server, 'https://k8s:6443');
    const elsewhere = { code: 'KUBERNETES_UNKNOWN', message: /this process runs in no pod/ };
    assert.throws(() => file.kubernetes('here'), elsewhere);
  });

  it('is refused where a login would go over plain http, or is written out', () => {
    const refusedFor = (entry: object, message: RegExp) =>
      assert.throws(() => read({ prod: entry }), { code: 'CLUSTERS_INVALID', message });
    refusedFor({ server: 'http://k8s:8080', token: { env: 'T' } }, /https only/);
    refusedFor({ server: 'https://k8s', token: 'planted' }, /a secret is not written here/);
    refusedFor({ server: 'https://k8s', cert: { file: 'own.cert.pem' } }, /belong together/);
  });
});
