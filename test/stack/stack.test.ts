/** One real stack: the sources of truth are the brokers' own answers and Apache's own consumer. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Admin, Producer } from '@platformatic/kafka';
import { readClusters } from '../../kafka/clusters.ts';
import { readWithJava, runJavaTool, withClientProperties } from '../../stack/java-tools.ts';
import { identitiesIn, isAlive } from '../../stack/processes.ts';
import { attachStack, type LocalCluster, type Stack, startStack, stopStack } from '../../stack/stack.ts';

const run = promisify(execFile);

// This test starts its own, whatever the run's shared stack has put into the environment.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([key]) => !/^(TEMPORAL_|KAFKA_CUTOVER_STACK_)/.test(key)),
);

describe('the local stack', { timeout: 180_000 }, () => {
  let folder: string;
  let dir: string;
  let stack: Stack;
  const progress: string[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kafka-cutover-stack-'));
    dir = join(folder, 'stack');
    const users = ['billing'];
    stack = await startStack({ dir, users, environment, onProgress: (line) => progress.push(line) });
  });
  after(async () => {
    await stopStack(dir);
    await rm(folder, { recursive: true, force: true });
  });

  const both = (): LocalCluster[] => {
    assert.ok(stack.source && stack.target);
    return [stack.source, stack.target];
  };
  const login = (cluster: LocalCluster, username: string, password = cluster.users[username] ?? '') => ({
    clientId: 'stack-test',
    bootstrapBrokers: cluster.bootstrap.split(','),
    sasl: { mechanism: 'SCRAM-SHA-512' as const, username, password },
  });
  const withAdmin = async <Result>(
    options: ReturnType<typeof login> & { retries?: number },
    use: (admin: Admin) => Promise<Result>,
  ) => {
    const admin = new Admin(options);
    try {
      return await use(admin);
    } finally {
      await admin.close();
    }
  };

  test('is two clusters of different versions, a Temporal server and its UI', async () => {
    assert.deepEqual(
      both().map((cluster) => cluster.version),
      ['3.9.2', '4.3.1'],
    );
    const ui = await fetch(stack.temporal?.uiUrl ?? '');
    assert.equal(ui.status, 200);
    const { address = '', cliPath = '' } = stack.temporal ?? {};
    const described = await run(cliPath, ['operator', 'namespace', 'describe', 'default', '--address', address]);
    assert.match(described.stdout, /default/);
    assert.ok(progress.some((line) => line.startsWith('source: Apache Kafka 3.9.2 at 127.0.0.1:')));
  });

  test('describes itself in a clusters.yaml whose secrets are in the environment only', () => {
    const { clusters } = readClusters(stack.clustersFile, stack.env);
    assert.equal(clusters.get('legacy')?.bootstrap.join(','), stack.source?.bootstrap);
    assert.equal(clusters.get('next')?.credentials.own.sasl?.password, stack.target?.users.cutover);
    for (const file of ['env', 'stack.json', 'source/server-1.properties']) {
      assert.equal(statSync(join(dir, file)).mode & 0o777, 0o600, file);
    }
    const secrets = both().flatMap((cluster) => Object.values(cluster.users));
    const yaml = readFileSync(stack.clustersFile, 'utf8');
    assert.ok(secrets.every((secret) => !yaml.includes(secret)));
  });

  test('has an env file that a shell can source', async () => {
    const { stdout } = await run('sh', ['-c', `. "${dir}/env"; echo "$TEMPORAL_ADDRESS $KAFKA_CUTOVER_NEXT_PASSWORD"`]);
    assert.equal(stdout.trim(), `${stack.temporal?.address} ${stack.target?.users.cutover}`);
  });

  test('lets a SCRAM user in with the right password only', async () => {
    for (const cluster of both()) {
      for (const user of ['cutover', 'mirror-forward', 'mirror-reverse', 'app-writer-1', 'billing']) {
        const { brokers } = await withAdmin(login(cluster, user), (admin) => admin.metadata({ topics: [] }));
        assert.equal(brokers.size, 1, `${user} on ${cluster.name}`);
      }
      await assert.rejects(
        withAdmin({ ...login(cluster, 'cutover', 'wrong'), retries: 0 }, (admin) => admin.metadata({ topics: [] })),
        (error: Error) => /authentication/i.test(describeError(error)),
      );
    }
  });

  test('refuses an application that was given no rights', async () => {
    for (const cluster of both()) {
      await withAdmin(login(cluster, 'cutover'), (admin) =>
        admin.createTopics({ topics: ['guarded'], partitions: 1, replicas: 1 }),
      );
      await assert.rejects(
        withAdmin(login(cluster, 'app-writer-1'), (admin) =>
          admin.createTopics({ topics: ['mine'], partitions: 1, replicas: 1 }),
        ),
        (error: Error) => /authorization/i.test(describeError(error)),
      );
      await assert.rejects(readWithJava(cluster, 'app-reader-1', 'guarded'), /TopicAuthorizationException/);
    }
  });

  test('keeps its records when a broker is killed and started again, and Apache’s consumer reads them', async () => {
    const [, cluster] = both();
    assert.ok(cluster);
    const broker = cluster.brokers[0];
    assert.ok(broker);
    await withAdmin(login(cluster, 'cutover'), (admin) =>
      admin.createTopics({ topics: ['kept'], partitions: 2, replicas: 1 }),
    );
    const producer = new Producer(login(cluster, 'cutover'));
    const key = Buffer.from([0, 255, 10, 13]);
    const value = Buffer.from('line\nend "quoted" ü');
    const headers = new Map([[Buffer.from('h"1'), Buffer.from([128])]]);
    await producer.send({
      messages: [
        { topic: 'kept', partition: 1, key, value, headers, timestamp: 1_700_000_000_123n },
        { topic: 'kept', partition: 1, key, timestamp: 1_700_000_000_124n },
      ],
      acks: -1,
    });
    await producer.close();
    const earlierPid = broker.pid;

    await broker.kill('SIGKILL');
    await broker.start();

    assert.notEqual(broker.pid, earlierPid);
    const { records, partitions } = await readWithJava(cluster, 'cutover', 'kept');
    const common = { partition: 1, timestampType: 'CreateTime' };
    assert.deepEqual(records, [
      { ...common, offset: 0n, timestamp: 1_700_000_000_123n, key, value, headers: [['h"1', Buffer.from([128])]] },
      { ...common, offset: 1n, timestamp: 1_700_000_000_124n, key, value: null, headers: [] },
    ]);
    assert.deepEqual(partitions, [
      { partition: 0, beginning: 0n, end: 0n, position: 0n },
      { partition: 1, beginning: 0n, end: 2n, position: 2n },
    ]);
    const part = await readWithJava(cluster, 'cutover', 'kept', { partition: 1, fromOffset: 1n, maxMessages: 1 });
    assert.deepEqual(
      part.records.map((record) => record.offset),
      [1n],
    );
  });

  test('runs Apache’s own tools, of each cluster’s version', async () => {
    const [cluster] = both();
    assert.ok(cluster);
    const { stdout, code } = await withClientProperties(cluster, 'cutover', (properties) =>
      runJavaTool(cluster, 'org.apache.kafka.tools.TopicCommand', [
        '--bootstrap-server',
        cluster.bootstrap,
        '--command-config',
        properties,
        '--list',
      ]),
    );
    assert.equal(code, 0);
    assert.equal(stdout, 'guarded\n');
  });

  test('is not started twice in one folder, nor in a folder with other things', async () => {
    await assert.rejects(startStack({ dir, environment }), /STACK_UNAVAILABLE: a stack runs there already/);
    await writeFile(join(folder, 'mine.txt'), '');
    await assert.rejects(startStack({ dir: folder, environment }), /the folder holds other things/);
    assert.ok(existsSync(join(folder, 'mine.txt')));
    assert.ok((await attachStack(dir)).source); // the refusals have not harmed it
  });

  test('ends whatever had started when one part cannot', async () => {
    const failing = join(folder, 'failing');
    const brokerConfig = { source: { 'process.roles': 'nonsense' } };
    const seen: string[] = [];
    await assert.rejects(
      startStack({
        dir: failing,
        parts: ['source', 'temporal'],
        brokerConfig,
        environment,
        onProgress: (line) => seen.push(line),
      }),
      /STACK_UNAVAILABLE.*nonsense/s,
    );
    assert.equal(identitiesIn(join(failing, 'pids')).size, 0);
    await assert.rejects(attachStack(failing), /no stack\.json/);
  });

  test('shows the end of a broker’s log when the broker dies at its start', async () => {
    const dying = join(folder, 'dying');
    // Formatting accepts it, the broker does not.
    const brokerConfig = { target: { 'listener.name.client.scram-sha-512.sasl.jaas.config': 'nonsense;' } };
    await assert.rejects(
      startStack({ dir: dying, parts: ['target'], brokerConfig, environment }),
      /broker 1 of the target cluster \(Kafka 4\.3\.1\) ended while it started.*Login module control flag/s,
    );
    assert.equal(identitiesIn(join(dying, 'pids')).size, 0);
  });

  test('stops starting when it is told to', async () => {
    const interrupted = join(folder, 'interrupted');
    const controller = new AbortController();
    const onProgress = (line: string) => {
      if (line.startsWith('temporal: ')) controller.abort(new Error('told to'));
    };
    await assert.rejects(
      startStack({
        dir: interrupted,
        parts: ['temporal', 'source'],
        environment,
        onProgress,
        signal: controller.signal,
      }),
      /told to/,
    );
    assert.equal(identitiesIn(join(interrupted, 'pids')).size, 0);
  });

  test('uses what is given from outside instead of starting it', async () => {
    const outside = {
      ...environment,
      KAFKA_CUTOVER_STACK_SOURCE: stack.source?.bootstrap,
      KAFKA_CUTOVER_STACK_TARGET: stack.target?.bootstrap,
      KAFKA_CUTOVER_STACK_CLUSTERS: stack.clustersFile,
      TEMPORAL_ADDRESS: stack.temporal?.address,
    };
    await using second = await startStack({ dir: join(folder, 'outside'), environment: outside });
    assert.deepEqual([second.source, second.target, second.temporal?.pid], [undefined, undefined, null]);
    assert.equal(second.temporal?.address, stack.temporal?.address);
    assert.equal(identitiesIn(join(second.dir, 'pids')).size, 0);
    const { clusters } = readClusters(second.clustersFile, { ...stack.env, ...second.env });
    assert.equal(clusters.get('legacy')?.bootstrap.join(','), stack.source?.bootstrap);
  });

  // The last one: it ends the stack.
  test('is stopped by another process that attaches to it', async () => {
    const pids = [...identitiesIn(join(dir, 'pids')).values()];
    assert.equal(pids.length, 3);
    assert.ok(pids.every(isAlive));
    const script = `import { attachStack } from ${JSON.stringify(join(import.meta.dirname, '../../stack/stack.ts'))};
      const stack = await attachStack(process.argv[1]);
      console.log(stack.source.bootstrap, stack.env.TEMPORAL_ADDRESS);
      await stack.stop();`;

    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script, dir]);

    assert.equal(stdout.trim(), `${stack.source?.bootstrap} ${stack.temporal?.address}`);
    assert.ok(!pids.some(isAlive));
    await assert.rejects(attachStack(dir), /no stack\.json/);
    await stack.stop(); // once more does no harm
  });
});

/** The client wraps a broker's error several deep. */
function describeError(error: unknown): string {
  const { message = '', cause, errors = [] } = error as { message?: string; cause?: unknown; errors?: unknown[] };
  const inner = [cause, ...errors].filter(Boolean).map(describeError);
  return [message, (error as { apiId?: string }).apiId ?? '', ...inner].join(' | ');
}
