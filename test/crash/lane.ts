/**
 * Where migrations are struck one after the other: a Temporal namespace, a worker that is replaced when it dies, our own principal on both
 * clusters, and a way to the brokers that can be cut.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { alterUserScramCredentialsV0 } from '@platformatic/kafka';
import { Cluster } from '../../kafka/cluster.ts';
import { type ClusterConfig, parseClusters } from '../../kafka/clusters.ts';
import { upsertScramUser } from '../../kafka/scram.ts';
import type { ExtraListeners } from '../../stack/cluster.ts';
import { endProcess, readIdentity } from '../../stack/processes.ts';
import { applicationUsers, type Stack } from '../../stack/stack.ts';
import { startTemporal } from '../../stack/temporal.ts';
import { Scene } from '../e2e/support/scene.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { WorkerProcess } from '../e2e/support/worker.ts';
import { type Fault, PointFiles } from './points.ts';
import { BrokerProxy } from './proxy.ts';

/** Of this source tree; another one may have another worker. */
const ownTree = fileURLToPath(new URL('../../', import.meta.url));
const deadTimeoutMs = 30_000;
const sleeperTimeoutMs = 30_000;
const scramSha512 = 2;
const applications = 'applications';
const sides = [
  ['source', 'legacy'],
  ['target', 'next'],
] as const;

export type ClusterName = 'legacy' | 'next';

export interface LaneOptions {
  readonly name: string;
  /** A super user of the stack that is this lane's alone, so that it can be revoked, with its mirrors (`laneUsers`); the stack's own by default. */
  readonly principal?: string;
  /** One by default: then nobody goes on before a dead worker was replaced. */
  readonly workers?: number;
  /** The password of every application, where they have a listener of their own (`applicationListener`). */
  readonly applicationPassword?: string;
  /** Folder of the sources that the worker runs; this one's by default. */
  readonly tree?: string;
}

/**
 * Where applications log in with a plain password, on both clusters: with SCRAM a client that connects anew every 10 ms does little but derive
 * keys (4,096 rounds each), on the two cores that everybody shares.
 */
export function applicationListener(password: string): ExtraListeners {
  const users = applicationUsers.map((user) => `user_${user}="${password}"`).join(' ');
  const jaas = `org.apache.kafka.common.security.plain.PlainLoginModule required ${users};`;
  const config = { 'sasl.enabled.mechanisms': 'PLAIN', 'plain.sasl.jaas.config': jaas };
  return { [applications]: { protocol: 'SASL_PLAINTEXT', config } };
}

/** Users of the stack by what they are for: our own, which has to be a super user, and the mirrors'. */
export function laneUsers(principal: string) {
  return { own: principal, forward: `${principal}-forward`, reverse: `${principal}-reverse` };
}

export class Lane implements AsyncDisposable {
  readonly name: string;
  readonly scene: Scene;
  readonly #stack: Stack;
  readonly #principal: string | null;
  readonly #proxies: readonly BrokerProxy[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #applicationPassword: string | null;
  /** Folder of the sources that the worker runs. */
  readonly tree: string;
  readonly #workers: WorkerProcess[] = [];
  #workersWanted = 1;
  readonly #admins = new Map<string, Promise<Cluster>>();

  private constructor(
    parts: {
      name: string;
      principal: string | null;
      proxies: readonly BrokerProxy[];
      env: Readonly<Record<string, string>>;
      applicationPassword: string | null;
      tree: string;
    },
    scene: Scene,
    stack: Stack,
  ) {
    this.name = parts.name;
    this.#principal = parts.principal;
    this.#proxies = parts.proxies;
    this.#env = parts.env;
    this.#applicationPassword = parts.applicationPassword;
    this.tree = parts.tree;
    this.scene = scene;
    this.#stack = stack;
  }

  /** Returns with a worker that is ready. */
  static async open(
    stack: Stack,
    { name, principal, workers = 1, applicationPassword, tree = ownTree }: LaneOptions,
  ): Promise<Lane> {
    const proxies: BrokerProxy[] = [];
    const ports: Record<string, number> = {};
    const login: Record<string, string> = {};
    for (const [side, cluster] of sides) {
      const local = stack[side];
      for (const { port } of local?.brokers ?? []) {
        const proxy = await BrokerProxy.to(port);
        proxies.push(proxy);
        ports[port] = proxy.port;
      }
      if (principal === undefined) continue;
      for (const [role, user] of Object.entries(laneUsers(principal))) {
        const variable = `KAFKA_CUTOVER_${cluster.toUpperCase()}_${role === 'own' ? '' : `${role.toUpperCase()}_`}`;
        login[`${variable}USERNAME`] = user;
        login[`${variable}PASSWORD`] = local?.users[user] ?? '';
      }
    }
    const scene = await Scene.open(stack, { name, topics: {}, writers: 0, readers: 0, env: login });
    const env = { ...scene.env, CRASH_DIR: scene.dir, CRASH_PROXIES: JSON.stringify(ports) };
    const parts = { name, principal: principal ?? null, proxies, env, tree };
    const lane = new Lane({ ...parts, applicationPassword: applicationPassword ?? null }, scene, stack);
    lane.#workersWanted = workers;
    await lane.settle();
    return lane;
  }

  points(migration: string): PointFiles {
    return new PointFiles(this.scene.dir, migration);
  }

  /** As the stack's own super user. */
  admin(name: ClusterName): Promise<Cluster> {
    let connecting = this.#admins.get(name);
    if (!connecting) {
      const { clustersFile: file, env } = this.#stack;
      connecting = Cluster.connect(parseClusters(readFileSync(file, 'utf8'), file, env).cluster(name));
      this.#admins.set(name, connecting);
    }
    return connecting;
  }

  /** How an application logs in, or any other user of the stack. */
  login(name: ClusterName, user: string): ClusterConfig {
    const { bootstrap, username, password } = this.scene.login(name, user);
    const own = this.scene[name === 'legacy' ? 'source' : 'target'].listeners[applications];
    const application = applicationUsers.includes(user);
    const plain = application && own !== undefined && this.#applicationPassword !== null;
    const mechanism = plain ? 'plain' : 'scram-sha-512';
    const sasl = { mechanism, username: { env: 'USERNAME' }, password: { env: 'PASSWORD' } };
    const env = { USERNAME: username, PASSWORD: plain ? (this.#applicationPassword ?? '') : password };
    const text = JSON.stringify({ [name]: { bootstrap: plain ? own : bootstrap, sasl } });
    return parseClusters(text, 'clusters.yaml', env).cluster(name);
  }

  get log(): string {
    return this.#workers.map((worker) => worker.log).join('\n');
  }

  /** As at first: as many workers as there were, all of them alive. */
  async settle(): Promise<void> {
    for (const worker of this.#workers.splice(this.#workersWanted)) await worker.kill();
    const dead = this.#workers.filter((worker) => !worker.running);
    const missing = this.#workersWanted - this.#workers.length;
    await Promise.all([
      ...dead.map((worker) => worker.start().ready()),
      ...Array.from({ length: missing }, () => this.#startWorker()),
    ]);
  }

  /** Lets a fault happen whose point was reached; returns when it is over. */
  async strike(migration: string, fault: Fault, index: number): Promise<void> {
    const files = this.points(migration);
    switch (fault.kind) {
      case 'kill': {
        const dead = await waitFor('the worker to die', deadTimeoutMs, () => this.#workers.find((one) => !one.running));
        dead.start();
        return;
      }
      case 'freeze': {
        const frozen = this.#workers.find(({ pid }) => pid === files.reachedBy(index));
        // Somebody else goes on meanwhile, and does not know that there is a sleeper.
        const awake = this.#workers.find((one) => one.running && one !== frozen);
        const [successor] = await Promise.all([awake ?? this.#startWorker(), sleep(fault.lastsMs)]);
        frozen?.thaw();
        await successor.ready();
        // What it does now is what this is about. What never ends by itself is not awaited for ever.
        await waitFor('the sleeper to be through', sleeperTimeoutMs, () => files.isThrough(index)).catch(
          () => undefined,
        );
        return;
      }
      case 'cut':
        for (const proxy of this.#proxies) proxy.cut();
        files.begun(index);
        await sleep(fault.lastsMs);
        for (const proxy of this.#proxies) proxy.heal();
        return;
      case 'revoke':
        await this.#revoke();
        // A broker asks for credentials when somebody connects.
        for (const proxy of this.#proxies) proxy.heal();
        files.begun(index);
        await sleep(fault.lastsMs);
        await this.#restoreCredentials();
        return;
      case 'temporal-restart':
        await this.#restartTemporal(() => files.begun(index), fault.lastsMs);
        return;
      case 'source-broker-restart':
      case 'target-broker-restart': {
        const broker = (fault.kind.startsWith('source') ? this.scene.source : this.scene.target).brokers[0];
        await broker?.kill('SIGKILL');
        files.begun(index);
        await broker?.start();
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#workers) await worker.kill();
    await this.scene[Symbol.asyncDispose]();
    for (const admin of this.#admins.values()) await (await admin.catch(() => null))?.close();
    for (const proxy of this.#proxies) await proxy[Symbol.asyncDispose]();
  }

  async #startWorker(): Promise<WorkerProcess> {
    const name = `worker-${this.#workers.length + 1}`;
    const worker = new WorkerProcess(this.scene.dir, name, this.#env, [join(this.tree, 'test/crash/worker.ts')]);
    this.#workers.push(worker);
    return worker.start().ready();
  }

  /** As one of the stack's own super users: ours is the one that goes. */
  async #revoke(): Promise<void> {
    const user = this.#principal;
    if (user === null) throw new Error('a lane without a principal of its own has nothing to revoke');
    for (const [, name] of sides) {
      const cluster = await this.admin(name);
      const answer = await cluster.call(
        'controller',
        alterUserScramCredentialsV0.api,
        [{ name: user, mechanism: scramSha512 }],
        [],
      );
      const code = answer.results[0]?.errorCode;
      if (code !== 0) throw new Error(`${user} was not removed on ${name}: ${code}`);
    }
  }

  async #restoreCredentials(): Promise<void> {
    const user = this.#principal ?? '';
    for (const [side, name] of sides) {
      await upsertScramUser(await this.admin(name), user, this.scene[side].users[user] ?? '');
    }
  }

  async #restartTemporal(stopped: () => void, downMs: number): Promise<void> {
    const { dir, temporal } = this.#stack;
    const pidFile = join(dir, 'pids', 'temporal.json');
    const identity = readIdentity(pidFile);
    if (!temporal || !identity) throw new Error('the stack has no Temporal server of its own');
    await endProcess(identity, 0);
    stopped();
    await sleep(downMs);
    await startTemporal(join(dir, 'temporal'), pidFile, temporal.cliPath, new AbortController().signal, temporal);
  }
}
