/** One Temporal dev server, one bundle and one pair of workers for a test file. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { WorkflowHandle } from '@temporalio/client';
import type { DataConverter } from '@temporalio/common';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { temporal } from '@temporalio/proto';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { Runtime, Worker, type WorkflowBundleOption } from '@temporalio/worker';
import { pino } from 'pino';
import type { PlanInput } from '../../../contract/plan.ts';
import {
  type CutoverResult,
  type GateMessage,
  type MessageName,
  type Status,
  searchAttributes,
  taskQueues,
  workflowId,
} from '../../../contract/status.ts';
import { findTemporal } from '../../../stack/programs.ts';
import { workflowBundle } from '../../../worker/bundle.ts';
import { dataConverterOf, type EncryptionCodec } from '../../../worker/codec.ts';
import { temporalLogger } from '../../../worker/logging.ts';
import { metricsTelemetry } from '../../../worker/metrics.ts';
import { noTraces, type Traces } from '../../../worker/traces.ts';
import { versionOptions, type WorkerVersion } from '../../../worker/versioning.ts';
import type { Receipt } from '../../../workflows/messages.ts';
import { type Scenario, Scenarios } from './scenario.ts';

const run = promisify(execFile);
const historiesFolder = join(import.meta.dirname, '..', '..', 'histories');
const log = pino({ level: process.env.KAFKA_CUTOVER_LOG_LEVEL ?? 'silent' }, pino.destination(2));

/** How long a condition may take before the test fails; on a machine to itself nothing takes a second. */
const awaitMaxMs = 60_000;
const pollMs = 40;
/** Heartbeats travel this often, so that cancelling a background activity takes no longer. */
const heartbeatEveryMs = 40;

export type Plan = Omit<Partial<PlanInput>, 'gates'> & { gates?: PlanInput['gates'] };

export class Bench implements AsyncDisposable {
  readonly env: TestWorkflowEnvironment;
  readonly cli: string;
  readonly bundle: WorkflowBundleOption;
  readonly scenarios = new Scenarios();
  #workers: { worker: Worker; running: Promise<void> }[] = [];
  #count = 0;
  readonly #histories: { workflowId: string; history: temporal.api.history.v1.IHistory }[] = [];

  readonly #dataConverter: DataConverter | undefined;
  readonly #traces: Traces;

  private constructor(
    env: TestWorkflowEnvironment,
    cli: string,
    bundle: WorkflowBundleOption,
    dataConverter: DataConverter | undefined,
    traces: Traces,
  ) {
    this.#traces = traces;
    this.#dataConverter = dataConverter;
    this.env = env;
    this.cli = cli;
    this.bundle = bundle;
  }

  /**
   * @param codec encrypts everything that this Temporal stores
   * @param metrics address of the workers' Prometheus endpoint
   * @param traces of the workers
   */
  static async start(codec: EncryptionCodec | null = null, metrics?: string, traces = noTraces): Promise<Bench> {
    Runtime.install({
      logger: temporalLogger(log),
      telemetryOptions: {
        logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} },
        ...metricsTelemetry(metrics),
      },
    });
    const cli = await findTemporal({ environment: process.env, onProgress: () => {} });
    const dataConverter = dataConverterOf(codec);
    const [env, bundle] = await Promise.all([
      TestWorkflowEnvironment.createLocal({
        ...(dataConverter && { client: { dataConverter } }),
        server: {
          executable: { type: 'existing-path', path: cli },
          searchAttributes: [
            { name: searchAttributes.step, type: 'KEYWORD' },
            { name: searchAttributes.sourceCluster, type: 'KEYWORD' },
            { name: searchAttributes.targetCluster, type: 'KEYWORD' },
            { name: searchAttributes.awaitingApproval, type: 'BOOL' },
            { name: searchAttributes.sourceOfTruth, type: 'KEYWORD_LIST' },
          ],
        },
      }),
      workflowBundle(log, codec !== null),
    ]);
    const bench = new Bench(env, cli, bundle, dataConverter, traces);
    await bench.startWorkers();
    return bench;
  }

  /** @param version of a worker deployment; beside whatever runs already */
  async startWorkers(version: WorkerVersion | null = null): Promise<void> {
    const activities = this.scenarios.activities();
    const shared = {
      ...versionOptions(version),
      connection: this.env.nativeConnection,
      activities,
      sinks: this.#traces.sinks,
      interceptors: { activity: [...this.#traces.activity] },
      ...(this.#dataConverter && { dataConverter: this.#dataConverter }),
      maxHeartbeatThrottleInterval: heartbeatEveryMs,
      defaultHeartbeatThrottleInterval: heartbeatEveryMs,
      // An activity that was under way is given to the next worker at once.
      shutdownGraceTime: 1,
    };
    const workers = await Promise.all([
      Worker.create({ ...shared, taskQueue: taskQueues.control, workflowBundle: this.bundle }),
      Worker.create({ ...shared, taskQueue: taskQueues.mirror, activities }),
    ]);
    this.#workers.push(...workers.map((worker) => ({ worker, running: worker.run() })));
  }

  async stopWorkers(): Promise<void> {
    const workers = this.#workers;
    this.#workers = [];
    for (const { worker } of workers) worker.shutdown();
    await Promise.all(workers.map(({ running }) => running));
  }

  /** Starts a migration under a name of its own; every gate waits for nobody unless the test says so. */
  async migrate(plan: Plan = {}, options: { id?: string; memo?: Record<string, unknown> } = {}): Promise<Migration> {
    const scenario = this.prepare();
    await this.start(scenario, plan, options);
    return this.migration(scenario);
  }

  prepare(): Scenario {
    this.#count++;
    return this.scenarios.add(`plan-${process.pid}-${this.#count}`);
  }

  async start(
    scenario: Scenario,
    plan: Plan = {},
    options: { id?: string; memo?: Record<string, unknown> } = {},
  ): Promise<Migration> {
    const free = { approvals: 0 };
    const input: PlanInput = {
      name: scenario.name,
      source: 'legacy',
      target: 'next',
      topics: { include: ['orders'] },
      producers: { switch: 'webhook' },
      consumers: { switch: 'webhook' },
      rollback: { window: '0s' },
      ...plan,
      gates: { start: free, cutover: free, finalize: free, ...plan.gates },
    };
    await this.env.client.workflow.start('cutover', {
      workflowId: options.id ?? workflowId(scenario.name),
      taskQueue: taskQueues.control,
      args: [input],
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      ...(options.memo && { memo: options.memo }),
    });
    return this.migration(scenario, options.id);
  }

  migration(scenario: Scenario, id = workflowId(scenario.name)): Migration {
    return new Migration(this, scenario, this.env.client.workflow.getHandle(id));
  }

  /** The `temporal` command, as an operator uses it. */
  async temporal(...args: string[]): Promise<string> {
    const where = ['--address', this.env.address, '--disable-config-file', '--disable-config-env'];
    const { stdout } = await run(this.cli, [...args, ...where]);
    return stdout;
  }

  /** For what no `status` shows. */
  async until(what: string, holds: () => Promise<unknown>): Promise<void> {
    const deadline = Date.now() + awaitMaxMs;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
      await sleep(pollMs);
    }
  }

  keep(history: temporal.api.history.v1.IHistory, workflowId: string): void {
    this.#histories.push({ workflowId, history });
  }

  /** Replays every history of the file against the code of today; one replaying worker serves them all. */
  async replayAll(): Promise<number> {
    const results = Worker.runReplayHistories({ workflowBundle: this.bundle, sinks: noTraces.sinks }, this.#histories);
    for await (const { workflowId, error } of results) {
      if (error) throw new Error(`${workflowId} does not replay`, { cause: error });
    }
    return this.#histories.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopWorkers();
    await this.env.teardown();
  }
}

/** One migration under test. */
export class Migration {
  readonly scenario: Scenario;
  readonly handle: WorkflowHandle;
  readonly #bench: Bench;

  constructor(bench: Bench, scenario: Scenario, handle: WorkflowHandle) {
    this.#bench = bench;
    this.scenario = scenario;
    this.handle = handle;
  }

  status(): Promise<Status> {
    return this.handle.query<Status>('status');
  }

  async until(what: string, holds: (status: Status) => boolean): Promise<Status> {
    const deadline = Date.now() + awaitMaxMs;
    for (;;) {
      const status = await this.status();
      if (holds(status)) return status;
      if (Date.now() > deadline) {
        throw new Error(
          `waited in vain until ${what}: ${JSON.stringify(status)}; calls: ${this.scenario.calls.join(', ')}`,
        );
      }
      await sleep(pollMs);
    }
  }

  /** For what `status` does not show. */
  async eventually(what: string, holds: () => Promise<unknown>): Promise<void> {
    const deadline = Date.now() + awaitMaxMs;
    while (!(await holds())) {
      if (Date.now() > deadline)
        throw new Error(`waited in vain until ${what}: ${JSON.stringify(await this.status())}`);
      await sleep(pollMs);
    }
  }

  /** The next run of the chain: continuing as new waits for background activities to end. */
  async runsAnew(runId: string): Promise<void> {
    const deadline = Date.now() + awaitMaxMs;
    while ((await this.handle.describe()).runId === runId) {
      if (Date.now() > deadline) throw new Error(`run ${runId} was not continued as new`);
      await sleep(pollMs);
    }
  }

  gate(gate: string): Promise<Status> {
    return this.until(`gate ${gate} is open`, (status) => status.awaiting?.gate === gate);
  }

  failed(step: string): Promise<Status> {
    return this.until(`step ${step} failed`, (status) => status.failedStep?.step === step);
  }

  async called(call: string): Promise<void> {
    const deadline = Date.now() + awaitMaxMs;
    while (!this.scenario.calls.includes(call)) {
      if (Date.now() > deadline) throw new Error(`${call} was not called: ${this.scenario.calls.join(', ')}`);
      await sleep(pollMs);
    }
  }

  /** The type of the failure with which the run ends. */
  async fails(path?: string): Promise<string> {
    const error = await this.handle.result().then(
      () => assert.fail('it did not fail'),
      (failed: unknown) => failed as { cause?: { type?: string } },
    );
    await this.keepHistory(path);
    return error.cause?.type ?? String(error);
  }

  /** By signal: nobody says whether it was taken. */
  async signal(name: MessageName, message: Partial<GateMessage> & Record<string, unknown>): Promise<void> {
    await this.handle.signal(name, message);
  }

  /** By update: throws what the workflow answers. */
  async send(name: MessageName, message: Partial<GateMessage> & Record<string, unknown>): Promise<Receipt> {
    return this.handle.executeUpdate<Receipt, [unknown]>(name, { args: [message] });
  }

  /** The code with which an update is refused. */
  async refused(name: MessageName, message: Partial<GateMessage> & Record<string, unknown>): Promise<string> {
    try {
      const receipt = await this.send(name, message);
      assert.fail(`${name} was taken: ${receipt.text}`);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      return (error as { cause?: { type?: string } }).cause?.type ?? String(error);
    }
  }

  /** Its end; the history is replayed with the others, and written down when the test names a path. */
  async ends(path?: string): Promise<CutoverResult> {
    const result = (await this.handle.result()) as CutoverResult;
    await this.keepHistory(path);
    assertDecidedBeforeOpened(this.scenario.calls);
    return result;
  }

  async keepHistory(path?: string): Promise<void> {
    const history = await this.handle.fetchHistory();
    this.#bench.keep(history, this.handle.workflowId);
    if (path && process.env.KAFKA_CUTOVER_WRITE_HISTORIES === '1') {
      // Stack traces name folders of the machine that wrote them; replaying needs none.
      const bare = (key: string, value: unknown) => (key === 'stackTrace' ? '' : value);
      const text = JSON.stringify(JSON.parse(historyToJSON(history)), bare);
      await writeFile(join(historiesFolder, `${path}.json`), `${text}\n`);
    }
  }
}

/** Rule 6: nothing is opened unless opening it was decided after its last fence; each wave for itself. */
export function assertDecidedBeforeOpened(calls: readonly string[]): void {
  const decided = new Map<string, string>();
  for (const call of calls) {
    const [, wave = '', name, direction = ''] = /^(?:(\S+): )?(\S+) ?(\S*)/.exec(call) ?? [];
    if (name === 'closeWrites') decided.delete(wave);
    if (name === 'decideOpening') decided.set(wave, direction);
    if (name === 'openWrites' || name === 'openGroups') {
      assert.equal(decided.get(wave), direction, `${call} without a decision`);
    }
  }
}
