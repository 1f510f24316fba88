/**
 * Everything that is there before a migration: topics with rights, applications, a clusters file with a webhook, and a
 * Temporal namespace of its own, so that the workers of one test never take the work of another's. Names are unique,
 * so scenes share one stack.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import kafkajs, { type AclOperationTypes, type Kafka } from 'kafkajs';
import { parse, stringify } from 'yaml';
import { CutoverClient } from '../../../client/cutover-client.ts';
import type { PlanInput } from '../../../contract/plan.ts';
import { kafkaClient, type Login } from '../../../examples/demo/application.ts';
import { Cluster } from '../../../kafka/cluster.ts';
import { type ClustersFile, parseClusters } from '../../../kafka/clusters.ts';
import type { LocalCluster } from '../../../stack/cluster.ts';
import { freePorts } from '../../../stack/ports.ts';
import type { Stack } from '../../../stack/stack.ts';
import type { LocalTemporal } from '../../../stack/temporal.ts';
import { Applications } from './applications.ts';
import { Migration } from './migration.ts';
import { Process } from './processes.ts';
import { waitFor } from './waiting.ts';
import { cli, WorkerProcess } from './worker.ts';

const run = promisify(execFile);
// CommonJS without named exports for these.
const { AclOperationTypes: operations, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

const namespaceTimeoutMs = 30_000;
/** KAFKA_CUTOVER_TEST_KEEP leaves logs and acknowledgements behind, as it does for the stack. */
const keeps = process.env.KAFKA_CUTOVER_TEST_KEEP !== undefined;

export interface SceneOptions {
  /** Unique on the stack: the plan's name, and what its topics and groups begin with. */
  readonly name: string;
  /** Partitions by topic, without the scene's name in front. */
  readonly topics?: Readonly<Record<string, number>>;
  /** How many of the stack's two writers and two readers take part. */
  readonly writers?: number;
  readonly readers?: number;
  /** More of clusters.yaml. */
  readonly clusters?: Readonly<Record<string, unknown>>;
  /** Beside what every worker and command is told. */
  readonly env?: Readonly<Record<string, string>>;
}

export class Scene implements AsyncDisposable {
  readonly name: string;
  readonly dir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly clusters: ClustersFile;
  readonly source: LocalCluster;
  readonly target: LocalCluster;
  readonly temporal: Client;
  readonly client: CutoverClient;
  /** Partitions by topic. */
  readonly topics: Readonly<Record<string, number>>;
  readonly writers: readonly string[];
  /** Users by group. */
  readonly readers: Readonly<Record<string, string>>;
  readonly #webhook: { readonly port: number; readonly secret: string };
  readonly #openedAt = performance.now();
  readonly #connected = new Map<string, Promise<Cluster>>();
  readonly #disposal = new AsyncDisposableStack();

  private constructor(
    parts: Pick<
      Scene,
      | 'name'
      | 'dir'
      | 'env'
      | 'clusters'
      | 'source'
      | 'target'
      | 'temporal'
      | 'client'
      | 'topics'
      | 'writers'
      | 'readers'
    >,
    webhook: { readonly port: number; readonly secret: string },
  ) {
    this.name = parts.name;
    this.dir = parts.dir;
    this.env = parts.env;
    this.clusters = parts.clusters;
    this.source = parts.source;
    this.target = parts.target;
    this.temporal = parts.temporal;
    this.client = parts.client;
    this.topics = parts.topics;
    this.writers = parts.writers;
    this.readers = parts.readers;
    this.#webhook = webhook;
  }

  static async open(stack: Stack, options: SceneOptions): Promise<Scene> {
    const { name } = options;
    const { source, target, temporal } = stack;
    if (!source || !target || !temporal) {
      throw new Error('needs a stack of our own: unset KAFKA_CUTOVER_STACK_SOURCE and KAFKA_CUTOVER_STACK_TARGET');
    }
    const dir = mkdtempSync(join(tmpdir(), `${name}-`));
    const [port = 0] = await freePorts(1);
    const secret = randomBytes(24).toString('hex');
    const clustersFile = join(dir, 'clusters.yaml');
    const webhooks = { deployer: { url: `http://127.0.0.1:${port}/webhook`, secret: { env: 'SCENE_WEBHOOK_SECRET' } } };
    const text = stringify({ ...parse(readFileSync(stack.clustersFile, 'utf8')), webhooks, ...options.clusters });
    writeFileSync(clustersFile, text, { mode: 0o600 });
    const env = {
      ...stack.env,
      KAFKA_CUTOVER_CLUSTERS: clustersFile,
      SCENE_WEBHOOK_SECRET: secret,
      TEMPORAL_NAMESPACE: name,
      ...options.env,
    };
    const connection = await Connection.connect({ address: temporal.address });
    await createNamespace(temporal, connection, name);
    const scene = new Scene(
      {
        name,
        dir,
        env,
        source,
        target,
        clusters: parseClusters(text, clustersFile, env),
        temporal: new Client({ connection, namespace: name }),
        client: await CutoverClient.connect({ ...process.env, ...env }),
        topics: Object.fromEntries(
          Object.entries(options.topics ?? { created: 3, paid: 2 }).map(([topic, count]) => [
            `${name}.${topic}`,
            count,
          ]),
        ),
        writers: ['app-writer-1', 'app-writer-2'].slice(0, options.writers ?? 2),
        readers: Object.fromEntries(
          ['app-reader-1', 'app-reader-2']
            .slice(0, options.readers ?? 2)
            .map((user, index) => [`${name}-group-${index + 1}`, user]),
        ),
      },
      { port, secret },
    );
    if (!keeps) scene.#disposal.defer(() => rmSync(dir, { recursive: true, force: true }));
    scene.#disposal.defer(() => connection.close());
    scene.#disposal.use(scene.client);
    await scene.#setUp();
    return scene;
  }

  /** Ends what the scene started, newest first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#disposal.disposeAsync();
  }

  /** Started when told to; killed with the scene. */
  worker(name = 'worker', only?: 'control' | 'mirror'): WorkerProcess {
    const worker = new WorkerProcess(this.dir, name, this.env, [cli, 'worker', ...(only ? ['--only', only] : [])]);
    this.#disposal.defer(() => worker.kill());
    return worker;
  }

  /** A `kafka-cutover` command that goes on until it is ended; killed with the scene. */
  command(name: string, ...args: readonly string[]): Process {
    const command = new Process(this.dir, name, [cli, ...args], this.env);
    this.#disposal.defer(() => command.kill());
    return command;
  }

  /** Returns when all of them write and read, and the history is written and read. */
  async startApplications(options: { recordsPerSecond: number; history: number }): Promise<Applications> {
    const applications = await Applications.start({
      dir: this.dir,
      webhookSecret: this.#webhook.secret,
      webhookPort: this.#webhook.port,
      login: (cluster, user) => this.login(cluster, user),
      topics: this.topics,
      writers: this.writers,
      readers: this.readers,
      ...options,
    });
    this.#disposal.defer(() => applications.close());
    return applications;
  }

  /** A plan for everything in the scene, with webhooks, an approver for the cutover and one for the end. */
  migration(plan: Omit<Partial<PlanInput>, 'name' | 'source' | 'target'> = {}): Migration {
    const literal = (names: readonly string[]) => names.map((one) => one.replaceAll('.', '\\.'));
    const input: PlanInput = {
      name: this.name,
      source: 'legacy',
      target: 'next',
      topics: { include: literal(Object.keys(this.topics)) },
      groups: { include: literal(Object.keys(this.readers)) },
      producers: { switch: 'webhook' },
      consumers: { switch: 'webhook' },
      gates: { cutover: { approvals: 1, approvers: ['kafka-owner'] }, finalize: { approvals: 1 } },
      ...plan,
    };
    return new Migration(input, this.temporal, this.client);
  }

  login(cluster: string, username: string): Login {
    const { bootstrap, users } = cluster === 'legacy' ? this.source : this.target;
    return { bootstrap, username, password: users[username] ?? '' };
  }

  /** Connected as ourselves; closed with the scene. */
  cluster(name: 'legacy' | 'next'): Promise<Cluster> {
    let connecting = this.#connected.get(name);
    if (!connecting) {
      connecting = Cluster.connect(this.clusters.cluster(name));
      this.#connected.set(name, connecting);
      this.#disposal.defer(async () => (await connecting?.catch(() => undefined))?.close());
    }
    return connecting;
  }

  /** One line on stderr, with the seconds since the scene was opened. */
  say(line: string): void {
    process.stderr.write(`  ${((performance.now() - this.#openedAt) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
  }

  /** A kafkajs client; of our own super user by default. */
  kafka(cluster: 'legacy' | 'next', user = 'cutover'): Kafka {
    return kafkaClient(`${this.name}-test`, this.login(cluster, user));
  }

  /** Topics on the source and rights for the applications. */
  async #setUp(): Promise<void> {
    const admin = this.kafka('legacy').admin();
    await admin.connect();
    try {
      await admin.createTopics({
        waitForLeaders: true,
        topics: Object.entries(this.topics).map(([topic, numPartitions]) => ({
          topic,
          numPartitions,
          configEntries: [{ name: 'retention.ms', value: String(7 * 24 * 3_600_000) }],
        })),
      });
      const allow = (user: string, operation: AclOperationTypes) => ({
        principal: `User:${user}`,
        host: '*',
        permissionType: AclPermissionTypes.ALLOW,
        operation,
      });
      const topics = {
        resourceType: AclResourceTypes.TOPIC,
        resourceName: `${this.name}.`,
        resourcePatternType: ResourcePatternTypes.PREFIXED,
      };
      const group = (resourceName: string) => ({
        resourceType: AclResourceTypes.GROUP,
        resourceName,
        resourcePatternType: ResourcePatternTypes.LITERAL,
      });
      const acl = [
        ...this.writers.flatMap((user) => [
          { ...allow(user, operations.WRITE), ...topics },
          { ...allow(user, operations.DESCRIBE), ...topics },
        ]),
        ...Object.entries(this.readers).flatMap(([name, user]) => [
          { ...allow(user, operations.READ), ...topics },
          { ...allow(user, operations.READ), ...group(name) },
        ]),
      ];
      if (acl.length > 0) await admin.createAcls({ acl });
    } finally {
      await admin.disconnect();
    }
  }
}

/** The server needs a moment until its parts know a new namespace. */
async function createNamespace(temporal: LocalTemporal, connection: Connection, namespace: string): Promise<void> {
  const where = ['--address', temporal.address, '--disable-config-file', '--disable-config-env'];
  await run(temporal.cliPath, ['operator', 'namespace', 'create', '--namespace', namespace, ...where]);
  await waitFor(`Temporal namespace ${namespace}`, namespaceTimeoutMs, () =>
    connection.workflowService.listWorkflowExecutions({ namespace, pageSize: 1 }).then(
      () => true,
      () => false,
    ),
  );
}
