/**
 * Every way of coming in, on real brokers: TLS, mutual TLS, and each SASL mechanism, against Kafka 3.9 and 4.3; and every way of being
 * refused, with what the refusal says and what it must never say.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { inspect } from 'node:util';
import { metadataV12 } from '@platformatic/kafka';
import { CutoverError } from '../../contract/errors.ts';
import { createAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { type ConnectAs, credentialsFor, parseClusters, principalName } from '../../kafka/clusters.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { awaited } from '../../kafka/waiting.ts';
import { runMirror } from '../../mirror/mirror.ts';
import type { ExtraListeners } from '../../stack/cluster.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { freePorts } from '../../stack/ports.ts';
import { endAll, run } from '../client/command-line.ts';
import {
  append,
  assertEqualRecords,
  makeTopic,
  mirroredConfigs,
  readRecords,
  variedRecords,
} from '../mirror/support.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { makeAuthority } from './certificates.ts';
import { audience, startTokenIssuer } from './token-issuer.ts';

const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-security-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const write = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

const authority = makeAuthority('the authority');
const stranger = makeAuthority('another authority');
const dayMs = 86_400_000;
const here = ['127.0.0.1'];
const brokerCertificate = authority.issue({ commonName: 'broker', addresses: here });
const expiredCertificate = authority.issue({
  commonName: 'broker',
  addresses: here,
  validFrom: new Date(Date.now() - 20 * dayMs),
  validUntil: new Date(Date.now() - 10 * dayMs),
});
const elsewhereCertificate = authority.issue({ commonName: 'broker', hosts: ['elsewhere.example'] });
const own = authority.issue({ commonName: 'cutover' });
const mirrorOne = authority.issue({ commonName: 'mirror-1' });
const expiredOwn = authority.issue({
  commonName: 'cutover',
  validFrom: new Date(Date.now() - 20 * dayMs),
  validUntil: new Date(Date.now() - 10 * dayMs),
});
const strange = stranger.issue({ commonName: 'cutover' });

write('ca.pem', authority.cert);
write('stranger.pem', stranger.cert);
for (const [name, { cert, key }] of Object.entries({ own, mirrorOne, expiredOwn, strange })) {
  write(`${name}.cert.pem`, cert);
  write(`${name}.key.pem`, key);
}

/** What must never be seen outside of the clusters file. */
const secrets = {
  PASSWORD: `planted-${randomBytes(12).toString('hex')}`,
  CLIENT_SECRET: `planted-${randomBytes(12).toString('hex')}`,
  WRONG: `planted-${randomBytes(12).toString('hex')}`,
};
const issuer = await startTokenIssuer('cutover', secrets.CLIENT_SECRET);
const closedUrl = `http://127.0.0.1:${(await freePorts(1))[0]}/token`;

write('forged.token', (await startTokenIssuer('cutover', 'other')).token('cutover', { iss: issuer.issuer }));
write('expired.token', issuer.token('cutover', { exp: Math.floor(Date.now() / 1000) - 3600 }));
write('audience.token', issuer.token('cutover', { aud: 'another' }));
write('bearer.token', `Bearer ${issuer.token('cutover')}`);

const keystore = ({ cert, key }: { readonly cert: string; readonly key: string }, name: string) => ({
  'ssl.keystore.type': 'PEM',
  'ssl.keystore.location': write(`${name}.pem`, `${key}${cert}`),
});
const wantsCertificate = {
  'ssl.client.auth': 'required',
  'ssl.truststore.type': 'PEM',
  'ssl.truststore.location': join(folder, 'ca.pem'),
};
const plainLogin = `org.apache.kafka.common.security.plain.PlainLoginModule required user_cutover="${secrets.PASSWORD}";`;
const tokenLogin = {
  'sasl.enabled.mechanisms': 'OAUTHBEARER',
  'oauthbearer.sasl.jaas.config': 'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;',
  'oauthbearer.sasl.server.callback.handler.class':
    'org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler',
  'oauthbearer.sasl.oauthbearer.jwks.endpoint.url': issuer.keysUrl,
  'oauthbearer.sasl.oauthbearer.expected.audience': audience,
  'oauthbearer.sasl.oauthbearer.expected.issuer': issuer.issuer,
};
const scramModule = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
const listeners: ExtraListeners = {
  open: { protocol: 'PLAINTEXT' },
  tls: { protocol: 'SSL', config: keystore(brokerCertificate, 'broker') },
  expired: { protocol: 'SSL', config: keystore(expiredCertificate, 'expired') },
  elsewhere: { protocol: 'SSL', config: keystore(elsewhereCertificate, 'elsewhere') },
  mtls: { protocol: 'SSL', config: { ...keystore(brokerCertificate, 'broker'), ...wantsCertificate } },
  mtls12: {
    protocol: 'SSL',
    config: { ...keystore(brokerCertificate, 'broker'), ...wantsCertificate, 'ssl.enabled.protocols': 'TLSv1.2' },
  },
  scram: {
    protocol: 'SASL_SSL',
    config: {
      ...keystore(brokerCertificate, 'broker'),
      'sasl.enabled.mechanisms': 'SCRAM-SHA-256,SCRAM-SHA-512',
      'scram-sha-256.sasl.jaas.config': scramModule,
      'scram-sha-512.sasl.jaas.config': scramModule,
    },
  },
  plain: {
    protocol: 'SASL_PLAINTEXT',
    config: { 'sasl.enabled.mechanisms': 'PLAIN', 'plain.sasl.jaas.config': plainLogin },
  },
  oauth: { protocol: 'SASL_SSL', config: { ...keystore(brokerCertificate, 'broker'), ...tokenLogin } },
  // Sessions of two seconds: each connection has to log in again and again.
  brief: { protocol: 'SASL_PLAINTEXT', config: { ...tokenLogin, 'oauthbearer.connections.max.reauth.ms': '2000' } },
};
// What comes in without a name may do everything here: whether it came in is all that is asked.
const brokerConfig = { 'super.users': 'User:broker;User:cutover;User:CN=cutover;User:ANONYMOUS' };
const { stack } = await ownStack({
  parts: ['source', 'target'],
  listeners,
  brokerConfig: { source: brokerConfig, target: brokerConfig },
  // Kafka 4 takes no address that is not listed here (3.9: any).
  systemProperties: { 'org.apache.kafka.sasl.oauthbearer.allowed.urls': issuer.keysUrl },
});
const sides = { legacy: stack.source, next: stack.target } as const;
type Side = keyof typeof sides;

function local(side: Side) {
  const cluster = sides[side];
  assert.ok(cluster);
  return cluster;
}

/** An entry of clusters.yaml as people write it. `bootstrap` is the listener's name. */
function config(side: Side, listener: string, login: object) {
  const cluster = local(side);
  const bootstrap = cluster.listeners[listener];
  const text = JSON.stringify({ [side]: { bootstrap, ...login } });
  const env = { ...secrets, SCRAM: cluster.users.cutover, TOKEN: issuer.token('cutover') };
  return parseClusters(text, join(folder, 'clusters.yaml'), env).cluster(side);
}

const opened: Cluster[] = [];
after(async () => {
  for (const cluster of opened) await cluster.close();
});
async function connect(side: Side, listener: string, login: object, as?: ConnectAs): Promise<Cluster> {
  const cluster = await Cluster.connect(config(side, listener, login), as === undefined ? {} : { as });
  opened.push(cluster);
  return cluster;
}

const trusted = { tls: { ca: { file: 'ca.pem' } } };
const withCertificate = (name: string) => ({
  tls: { ca: { file: 'ca.pem' }, cert: { file: `${name}.cert.pem` }, key: { file: `${name}.key.pem` } },
});
const scram = (bits: 256 | 512) => ({
  ...trusted,
  sasl: { mechanism: `scram-sha-${bits}`, username: 'cutover', password: { env: 'SCRAM' } },
});
const plain = { sasl: { mechanism: 'plain', username: 'cutover', password: { env: 'PASSWORD' } } };
const clientCredentials = (secret = 'CLIENT_SECRET') => ({
  mechanism: 'oauthbearer',
  clientCredentials: { tokenUrl: issuer.tokenUrl, clientId: 'cutover', clientSecret: { env: secret }, scope: 'kafka' },
});

const ways: Record<string, readonly [listener: string, login: object]> = {
  TLS: ['tls', trusted],
  'TLS with a server name': ['elsewhere', { tls: { ca: { file: 'ca.pem' }, serverName: 'elsewhere.example' } }],
  'mutual TLS 1.3': ['mtls', withCertificate('own')],
  'mutual TLS 1.2': ['mtls12', withCertificate('own')],
  'SCRAM-SHA-256 over TLS': ['scram', scram(256)],
  'SCRAM-SHA-512 over TLS': ['scram', scram(512)],
  PLAIN: ['plain', plain],
  'OAUTHBEARER with a token': ['oauth', { ...trusted, sasl: { mechanism: 'oauthbearer', token: { env: 'TOKEN' } } }],
  'OAUTHBEARER with client credentials': ['oauth', { ...trusted, sasl: clientCredentials() }],
  'nothing, where nothing is wanted': ['open', {}],
};

describe('a cluster is reached', () => {
  for (const side of ['legacy', 'next'] as const) {
    for (const [way, [listener, login]] of Object.entries(ways)) {
      it(`over ${way}, to see, write and read (Kafka ${local(side).version})`, async () => {
        // Given
        const cluster = await connect(side, listener, login);
        const topic = uniqueName('security');
        await makeTopic(cluster, topic, 1, {});
        const records = variedRecords(20);

        // When
        await append(cluster, topic, 0, { records });

        // Then
        assert.equal((await readRecords(cluster, topic)).length, 20);
        assert.deepEqual([...(await cluster.metadata([topic])).topics.keys()], [topic]);
        // The brokers that it names are behind the same listener.
        assert.deepEqual(
          cluster.brokers.map(({ host, port }) => `${host}:${port}`).join(','),
          local(side).listeners[listener],
        );
      });
    }
  }
});

describe('a topic is mirrored', () => {
  const pairs: Record<string, readonly [string, object, string, object]> = {
    'from TLS to mutual TLS': ['tls', trusted, 'mtls', withCertificate('own')],
    'from mutual TLS to OAUTHBEARER': [
      'mtls',
      withCertificate('own'),
      'oauth',
      { ...trusted, sasl: clientCredentials() },
    ],
    'from SCRAM to PLAIN': ['scram', scram(512), 'plain', plain],
    // Each login is good for two seconds, and the mirror goes on for four: renewed in the middle of the traffic.
    'through sessions that end and are renewed': [
      'brief',
      { sasl: clientCredentials() },
      'brief',
      { sasl: clientCredentials() },
    ],
  };
  for (const [way, [fromListener, fromLogin, intoListener, intoLogin]] of Object.entries(pairs)) {
    it(way, async () => {
      // Given
      const from = await connect('legacy', fromListener, fromLogin);
      const into = await connect('next', intoListener, intoLogin);
      const topic = uniqueName('secure-mirror');
      await makeTopic(from, topic, 1, { 'retention.ms': '-1' });
      await makeTopic(into, topic, 1, mirroredConfigs);
      for (let batch = 0; batch < 20; batch++) {
        await append(from, topic, 0, { records: variedRecords(50, batch * 50, 1_000) });
      }
      const producerId = await allocateProducerId(into);

      // When
      const { records } = await runMirror({
        from,
        into,
        partitions: [{ topic, topicId: '', partition: 0, producerId, otherProducerId: null }],
        signal: AbortSignal.timeout(120_000),
        untilCaughtUp: true,
        ...(fromListener === 'brief' && { maxBytesPerSecond: () => 200_000 }),
      });

      // Then
      assert.equal(records, 1_000);
      assertEqualRecords(await readRecords(into, topic), await readRecords(from, topic));
      const seen = await readWithJava(local('next'), 'cutover', topic);
      assert.equal(seen.records.length, 1_000);
    });
  }
});

describe('a session', () => {
  for (const side of ['legacy', 'next'] as const) {
    it(`is renewed before it ends, and no request fails of it (Kafka ${local(side).version})`, async () => {
      // Given: an answer is always on its way
      const cluster = await connect(side, 'brief', { sasl: clientCredentials() });
      const connection = await cluster.open(cluster.brokers[0]?.id ?? -1);
      after(() => connection.close());
      let renewals = 0;
      connection.on('sasl:authentication:extended', () => {
        renewals++;
      });
      let answers = 0;
      const ask = async () => {
        while (renewals < 3) {
          await metadataV12.api.async(connection, [], false, false);
          answers++;
        }
      };

      // When
      await Promise.all(Array.from({ length: 8 }, ask));

      // Then
      assert.ok(answers > 0);
      assert.ok(connection.isConnected());
    });

    it(`whose renewal is refused ends, and the next login says why (Kafka ${local(side).version})`, async () => {
      // Given
      writeFileSync(join(folder, 'renewed.token'), issuer.token('cutover'));
      const fromFile = { mechanism: 'oauthbearer', token: { file: 'renewed.token' } };
      const cluster = await connect(side, 'brief', { sasl: fromFile });
      const connection = await cluster.open(cluster.brokers[0]?.id ?? -1);
      const ended = new Promise<void>((resolve) => connection.once('close', resolve));

      // When
      writeFileSync(join(folder, 'renewed.token'), issuer.token('cutover', { aud: 'another' }));
      await ended;

      // Then
      assert.ok(!connection.isConnected());
      await assert.rejects(cluster.open(cluster.brokers[0]?.id ?? -1), { code: 'CLUSTER_AUTH_FAILED' });
    });
  }
});

describe('a mirror principal', () => {
  it('logs in as itself, under the name that the file gives it', async () => {
    // Given
    const login = {
      ...withCertificate('own'),
      mirrorPrincipals: [
        {
          tls: { cert: { file: 'mirrorOne.cert.pem' }, key: { file: 'mirrorOne.key.pem' } },
          principal: 'User:CN=mirror-1',
        },
      ],
    };
    const topic = uniqueName('principal');
    const cluster = await connect('next', 'mtls', login);
    await makeTopic(cluster, topic, 1, {});
    const mirror = await connect('next', 'mtls', login, { mirrorPrincipal: 0 });
    const principal = principalName(credentialsFor(mirror.config, mirror.as)) ?? '';
    assert.equal((await mirror.metadata([topic])).topics.size, 0);

    // When
    await createAcls(cluster, [
      {
        resourceType: 'topic',
        resourceName: topic,
        patternType: 'literal',
        principal,
        host: '*',
        operation: 'describe',
        permission: 'allow',
      },
    ]);

    // Then: the broker knows it by that name
    await awaited('the rule', topic, async () =>
      (await mirror.metadata([topic])).topics.size === 1 ? null : 'no topic',
    );
  });

  it('that clusters.yaml does not list is refused', async () => {
    const login = { ...withCertificate('own'), mirrorPrincipals: [] };
    await assert.rejects(connect('next', 'mtls', login, { mirrorPrincipal: 0 }), { code: 'CLUSTERS_INVALID' });
  });
});

/** Logs in, and gives the refusal; fails where there is none. */
async function refusal(side: Side, listener: string, login: object): Promise<CutoverError> {
  try {
    await using cluster = await Cluster.connect(config(side, listener, login));
    assert.fail(`logged in to ${cluster.clusterId}`);
  } catch (error) {
    assert.ok(error instanceof CutoverError, inspect(error));
    return error;
  }
}

/** None of the secrets, in any clothes, anywhere in what a log or a report could print of it. */
function assertNoSecret(error: CutoverError): void {
  const shown = [
    error.message,
    JSON.stringify(error),
    JSON.stringify(error.detail),
    error.stack,
    inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true, maxStringLength: null, maxArrayLength: null }),
  ].join('\n');
  const shownBytes = shown.replace(/<Buffer ([^>]*)>/g, (_, hex: string) =>
    Buffer.from(hex.replace(/ /g, ''), 'hex').toString('latin1'),
  );
  for (const secret of [...Object.values(secrets), issuer.token('cutover').split('.')[2] ?? '']) {
    for (const form of [secret, encodeURIComponent(secret), Buffer.from(`cutover:${secret}`).toString('base64')]) {
      assert.ok(!shown.includes(form) && !shownBytes.includes(form), `a secret shows in ${error.message}`);
    }
  }
}

const refusals: Record<string, readonly [listener: string, login: object, code: string, says: readonly RegExp[]]> = {
  'a certificate of an authority that is not trusted': [
    'tls',
    { tls: { ca: { file: 'stranger.pem' } } },
    'CLUSTER_AUTH_FAILED',
    [/broker's certificate is not trusted/, /UNABLE_TO_VERIFY_LEAF_SIGNATURE/, /`tls\.ca`/],
  ],
  "a certificate that none of the system's authorities vouches for": [
    'tls',
    { tls: {} },
    'CLUSTER_AUTH_FAILED',
    [/one of the system's authorities/, /tls: \{ ca:/],
  ],
  'an expired certificate': ['expired', trusted, 'CLUSTER_AUTH_FAILED', [/has expired/, /CERT_HAS_EXPIRED/, /Renew/]],
  'a certificate for another host': [
    'elsewhere',
    trusted,
    'CLUSTER_AUTH_FAILED',
    [/for another host/, /elsewhere|127\.0\.0\.1/, /tls\.serverName/],
  ],
  'no TLS on a port with TLS': ['tls', {}, 'CLUSTER_AUTH_FAILED', [/speaks TLS on this port/, /tls: \{\}/]],
  'SASL without TLS on a port with both': [
    'scram',
    { sasl: scram(512).sasl },
    'CLUSTER_AUTH_FAILED',
    [/speaks TLS on this port/],
  ],
  // Also what a broker looks like that dies in the handshake, so this may be tried again.
  'TLS on a port without': ['open', trusted, 'CLUSTER_UNREACHABLE', [/may be one without TLS/]],
  'no login on a port that wants one': ['plain', {}, 'CLUSTER_UNREACHABLE', [/closed the connection/, /want `sasl`/]],
  'a login on a port that takes none': ['open', plain, 'CLUSTER_AUTH_FAILED', [/takes no login/, /Leave `sasl` out/]],
  'no client certificate where one is wanted': [
    'mtls',
    trusted,
    'CLUSTER_AUTH_FAILED',
    [/does not take our certificate/, /none, since clusters\.yaml names none/, /tls\.cert/],
  ],
  'no client certificate where one is wanted, in TLS 1.2': [
    'mtls12',
    trusted,
    'CLUSTER_AUTH_FAILED',
    [/does not take our certificate/],
  ],
  'a client certificate of a strange authority': [
    'mtls',
    withCertificate('strange'),
    'CLUSTER_AUTH_FAILED',
    [/does not take our certificate/, /the one in `tls\.cert`/],
  ],
  'an expired client certificate': [
    'mtls',
    withCertificate('expiredOwn'),
    'CLUSTER_AUTH_FAILED',
    [/does not take our certificate/],
  ],
  'a wrong password, by PLAIN': [
    'plain',
    { sasl: { ...plain.sasl, password: { env: 'WRONG' } } },
    'CLUSTER_AUTH_FAILED',
    [/login refused/, /SASL_AUTHENTICATION_FAILED/, /as cutover/, /user name and password/],
  ],
  'a wrong password, by SCRAM': [
    'scram',
    { ...trusted, sasl: { ...scram(512).sasl, password: { env: 'WRONG' } } },
    'CLUSTER_AUTH_FAILED',
    [/login refused/, /SCRAM-SHA-512 as cutover/],
  ],
  'a user that does not exist': [
    'scram',
    { ...trusted, sasl: { ...scram(256).sasl, username: 'nobody' } },
    'CLUSTER_AUTH_FAILED',
    [/as nobody/],
  ],
  'a mechanism that is not enabled': [
    'plain',
    { sasl: { ...plain.sasl, mechanism: 'scram-sha-256' } },
    'CLUSTER_AUTH_FAILED',
    [/does not offer SCRAM-SHA-256/, /found PLAIN/, /sasl\.enabled\.mechanisms/],
  ],
  'a token signed by somebody else': [
    'oauth',
    { ...trusted, sasl: { mechanism: 'oauthbearer', token: { file: 'forged.token' } } },
    'CLUSTER_AUTH_FAILED',
    [/does not take the token/, /invalid_token/],
  ],
  'an expired token': [
    'oauth',
    { ...trusted, sasl: { mechanism: 'oauthbearer', token: { file: 'expired.token' } } },
    'CLUSTER_AUTH_FAILED',
    [/does not take the token/],
  ],
  'a token for another audience': [
    'oauth',
    { ...trusted, sasl: { mechanism: 'oauthbearer', token: { file: 'audience.token' } } },
    'CLUSTER_AUTH_FAILED',
    [/does not take the token/, /audience/],
  ],
  'what is no token': [
    'oauth',
    { ...trusted, sasl: { mechanism: 'oauthbearer', token: { file: 'bearer.token' } } },
    'CLUSTER_AUTH_FAILED',
    [/is none/, /no `Bearer `/],
  ],
  'a client secret that the token endpoint does not take': [
    'oauth',
    { ...trusted, sasl: clientCredentials('WRONG') },
    'CLUSTER_AUTH_FAILED',
    [/HTTP 401, invalid_client/, /clientSecret/],
  ],
  'a token endpoint that does not answer': [
    'oauth',
    {
      ...trusted,
      sasl: {
        mechanism: 'oauthbearer',
        clientCredentials: { ...clientCredentials().clientCredentials, tokenUrl: closedUrl },
      },
    },
    'CLUSTER_UNREACHABLE',
    [/token endpoint does not answer/, /ECONNREFUSED/],
  ],
};
describe('a login that cannot work says what is wrong, and no secret', () => {
  for (const side of ['legacy', 'next'] as const) {
    for (const [what, [listener, login, code, says]] of Object.entries(refusals)) {
      it(`${what} (Kafka ${local(side).version})`, async () => {
        const error = await refusal(side, listener, login);

        assert.equal(error.code, code, error.message);
        for (const text of says) assert.match(error.message, text);
        assert.match(error.message, new RegExp(`cluster ${side}, broker 127\\.0\\.0\\.1:`));
        assertNoSecret(error);
      });
    }
  }
});

describe('the command line', () => {
  after(endAll);

  it('shows no secret of logins that are refused', async () => {
    // Given
    const entry = (side: Side, login: object) => ({ bootstrap: local(side).listeners.plain, ...login });
    const wrong = { sasl: { ...plain.sasl, password: { env: 'WRONG' } } };
    const clusters = write(
      'refused.yaml',
      JSON.stringify({ legacy: entry('legacy', plain), next: entry('next', wrong) }),
    );
    const plan = write(
      'plan.yaml',
      JSON.stringify({ name: 'secrets', source: 'legacy', target: 'next', topics: { include: ['x'] } }),
    );

    for (const command of ['plan', 'verify', 'mirror', 'unfence']) {
      // When
      const { exitCode, stdout, stderr } = await run([command, plan, '--json'], {
        ...secrets,
        KAFKA_CUTOVER_CLUSTERS: clusters,
        KAFKA_CUTOVER_LOG_LEVEL: 'trace',
      });

      // Then
      assert.notEqual(exitCode, 0, stdout);
      assert.match(stdout + stderr, /CLUSTER_AUTH_FAILED/, command);
      for (const secret of Object.values(secrets)) assert.ok(!(stdout + stderr).includes(secret), command);
    }
  });
});
