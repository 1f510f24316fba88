/**
 * An operator at work: our command line, the `temporal` command, and a worker, in a Temporal namespace of the test's
 * own, so that the workers of other tests leave its migrations alone.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { Gate, OpenGate, Status } from '../../../contract/status.ts';
import { workflowId } from '../../../contract/status.ts';
import type { Stack } from '../../../stack/stack.ts';
import { cleanEnvironment } from '../../client/command-line.ts';
import { uniqueName } from '../../support/stack.ts';
import { waitFor } from './waiting.ts';
import { cli, WorkerProcess } from './worker.ts';

/** Commands that do not wait for a migration end in seconds; alone, in one. */
const commandTimeoutMs = 60_000;
/** For what a migration does by itself between two gates: 10 s alone. */
export const progressTimeoutMs = 90_000;
const outputBytesMax = 16 << 20;

export interface Ran {
  /** Null when it was killed at the time limit. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The last line of stdout, parsed. */
  json(): Record<string, unknown>;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  /** Beside the operator's own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** As while Temporal is down. */
export const withoutTemporal: RunOptions = { env: { TEMPORAL_ADDRESS: '127.0.0.1:1' } };

export interface OperatorOptions {
  /** Instead of the stack's own. */
  readonly clustersFile?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export class Operator {
  readonly dir: string;
  /** What the commands and the worker see. */
  readonly env: Readonly<Record<string, string>>;
  readonly #temporal: string;
  #worker: WorkerProcess | null = null;
  #files = 0;

  private constructor(dir: string, temporal: string, env: Readonly<Record<string, string>>) {
    this.dir = dir;
    this.#temporal = temporal;
    this.env = env;
  }

  /** At the top of a file or in a hook; what it starts ends with the file. */
  static async at(stack: Stack, options: OperatorOptions = {}): Promise<Operator> {
    const { temporal } = stack;
    assert.ok(temporal, 'the stack has a Temporal server');
    const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-e2e-'));
    const namespace = uniqueName('e2e');
    const operator = new Operator(dir, temporal.cliPath, {
      ...stack.env,
      ...(options.clustersFile && { KAFKA_CUTOVER_CLUSTERS: options.clustersFile }),
      TEMPORAL_NAMESPACE: namespace,
      ...options.env,
    });
    after(async () => {
      await operator.#worker?.kill();
      if (!process.env.KAFKA_CUTOVER_TEST_KEEP) rmSync(dir, { recursive: true, force: true });
    });
    await operator.temporal('operator', 'namespace', 'create', '--namespace', namespace);
    return operator;
  }

  /** Returns when it takes work. */
  async startWorker(): Promise<void> {
    this.#worker = new WorkerProcess(this.dir, 'worker', this.env);
    await this.#worker.start().ready();
  }

  /** The end of the worker's log, for messages. */
  get workerLog(): string {
    return this.#worker?.log.slice(-4_000) ?? 'no worker';
  }

  /** Runs `kafka-cutover` to its end. */
  run(args: readonly string[], { timeoutMs = commandTimeoutMs, env = {} }: RunOptions = {}): Promise<Ran> {
    return ended(process.execPath, [cli, ...args], cleanEnvironment({ ...this.env, ...env }), this.dir, timeoutMs);
  }

  /** Runs `kafka-cutover` with `--json`; fails unless it exits with `exitCode`. */
  async answer(args: readonly string[], exitCode = 0, options: RunOptions = {}) {
    const ran = await this.run([...args, '--json'], options);
    assert.equal(ran.exitCode, exitCode, `kafka-cutover ${args.join(' ')}\n${ran.stdout}${ran.stderr}`);
    return ran.json();
  }

  /** Runs Temporal's own command, as somebody without our code would; gives its stdout. */
  async temporal(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.tryTemporal(...args);
    assert.equal(exitCode, 0, `temporal ${args.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  }

  tryTemporal(...args: string[]): Promise<Ran> {
    const all = [...args, '--disable-config-file'];
    return ended(this.#temporal, all, cleanEnvironment(this.env), this.dir, commandTimeoutMs);
  }

  /** Writes a plan (JSON is YAML too) and gives its path. */
  plan(plan: Readonly<Record<string, unknown>>): string {
    const path = join(this.dir, `plan-${this.#files++}.yaml`);
    writeFileSync(path, JSON.stringify(plan, null, 1));
    return path;
  }

  /** The `status` query, through the `temporal` command. */
  async status(name: string): Promise<Status> {
    const query = ['workflow', 'query', '--workflow-id', workflowId(name), '--name', 'status', '--output', 'json'];
    const [answer] = (JSON.parse(await this.temporal(...query)) as { queryResult: Status[] }).queryResult;
    assert.ok(answer, 'the query has a result');
    return listsBack(answer);
  }

  /** @throws Error with the last status and the worker's log when it does not come about */
  async until(name: string, what: string, holds: (status: Status) => boolean): Promise<Status> {
    let last: Status | undefined;
    const look = async () => {
      last = await this.status(name).catch((error: unknown) => {
        // About to be started; or the server is busy with it: somebody else asks at the same moment, or a task of it is being written.
        if (/workflow not found|query buffer is full|Workflow is busy/.test(String(error))) return undefined;
        throw error;
      });
      return last && holds(last) ? last : null;
    };
    const standing = () => `${JSON.stringify(last, null, 1)}\n${this.workerLog}`;
    return waitFor(`${name}: ${what}`, progressTimeoutMs, look, { everyMs: 250, standing });
  }

  gate(name: string, gate: Gate): Promise<Status> {
    return this.until(name, `gate ${gate} to be open`, (status) => {
      assert.equal(status.failedStep, null, status.failedStep?.message);
      return status.awaiting?.gate === gate;
    });
  }

  state(name: string, state: Status['state']): Promise<Status> {
    return this.until(name, `state ${state}`, (status) => status.state === state);
  }

  /** The closed workflow's result, or its failure's type and message. */
  async ending(name: string, id = workflowId(name)): Promise<{ outcome?: string; type?: string; message?: string }> {
    const ran = await this.tryTemporal('workflow', 'result', '--workflow-id', id, '--output', 'json');
    const { status, result, closeEvent } = ran.json() as unknown as Ending;
    if (status === 'COMPLETED') return { outcome: result?.outcome ?? '' };
    const failure = closeEvent?.workflowExecutionFailedEventAttributes?.failure;
    return { type: failure?.applicationFailureInfo?.type ?? status, message: failure?.message ?? '' };
  }
}

/** The command prints an empty list as null, though that is not what the worker sent. */
function listsBack(printed: Status): Status {
  const gate = (open: OpenGate): OpenGate => ({
    ...open,
    given: open.given ?? [],
    approvers: open.approvers ?? [],
    facts: open.facts ?? [],
  });
  return {
    ...printed,
    awaiting: printed.awaiting && gate(printed.awaiting),
    gates: (printed.gates ?? []).map(gate),
    findings: printed.findings ?? [],
    refused: printed.refused ?? [],
    steps: printed.steps ?? [],
    notUndone: printed.notUndone ?? [],
  };
}

interface Ending {
  readonly status: string;
  readonly result?: { readonly outcome: string };
  readonly closeEvent?: {
    readonly workflowExecutionFailedEventAttributes?: {
      readonly failure: { readonly message: string; readonly applicationFailureInfo?: { readonly type: string } };
    };
  };
}

function ended(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  cwd: string,
  timeoutMs: number,
): Promise<Ran> {
  const options = { env, cwd, timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: outputBytesMax } as const;
  return new Promise((resolve, reject) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      const exitCode = error ? (typeof error.code === 'number' ? error.code : null) : 0;
      if (error && exitCode === null && !error.killed) return reject(error);
      resolve({
        exitCode,
        stdout,
        stderr: exitCode === null ? `${stderr}\nkilled after ${timeoutMs} ms` : stderr,
        json: () => lastJson(command, stdout, stderr),
      });
    });
  });
}

/** Our last line, or the whole of what `temporal --output json` prints. */
function lastJson(command: string, stdout: string, stderr: string): Record<string, unknown> {
  const text = stdout.trimEnd();
  for (const candidate of [text.split('\n').at(-1) ?? '', text]) {
    try {
      return JSON.parse(candidate) as Record<string, unknown>;
    } catch {
      // the other one
    }
  }
  throw new Error(`no JSON from ${command}:\n${stdout}${stderr}`);
}
