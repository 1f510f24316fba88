/**
 * A secret is planted in everything that takes one, a whole migration runs and others fail in every way in which a login can; then all that anybody
 * could read afterwards is searched, in every form in which a program may have written it. The systems that we log in to answer with all that they were
 * sent, as some proxies do.
 *
 * It can fail: when it was written it found the logins of a registry, a Connect cluster and Confluent's API in histories, storage, log and output, since their
 * answers were shown as they came (leave `withoutLogin` out of kafka/http.ts, and they are found again), and Slack's token in the log of an app that ended by
 * an error which nobody caught (`deferInitialization` in client/slack/app.ts).
 */
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { stringify } from 'yaml';
import { answersPath, senderHeader } from '../../client/listener.ts';
import { readSlackPolicy } from '../../client/slack/policy.ts';
import { type Status, taskQueues, workflowId, workflowType } from '../../contract/status.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { deleteScramUser, describeScramUsers, upsertScramUser } from '../../kafka/scram.ts';
import { storageTopic } from '../../migration/storage-topic.ts';
import { sign, signatureHeader, timestampHeader } from '../../migration/switches/webhook.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { freePorts } from '../../stack/ports.ts';
import { makeAuthority } from '../kafka/certificates.ts';
import { secretsIn } from '../support/secrets.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate, type Side } from './support/estate.ts';
import { Operator, type Ran, withoutTemporal } from './support/operator.ts';
import { Process } from './support/processes.ts';
import { waitFor } from './support/waiting.ts';
import { cli, WorkerProcess } from './support/worker.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const name = uniqueName('secrets');
const [topic, application] = [`${name}.created`, `${name}-app`];
const waitMs = 60_000;

/** Everything that systems were sent. */
const told: string[] = [];
/** The same by where it was sent, without the login that stands before it. */
const bodies: [path: string, body: string][] = [];
/** Answers with what it was sent; a webhook's call is taken when it comes again. */
const echo = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const taken = request.url === '/webhook' && told.some((one) => one.startsWith('/webhook '));
  told.push(`${request.url} ${JSON.stringify(request.headers)} ${body}`);
  bodies.push([request.url ?? '', body]);
  response.writeHead(taken ? 200 : 400, { 'content-type': 'application/json' });
  const said = `${body} ${JSON.stringify(request.headers)}`;
  response.end(JSON.stringify({ ok: false, error: 'invalid_request', error_description: said, message: said }));
});
echo.listen(0, '127.0.0.1');
await once(echo, 'listening');
after(() => {
  echo.closeAllConnections();
  echo.close();
});
const host = `127.0.0.1:${(echo.address() as AddressInfo).port}`;
const url = `http://${host}`;
const [metricsPort = 0, listenPort = 0, dashboardPort = 0, codecPort = 0] = await freePorts(4);

const operator = await Operator.at(stack);
const connection = await Connection.connect({ address: stack.temporal?.address ?? '' });
after(() => connection.close());
const temporal = new Client({ connection, namespace: operator.env.TEMPORAL_NAMESPACE ?? '' });
const env: Record<string, string> = {
  ...operator.env,
  KAFKA_CUTOVER_LOG_LEVEL: 'trace',
  KAFKA_CUTOVER_METRICS: `127.0.0.1:${metricsPort}`,
  KAFKA_CUTOVER_DEBUG: 'yes',
};
const file = (path: string, text: string) => {
  writeFileSync(join(operator.dir, path), text, { mode: 0o600 });
  return join(operator.dir, path);
};

/** What was planted, by what it is. */
const planted = new Map<string, string>();
/** With what each encoding writes otherwise. */
const newSecret = () => `planted-${randomBytes(12).toString('hex')}+/=&%"`;
const newToken = (prefix: string) => `${prefix}${randomBytes(15).toString('base64url')}`;
function plant(what: string, secret = newSecret()): string {
  // Of a key in PEM a line is enough to know it by.
  planted.set(what, secret.startsWith('-----') ? (secret.split('\n')[1] ?? '') : secret);
  return secret;
}
function inEnv(what: string, secret?: string) {
  const variable = `PLANTED_${planted.size}`;
  env[variable] = plant(what, secret);
  return { env: variable };
}
const inFile = (what: string, secret?: string) => ({ file: file(`planted-${planted.size}`, plant(what, secret)) });

const approver = generateKeyPairSync('ed25519');
const certificate = makeAuthority('planted').issue({ commonName: 'planted' });
const passphrase = newSecret();
const lockedKey = createPrivateKey(certificate.key)
  .export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase })
  .toString();
const cert = { file: file('cert.pem', certificate.cert) };

const scram = (side: Side, user: string, secret: typeof inEnv | typeof inFile) => ({
  sasl: {
    mechanism: 'scram-sha-512',
    username: user,
    password: secret(`${side}, password of ${user}`, estate.local(side).users[user]),
  },
});
const entry = (side: Side) => ({
  bootstrap: estate.local(side).bootstrap,
  ...scram(side, 'cutover', inEnv),
  forward: scram(side, 'mirror-forward', inFile),
  reverse: scram(side, 'mirror-reverse', inFile),
  registry: { url: `${url}/${side}`, username: 'registry-user', password: inEnv(`${side}, registry`) },
});
const { bootstrap } = estate.local('source');
const clientCredentials = { tokenUrl: `${url}/token`, clientId: 'us', clientSecret: inEnv('OAuth client') };
const key = { key: inFile('TLS key', lockedKey), keyPassphrase: inEnv('passphrase of the TLS key', passphrase) };
Object.assign(env, {
  AWS_ACCESS_KEY_ID: 'AKIAPLANTED',
  AWS_SECRET_ACCESS_KEY: plant('AWS', newToken('')),
  AWS_SESSION_TOKEN: plant('AWS session', newToken('')),
});
/** Clusters that nobody gets into. */
const refusing = {
  refused: {
    bootstrap,
    sasl: { mechanism: 'scram-sha-512', username: 'cutover', password: inEnv('a wrong password') },
  },
  plain: { bootstrap, sasl: { mechanism: 'plain', username: 'cutover', password: inEnv('a password in plain') } },
  token: { bootstrap, sasl: { mechanism: 'oauthbearer', token: inFile('OAuth token', newToken('e30.')) } },
  oauth: { bootstrap, sasl: { mechanism: 'oauthbearer', clientCredentials } },
  mutual: { bootstrap, tls: { cert, ...key } },
  msk: { bootstrap, tls: {}, sasl: { mechanism: 'aws-msk-iam', region: 'eu-central-1' } },
  unreachable: {
    bootstrap: '127.0.0.1:1',
    sasl: { mechanism: 'plain', username: 'u', password: inEnv('unreachable') },
  },
};
const clustersFile = file(
  'clusters.yaml',
  stringify({
    legacy: entry('source'),
    next: {
      ...entry('target'),
      scramUsers: { [application]: { mechanism: 'scram-sha-512', password: inEnv('a user that is created') } },
    },
    ...refusing,
    webhooks: { deployer: { url: `${url}/webhook`, secret: inEnv('webhook') } },
    senders: { pipeline: { secret: inEnv('sender'), as: ['kafka-owner'] } },
    kubernetes: { prod: { server: `https://${host}`, token: inFile('Kubernetes') } },
    connects: { onprem: { url, basic: { username: 'connect-user', password: inEnv('Connect') } } },
    replicators: {
      linking: {
        kind: 'cluster-linking',
        target: { url: `${url}/kafka/v3`, basic: { username: 'key', password: inEnv('Confluent') } },
      },
      automq: {
        kind: 'automq-linking',
        url,
        environment: 'e',
        instance: 'i',
        accessKeyId: 'id',
        secretAccessKey: inEnv('AutoMQ'),
      },
    },
    approvers: {
      'kafka-owner': {
        keys: [{ file: file('approver.pub', approver.publicKey.export({ format: 'pem', type: 'spki' }).toString()) }],
      },
    },
  }),
);
const signingKey = inFile('an approver’s key', approver.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());
const slackFile = file(
  'slack.yaml',
  stringify({
    channel: 'C0123456789',
    botToken: inEnv('Slack bot', newToken('xoxb-')),
    appToken: inFile('Slack app', newToken('xapp-')),
    key: signingKey,
    users: { U0AAAAAAA01: 'kafka-owner' },
    api: url,
  }),
);
const codecFile = (...key: Parameters<typeof inEnv>) =>
  file(`codec-${planted.size}.yaml`, stringify({ current: 'k', keys: { k: inEnv(...key) } }));
const codecOf = codecFile('codec', randomBytes(32).toString('base64'));
const brokenCodec = codecFile('a codec key that is none');
Object.assign(env, {
  KAFKA_CUTOVER_CLUSTERS: clustersFile,
  KAFKA_CUTOVER_DASHBOARD_TOKEN: plant('dashboard'),
});
/** A local server takes any key, and needs no TLS for it. */
const apiKey = { TEMPORAL_API_KEY: plant('Temporal API key', newToken('key-')), TEMPORAL_TLS: 'false' };
/** Of the collector that traces are sent to. */
const collector = {
  OTEL_EXPORTER_OTLP_ENDPOINT: `${url}/otel`,
  OTEL_EXPORTER_OTLP_HEADERS: `authorization=${encodeURIComponent(plant('collector of traces'))}`,
  OTEL_BSP_SCHEDULE_DELAY: '500',
};
/** Records never leave the clusters. */
const record = plant('a record');

const planOf = (more: Readonly<Record<string, unknown>>) => ({
  name,
  source: 'legacy',
  target: 'next',
  topics: { include: [topic.replaceAll('.', '\\.')] },
  gates: {
    cutover: { approvals: 1, approvers: ['kafka-owner'], proof: 'required' },
    producers: { approvals: 0 },
    consumers: { approvals: 0 },
    finalize: { approvals: 1 },
  },
  notify: ['deployer'],
  verify: { producersWait: '0s' },
  ...more,
});
const configMap = { kubernetes: 'prod', namespace: 'shop', name: 'kafka', key: 'bootstrap', restart: ['orders'] };
const failing: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  ...Object.fromEntries(Object.keys(refusing).map((source) => [source, { source }])),
  registry: { schemas: {} },
  connect: { replicator: { kind: 'mirrormaker2', connect: 'onprem' } },
  confluent: { replicator: { kind: 'cluster-linking', at: 'linking' } },
  automq: { replicator: { kind: 'automq-linking', at: 'automq' } },
  kubernetes: { producers: { switch: 'config-map', configMap } },
};

/** What was searched, by what it is. */
const outputs = new Map<string, string>();
async function run(
  what: string,
  args: readonly string[],
  exitCode: number | null = 0,
  more: object = {},
): Promise<Ran> {
  const ran = await operator.run(args, { env: { ...env, ...more } });
  outputs.set(what, ran.stdout + ran.stderr);
  if (exitCode === null) assert.notEqual(ran.exitCode, 0, `${what}\n${ran.stdout}${ran.stderr}`);
  else assert.equal(ran.exitCode, exitCode, `${what}\n${ran.stdout}${ran.stderr}`);
  return ran;
}

/** Each started by its own command; ended with the file. */
function serving(what: string, ...args: string[]): Process {
  const process = new Process(operator.dir, what, [cli, ...args], {
    ...env,
    KAFKA_CUTOVER_CODEC: what === 'codec' ? codecOf : '',
  });
  after(() => process.kill());
  return process;
}

/** What was written where no secret belongs, in a file that is refused. */
function refusals(): string {
  const inline = plant('written into a file');
  const address = `http://u:${encodeURIComponent(inline)}@${host}`;
  const files: unknown[] = [
    { legacy: { bootstrap, sasl: { mechanism: 'plain', username: 'u', password: inline } } },
    { legacy: { bootstrap: `u:${inline}@${bootstrap}` } },
    { legacy: { bootstrap, tls: { cert, ...key, keyPassphrase: inEnv('a wrong passphrase') } } },
    { webhooks: { deployer: { url: address, secret: { env: 'PATH' } } } },
    { kubernetes: { prod: { server: address } } },
    { connects: { onprem: { url: address } } },
    { replicators: { linking: { kind: 'cluster-linking', target: { url: `${address}/v3` } } } },
    { legacy: { bootstrap, registry: { url: address } } },
    { approvers: { ana: { keys: [inline] } } },
  ].map((each) => stringify(each));
  const yaml = [`password: *${inline}`, `password: @${inline}`, `password: "${inline}`, `a: 1\na: ${inline}`];
  const thrown: unknown[] = [];
  for (const text of [...files, ...yaml]) {
    const caught = (read: () => unknown) => {
      try {
        read();
      } catch (error) {
        thrown.push(error);
      }
    };
    caught(() => parseClusters(text as string, 'clusters.yaml', env));
    caught(() => readSlackPolicy(file('slack-inline.yaml', text as string), env));
  }
  assert.equal(thrown.length, 2 * (files.length + yaml.length), 'every one is refused');
  return thrown.map((error) => `${(error as Error).stack} ${JSON.stringify(error)}`).join('\n');
}

describe('secrets', () => {
  it('are found in every form in which programs write texts, so that a search that finds none means something', () => {
    const secret = newSecret();
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    const forms = [
      `password=${secret}`,
      JSON.stringify({ secret }),
      JSON.stringify({ log: JSON.stringify({ secret }) }),
      `https://u:${encodeURIComponent(secret)}@host`,
      new URLSearchParams({ secret }).toString(),
      Buffer.from(secret).toString('hex'),
      ...['', 'u', 'us', 'use'].map((user) => `Basic ${base64(`${user}:${secret}`)}`),
      Buffer.from(`u:${secret}\n`).toString('base64url'),
      base64(JSON.stringify({ headers: { authorization: base64(`user:${secret}`) } })),
      `<td>${secret.replaceAll('&', '&amp;').replaceAll('"', '&quot;')}</td>`,
    ];
    for (const text of forms)
      assert.deepEqual(secretsIn(`before ${text} after`, new Map([['it', secret]])), ['it'], text);
    assert.deepEqual(secretsIn(forms.join(), new Map([['another', newSecret()]])), []);
  });

  it('are in nothing that can be read afterwards: history, storage, report, status, logs, metrics, messages, errors', async (t) => {
    outputs.set('refused files', refusals());
    const records = batchOf(['0', '1', record]);
    await estate.createTopic('source', topic);
    await estate.letIn('source', topic, application);
    await upsertScramUser(estate.source, application, newSecret());
    after(async () => {
      for (const side of ['source', 'target'] as const)
        await deleteScramUser(estate[side], application, 'scram-sha-512');
    });
    await estate.append('source', topic, records);
    const worker = new WorkerProcess(operator.dir, 'worker', { ...env, ...apiKey, ...collector });
    after(() => worker.kill());
    await worker.start().ready();
    const slack = serving('slack', 'slack', '--policy', slackFile);
    const listening = {
      listen: serving('listen', 'listen', '--host', '127.0.0.1', '--port', `${listenPort}`),
      dashboard: serving('dashboard', 'dashboard', '--port', `${dashboardPort}`),
      codec: serving('codec', 'codec', '--host', '127.0.0.1', '--port', `${codecPort}`),
    };

    const plan = operator.plan(planOf({}));
    await run('start', ['start', plan]);
    for (const [what, more] of Object.entries(failing)) {
      const args = [planOf({ ...more, name: `${name}-${what}` })];
      await temporal.workflow.start(workflowType, {
        workflowId: workflowId(`${name}-${what}`),
        taskQueue: taskQueues.control,
        args,
      });
    }
    // The same in the foreground, and what our own files say.
    const foreground = async (kinds: readonly string[]) => {
      for (const what of kinds) {
        await run(`plan, ${what}`, ['plan', operator.plan(planOf(failing[what] ?? {})), '--json'], null);
      }
    };
    await Promise.all([foreground(['oauth', 'registry']), foreground(['refused', 'connect'])]);
    await Promise.all([
      (async () => {
        await run('acls', ['acls', plan]);
        await run(
          'a key that is none',
          ['approve', name, 'cutover', '--by', 'kafka-owner', '--key', clustersFile],
          null,
        );
      })(),
      (async () => {
        await run('a codec without a key', ['status', name], null, { KAFKA_CUTOVER_CODEC: brokenCodec });
        const nobody = { ...apiKey, TEMPORAL_ADDRESS: host, TEMPORAL_TLS: 'true' };
        await run('no Temporal', ['status', name, '--json'], null, nobody);
      })(),
    ]);
    for (const what of Object.keys(failing)) {
      const handle = temporal.workflow.getHandle(workflowId(`${name}-${what}`));
      await waitFor(`${what} to fail`, waitMs, async () => {
        const { failedStep, state } = await handle.query<Status>('status');
        return failedStep !== null || state === 'failed';
      });
      outputs.set(`history, ${what}`, historyToJSON(await handle.fetchHistory()));
    }

    await operator.gate(name, 'cutover');
    // With its memo, search attributes and the heartbeats of what is under way.
    const described = ['--workflow-id', `cutover/${name}`, '--output', 'json'];
    outputs.set('what Temporal describes', await operator.temporal('workflow', 'describe', ...described));
    const page = `http://127.0.0.1:${dashboardPort}`;
    const events = await fetch(`${page}/m/${name}/events`);
    const { value } = (await events.body?.getReader().read()) ?? {};
    const headers = { authorization: 'Bearer wrong', 'content-type': 'application/json' };
    outputs.set(
      'dashboard',
      [
        await answerOf(`${page}/`),
        await answerOf(`${page}/m/${name}`),
        Buffer.from(value ?? []).toString(),
        await answerOf(`${page}/m/${name}/decisions`, { method: 'POST', headers, body: '{}' }),
      ].join('\n'),
    );
    const payload = { metadata: { encoding: 'YmluYXJ5L2VuY3J5cHRlZA==', 'encryption-key-id': 'aw==' }, data: 'AAAA' };
    const decode = { method: 'POST', body: JSON.stringify({ payloads: [payload] }) };
    outputs.set('codec server', await answerOf(`http://127.0.0.1:${codecPort}/decode`, decode));

    await run('status', ['status', name, '--json'], 0, { ...apiKey, KAFKA_CUTOVER_CODEC: codecOf });
    await run('approve', ['approve', name, 'cutover', '--by', 'kafka-owner', '--key', signingKey.file]);
    await operator.gate(name, 'finalize');
    outputs.set('listener, refused', await answeredBy('a wrong one'));
    outputs.set('listener, taken', await answeredBy(planted.get('sender') ?? ''));
    await operator.state(name, 'completed');
    outputs.set('metrics', await answerOf(`http://127.0.0.1:${metricsPort}/metrics`));
    const handle = temporal.workflow.getHandle(workflowId(name));
    outputs.set('history', historyToJSON(await handle.fetchHistory()));
    await run('status at the end', ['status', name, '--json']);
    await run('proof', ['status', name, '--prove', '--json'], 0, withoutTemporal.env);
    for (const kind of ['html', 'json']) {
      const out = join(operator.dir, `report.${kind}`);
      await run(`report ${kind}, said`, ['report', name, '--out', out]);
      outputs.set(`report ${kind}`, readFileSync(out, 'utf8'));
    }
    for (const side of ['source', 'target'] as const) {
      const { records } = await readWithJava(estate.local(side), 'cutover', storageTopic);
      const ours = records.map(({ key, value }) => `${key} ${value}`).filter((text) => text.includes(name));
      outputs.set(`storage, ${side}`, ours.join('\n'));
    }
    await waitFor('Slack to have been asked', waitMs, () =>
      told.some((one) => one.includes(planted.get('Slack bot') ?? '?')),
    );
    for (const [what, path] of Object.entries({ webhook: '/webhook', traces: '/otel/v1/traces' })) {
      outputs.set(
        what,
        bodies
          .filter(([to]) => to === path)
          .map(([, body]) => body)
          .join('\n'),
      );
    }
    // It gives up where Slack refuses.
    await waitFor('the Slack app to end', waitMs, () => !slack.alive);
    outputs.set('worker log', worker.log);
    for (const one of [slack, ...Object.values(listening)]) outputs.set(`log of ${one.name}`, one.log);

    // Each was really there to be searched, and what was sent to others was really used.
    for (const what of [
      'history',
      'history, oauth',
      'report html',
      'report json',
      'storage, source',
      'storage, target',
      'worker log',
      'metrics',
      'status',
      'dashboard',
      'webhook',
      'traces',
      'what Temporal describes',
    ]) {
      assert.deepEqual(secretsIn(outputs.get(what) ?? '', new Map([['name', name]])), ['name'], what);
    }
    assert.ok((await describeScramUsers(estate.target)).has(application), 'the user was created');
    const found = [...outputs].flatMap(([what, text]) =>
      secretsIn(text, planted).map((secret) => `${secret} in ${what}`),
    );
    const characters = [...outputs.values()].reduce((sum, text) => sum + text.length, 0);
    t.diagnostic(`${planted.size} secrets planted, ${outputs.size} outputs of ${characters} characters searched`);
    assert.deepEqual(found, []);
    const used = secretsIn(told.join('\n'), planted);
    const sent = ['target, registry', 'Slack bot', 'OAuth client', 'Connect', 'Confluent', 'collector of traces'];
    assert.deepEqual(
      sent.filter((what) => !used.includes(what)),
      [],
      'what was not sent to whom it is for',
    );
  });
});

/** Approves gate `finalize` over HTTP, as the sender of clusters.yaml; gives the answer. */
function answeredBy(secret: string): Promise<string> {
  const body = JSON.stringify({ id: '1', migration: name, message: 'approve', gate: 'finalize', by: 'kafka-owner' });
  const timestamp = `${Math.floor(Date.now() / 1_000)}`;
  const signature = { [timestampHeader]: timestamp, [signatureHeader]: sign(secret, timestamp, body) };
  const headers = { [senderHeader]: 'pipeline', ...signature };
  return answerOf(`http://127.0.0.1:${listenPort}${answersPath}`, { method: 'POST', headers, body });
}

/** What it answers, once it listens. */
async function answerOf(address: string, options: RequestInit = {}): Promise<string> {
  return waitFor(`${address} to answer`, waitMs, async () => {
    const response = await fetch(address, options).catch(() => null);
    return response && (await response.text());
  });
}
