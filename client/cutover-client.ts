/**
 * A typed client of running migrations: start, look, send messages, wait for the end. Everything that a
 * person can do to a migration goes through Temporal and nothing else, so this file and the `temporal`
 * command can do the same things.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  Client,
  Connection,
  isGrpcServiceError,
  WorkflowFailedError,
  type WorkflowHandle,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import {
  ApplicationFailure,
  CancelledFailure,
  defineSearchAttributeKey,
  type LoadedDataConverter,
  NamespaceNotFoundError,
  type Payload,
  TerminatedFailure,
  TypedSearchAttributes,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/common';
import { decodeFailure, decodeOptionalSingle } from '@temporalio/common/lib/internal-non-workflow/index.js';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { type Code, CutoverError, codes, type Detail } from '../contract/errors.ts';
import { type Plan, type PlanInput, parsePlan } from '../contract/plan.ts';
import {
  type AbortMessage,
  type DecideMessage,
  type GateMessage,
  type MessageName,
  searchAttributes,
  type TuneMessage,
  taskQueues,
  waveNames,
  workflowId,
  workflowType,
} from '../contract/status.ts';
import { dataConverterOf, encryptedEncoding, isEncrypted, readCodec } from '../worker/codec.ts';
import type { ShardSample } from './live.ts';
import {
  type EvidenceAnswer,
  evidenceAnswer,
  type FindingAnswer,
  type GateAnswer,
  holdingAnswer,
  resultAnswer,
  type StatusAnswer,
  shardAnswer,
  statusAnswer,
} from './temporal-answers.ts';

/** How long connecting may take: a wrong address is said at once, not after Temporal's 10 s. */
const connectTimeoutMs = 3_000;
/** How long one question to the server may take. */
const requestTimeoutMs = 8_000;
/** Migrations that a list shows. */
const listMax = 100;

/** How long a worker may take; milliseconds. */
export interface AnswerTimeouts {
  /** To answer a query. A live worker needs milliseconds; one that has to replay a long history, seconds. */
  readonly queryMs: number;
  /** To answer a message. */
  readonly updateMs: number;
}
const timeoutsDefault: AnswerTimeouts = { queryMs: 5_000, updateMs: 15_000 };

const keys = {
  step: defineSearchAttributeKey(searchAttributes.step, 'KEYWORD'),
  source: defineSearchAttributeKey(searchAttributes.sourceCluster, 'KEYWORD'),
  target: defineSearchAttributeKey(searchAttributes.targetCluster, 'KEYWORD'),
  awaiting: defineSearchAttributeKey(searchAttributes.awaitingApproval, 'BOOL'),
  truth: defineSearchAttributeKey(searchAttributes.sourceOfTruth, 'KEYWORD_LIST'),
};

export interface Started {
  readonly workflowId: string;
  readonly runId: string;
  /** The migration's page in Temporal's UI, when KAFKA_CUTOVER_UI says where that is. */
  readonly uiUrl: string | null;
  /** False when nothing polls the task queue: the migration waits for a worker. */
  readonly workerSeen: boolean;
}

/** An activity that failed and is being tried again. */
export interface Retrying {
  readonly activity: string;
  readonly attempt: number;
  readonly code: string;
  readonly message: string;
}

/** How a migration ended. `failed` comes with the code that ended it. */
export interface Ending {
  readonly outcome: string;
  readonly code: string | null;
  readonly message: string | null;
  readonly evidence: EvidenceAnswer | null;
}

/** One look at a migration. */
export interface Observation {
  /** What the worker answered, or, with a `note`, what the server knows without one. */
  readonly status: StatusAnswer;
  readonly note: string | null;
  readonly runId: string;
  /** Of the chain: the same after the migration continued as new. */
  readonly firstRunId: string;
  readonly shards: readonly ShardSample[];
  /** Findings that hold at this moment, by heartbeats; `status.findings` begins with them. */
  readonly holding: readonly FindingAnswer[];
  readonly retrying: readonly Retrying[];
  /** Null while it runs. */
  readonly ending: Ending | null;
}

export type Message = GateMessage | AbortMessage | DecideMessage | TuneMessage;

export class CutoverClient implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #client: Client;
  readonly #env: NodeJS.ProcessEnv;
  readonly #address: string;
  readonly #timeouts: AnswerTimeouts;

  private constructor(connection: Connection, namespace: string, env: NodeJS.ProcessEnv, timeouts: AnswerTimeouts) {
    this.#connection = connection;
    const dataConverter = dataConverterOf(readCodec(env));
    this.#client = new Client({ connection, namespace, ...(dataConverter && { dataConverter }) });
    this.#env = env;
    this.#timeouts = timeouts;
    this.#address = connection.options.address;
  }

  /**
   * Connects as the `temporal` command would: TEMPORAL_* variables and profiles.
   *
   * @throws CutoverError TEMPORAL_UNREACHABLE within a few seconds
   */
  static async connect(
    env: NodeJS.ProcessEnv = process.env,
    timeouts: AnswerTimeouts = timeoutsDefault,
  ): Promise<CutoverClient> {
    let address = env.TEMPORAL_ADDRESS ?? 'localhost:7233';
    try {
      const variables = Object.fromEntries(Object.entries(env).filter((pair): pair is [string, string] => !!pair[1]));
      const { connectionOptions, namespace } = loadClientConnectConfig({ overrideEnvVars: variables });
      address = connectionOptions.address ?? address;
      const { address: configured, tls, apiKey, metadata } = connectionOptions;
      const connection = await Connection.connect({
        connectTimeout: connectTimeoutMs,
        ...(configured && { address: configured }),
        ...(tls !== undefined && { tls }),
        ...(apiKey !== undefined && { apiKey }),
        ...(metadata && { metadata: metadata as Record<string, string> }),
      });
      return new CutoverClient(connection, namespace ?? 'default', env, timeouts);
    } catch (error) {
      if (error instanceof CutoverError) throw error;
      throw unreachable(address, error);
    }
  }

  /**
   * Starts a migration. The input is what the user wrote: the workflow's first activity parses it again,
   * as it does for starts from Temporal's UI.
   *
   * @throws CutoverError ALREADY_RUNNING when one of that name runs already; TEMPORAL_UNREACHABLE
   */
  async start(input: PlanInput, plan: Plan): Promise<Started> {
    const id = workflowId(plan.name);
    const options = {
      workflowId: id,
      taskQueue: taskQueues.control,
      args: [input],
      workflowIdReusePolicy: 'ALLOW_DUPLICATE' as const,
      workflowIdConflictPolicy: 'FAIL' as const,
      staticSummary: `${plan.name}: ${plan.source} to ${plan.target}`.slice(0, 200),
      staticDetails: details(plan),
      memo: { plan: plan.name, source: plan.source, target: plan.target, startedBy: plan.startedBy },
    };
    const typedSearchAttributes = new TypedSearchAttributes([
      { key: keys.step, value: 'preflight' },
      { key: keys.source, value: plan.source },
      { key: keys.target, value: plan.target },
      { key: keys.awaiting, value: false },
      { key: keys.truth, value: waveNames(plan).map((wave) => `${wave}=source`) },
    ]);
    const start = (extra: { typedSearchAttributes?: TypedSearchAttributes }) =>
      this.#asked(plan.name, requestTimeoutMs, () =>
        this.#client.workflow.start(workflowType, { ...options, ...extra }),
      );
    let handle: Awaited<ReturnType<typeof start>>;
    try {
      // Workers register the search attributes: before the first one has run, the server does not know them.
      handle = await start({ typedSearchAttributes }).catch((error) => {
        if (isUnknownSearchAttribute(error)) return start({});
        throw error;
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      throw new CutoverError('ALREADY_RUNNING', {
        what: `a migration named ${plan.name} is running already`,
        where: id,
        next: `Look at it: \`kafka-cutover status ${plan.name}\`. To start anew, end it first: \`kafka-cutover abort ${plan.name}\`.`,
      });
    }
    return {
      workflowId: id,
      runId: handle.firstExecutionRunId,
      uiUrl: this.#uiUrl(id, handle.firstExecutionRunId),
      workerSeen: await this.#workerSeen(),
    };
  }

  /**
   * One look at a migration, running or ended. Where no worker answers, the server still says what it knows.
   *
   * @throws CutoverError MIGRATION_NOT_FOUND, TEMPORAL_UNREACHABLE
   */
  async observe(name: string): Promise<Observation> {
    const handle = this.#handle(name);
    const [described, queried] = await bothEnded(
      this.#asked(name, requestTimeoutMs, () => handle.describe()),
      this.#query(name, handle, 'status', statusAnswer),
    );
    const pending = described.raw.pendingActivities ?? [];
    const shards: ShardSample[] = [];
    const retrying: Retrying[] = [];
    const holding: FindingAnswer[] = [];
    for (const activity of pending) {
      const payload = activity.heartbeatDetails?.payloads?.[0];
      const heartbeat = payload && (await this.#decoded(payload));
      const progress = payload ? shardAnswer.safeParse(heartbeat) : null;
      const holds = payload ? holdingAnswer.safeParse(heartbeat) : null;
      if (holds?.success) holding.push(...holds.data.findings);
      if (progress?.success) {
        shards.push({
          activityId: activity.activityId ?? '',
          heartbeatAtMs: milliseconds(activity.lastHeartbeatTime),
          progress: progress.data,
        });
      }
      if ((activity.attempt ?? 1) > 1 && activity.lastFailure) {
        const failure = await decodeFailure(this.#converter.payloadCodecs, activity.lastFailure);
        const { message } = this.#converter.failureConverter.failureToError(failure, this.#converter.payloadConverter);
        retrying.push({
          activity: activity.activityType?.name ?? '',
          attempt: activity.attempt ?? 1,
          code: activity.lastFailure.applicationFailureInfo?.type || 'INTERNAL',
          message,
        });
      }
    }
    const running = described.status.name === 'RUNNING' || described.status.name === 'PAUSED';
    const ending = running ? null : await this.#ending(name, described.runId);
    const firstRunId = described.raw.workflowExecutionInfo?.firstRunId || described.runId;
    const common = { runId: described.runId, firstRunId, shards, holding, retrying, ending };
    if ('answer' in queried) {
      const { answer } = queried;
      return { ...common, note: null, status: { ...answer, findings: [...holding, ...answer.findings] } };
    }

    // No worker: search attributes and memo are the server's own.
    const attributes = described.typedSearchAttributes;
    const awaiting = attributes.get(keys.awaiting) ?? false;
    const truth = Object.fromEntries((attributes.get(keys.truth) ?? []).map((pair) => pair.split('=', 2)));
    const status = statusAnswer.parse({
      name,
      step: attributes.get(keys.step) ?? 'preflight',
      state: ending?.outcome ?? (awaiting ? 'waiting' : 'running'),
      sourceOfTruth: truth,
      source: attributes.get(keys.source) ?? described.memo?.source ?? 'source',
      target: attributes.get(keys.target) ?? described.memo?.target ?? 'target',
      findings: holding,
    });
    return { ...common, note: `${queried.why}; this is what the Temporal server knows by itself`, status };
  }

  /**
   * Migrations that Temporal knows, the newest first, each name once; a hundred at most.
   *
   * @throws CutoverError TEMPORAL_UNREACHABLE
   */
  list(): Promise<{ name: string; state: string; startedAt: string }[]> {
    return this.#asked('all', requestTimeoutMs, async () => {
      const found = new Map<string, { name: string; state: string; startedAt: string }>();
      for await (const run of this.#client.workflow.list({ query: `WorkflowType="${workflowType}"` })) {
        const name = run.workflowId.slice(workflowId('').length);
        if (!found.has(name)) {
          found.set(name, { name, state: run.status.name.toLowerCase(), startedAt: run.startTime.toISOString() });
        }
        if (found.size === listMax) break;
      }
      return [...found.values()];
    });
  }

  /**
   * Names of the migrations that run, the newest first, at most so many.
   *
   * @throws CutoverError TEMPORAL_UNREACHABLE
   */
  async running(max: number): Promise<string[]> {
    const query = `WorkflowType = "${workflowType}" AND ExecutionStatus = "Running"`;
    return this.#asked('', requestTimeoutMs, async () => {
      const names: string[] = [];
      for await (const { workflowId: id } of this.#client.workflow.list({ query, pageSize: max })) {
        if (id.startsWith(workflowId(''))) names.push(id.slice(workflowId('').length));
        if (names.length === max) break;
      }
      return names;
    });
  }

  /**
   * The plan that a migration was started with, by whomever: its workflow's input.
   *
   * @throws CutoverError MIGRATION_NOT_FOUND, TEMPORAL_UNREACHABLE, PLAN_INVALID
   */
  async plan(name: string): Promise<Plan> {
    const described = await this.#asked(name, requestTimeoutMs, () => this.#handle(name).describe());
    const { history } = await this.#asked(name, requestTimeoutMs, () =>
      this.#connection.workflowService.getWorkflowExecutionHistory({
        namespace: this.#client.options.namespace,
        execution: { workflowId: workflowId(name), runId: described.runId },
        maximumPageSize: 1,
      }),
    );
    const payload = history?.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0];
    return parsePlan(payload && (await this.#decoded(payload)), `workflow ${workflowId(name)}`);
  }

  /**
   * Where the evidence is: from the worker, or, once it has ended, from its result.
   *
   * @throws CutoverError MIGRATION_NOT_FOUND, TEMPORAL_UNREACHABLE
   */
  async evidence(name: string): Promise<EvidenceAnswer | null> {
    const handle = this.#handle(name);
    const described = await this.#asked(name, requestTimeoutMs, () => handle.describe());
    if (described.status.name !== 'RUNNING') {
      const { evidence } = await this.#ending(name, described.runId);
      if (evidence) return evidence;
    }
    const queried = await this.#query(name, handle, 'evidence', evidenceAnswer);
    return 'answer' in queried ? queried.answer : null;
  }

  /**
   * Sends a message as an Update and gives what the workflow answered.
   *
   * The id of an approval or rejection follows from what it says and which opening of which gate it is
   * for: sent twice, it counts once and is answered twice. The other messages are harmless when repeated,
   * and the same words may be meant again later (pause, resume, pause), so theirs are random.
   *
   * @param gate the open gate that the sender saw, when there is one
   * @throws CutoverError the code that the workflow refuses it with; MIGRATION_NOT_FOUND when nothing runs;
   *   NOT_CONFIRMED when no answer came in time, after which it may be sent again
   */
  async send(
    name: string,
    message: MessageName,
    body: Message,
    gate: Pick<GateAnswer, 'gate' | 'wave' | 'openedAt' | 'digest'> | null,
    options: {
      /** Whatever makes the message the one that it is, for senders that cannot know whether it was sent before. */
      readonly id?: string;
      /** For this chain of runs only, by its first run: not for a later migration of the same name. */
      readonly run?: string;
    } = {},
  ): Promise<unknown> {
    const by = body.by.trim().toLowerCase();
    // A refused signature is an answer that the server keeps: signed anew, it is another message.
    const proof = body.signature === undefined ? [] : [body.signature];
    const updateId = gate
      ? `${message}/${digestOf([gate.gate, gate.wave, gate.openedAt, gate.digest, body.digest ?? null, by, ...proof])}`
      : `${message}/${options.id ?? randomUUID()}`;
    try {
      return await this.#asked(name, this.#timeouts.updateMs, () =>
        this.#handle(name, options.run).executeUpdate<unknown, [Message]>(message, { updateId, args: [body] }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw refusalOf(error, message, name);
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) {
        const seconds = this.#timeouts.updateMs / 1_000;
        throw unanswered(name, message, body, `${message} was sent but not confirmed within ${seconds} s`, error);
      }
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }

  get #converter(): LoadedDataConverter {
    return this.#client.options.loadedDataConverter;
  }

  /** Undefined where it is none of ours. @throws CutoverError PAYLOAD_UNREADABLE */
  async #decoded(payload: Payload): Promise<unknown> {
    const { payloadCodecs, payloadConverter } = this.#converter;
    if (payloadCodecs.length === 0 && isEncrypted(payload)) throw withoutKeys();
    const plain = await decodeOptionalSingle(payloadCodecs, payload);
    try {
      return plain && payloadConverter.fromPayload(plain);
    } catch {
      return undefined;
    }
  }

  #handle(name: string, firstRun?: string): WorkflowHandle {
    const only = firstRun === undefined ? {} : { firstExecutionRunId: firstRun };
    return this.#client.workflow.getHandle(workflowId(name), undefined, only);
  }

  /** Runs one request under a deadline, and says Temporal's failures in our words. */
  async #asked<Result>(name: string, timeoutMs: number, request: () => Promise<Result>): Promise<Result> {
    try {
      return await this.#connection.withDeadline(Date.now() + timeoutMs, request);
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) {
        const ended = /completed/i.test(error.message);
        throw new CutoverError(
          ended ? 'MIGRATION_ENDED' : 'MIGRATION_NOT_FOUND',
          {
            what: ended ? `${name} has ended already` : `no migration is named ${name}`,
            where: `${workflowId(name)} at ${this.#address}, namespace ${this.#client.options.namespace}`,
            next: 'Check the name: `temporal workflow list --query \'WorkflowType="cutover"\'`.',
          },
          { cause: error },
        );
      }
      const cause = (error as Error)?.cause ?? error;
      if (isUnknownSearchAttribute(error)) throw error;
      throwUnreadable(error);
      if (error instanceof NamespaceNotFoundError || (isGrpcServiceError(cause) && !isUpdateTimeout(error))) {
        throw unreachable(this.#address, error);
      }
      throw error;
    }
  }

  /** A worker's answer, or why there is none. Only a missing migration is an error here. */
  async #query<Answer>(
    name: string,
    handle: WorkflowHandle,
    query: string,
    schema: { parse(value: unknown): Answer },
  ): Promise<{ answer: Answer } | { why: string }> {
    let answer: unknown;
    try {
      answer = await this.#connection.withDeadline(Date.now() + this.#timeouts.queryMs, () => handle.query(query));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw await this.#asked(name, 1, () => Promise.reject(error));
      throwUnreadable(error);
      const cause = (error as Error)?.cause ?? error;
      const timedOut = isGrpcServiceError(cause);
      return { why: timedOut ? 'no worker answers' : `the worker cannot answer (${(error as Error).message})` };
    }
    try {
      return { answer: schema.parse(answer) };
    } catch {
      return { why: `the worker is of another build: its ${query} cannot be read` };
    }
  }

  /** The result of a run that has ended; from history, so no worker is needed. */
  async #ending(name: string, runId: string): Promise<Ending> {
    const handle = this.#client.workflow.getHandle(workflowId(name), runId);
    try {
      const result = resultAnswer.safeParse(await this.#asked(name, requestTimeoutMs, () => handle.result()));
      if (result.success) {
        return { outcome: result.data.outcome, code: null, message: null, evidence: result.data.evidence };
      }
      return { outcome: 'completed', code: null, message: 'its result cannot be read', evidence: null };
    } catch (error) {
      if (!(error instanceof WorkflowFailedError)) throw error;
      if (error.cause instanceof CancelledFailure) {
        return { outcome: 'aborted', code: null, message: 'cancelled', evidence: null };
      }
      if (error.cause instanceof TerminatedFailure) {
        const message = 'terminated: nothing was undone, both clusters are as they stood';
        return { outcome: 'failed', code: 'INTERNAL', message, evidence: null };
      }
      const failure = codedFailure(error);
      return {
        outcome: 'failed',
        code: failure?.code ?? 'INTERNAL',
        message: failure?.message ?? error.cause?.message ?? error.message,
        evidence: null,
      };
    }
  }

  /** Whether somebody polls for workflow tasks; true when the server will not say. */
  async #workerSeen(): Promise<boolean> {
    try {
      const { pollers } = await this.#connection.withDeadline(Date.now() + requestTimeoutMs, () =>
        this.#connection.workflowService.describeTaskQueue({
          namespace: this.#client.options.namespace,
          taskQueue: { name: taskQueues.control },
          taskQueueType: 1, // TASK_QUEUE_TYPE_WORKFLOW
        }),
      );
      return (pollers ?? []).length > 0;
    } catch {
      return true;
    }
  }

  #uiUrl(id: string, runId: string): string | null {
    const base = this.#env.KAFKA_CUTOVER_UI;
    if (!base) return null;
    const namespace = encodeURIComponent(this.#client.options.namespace);
    return `${base.replace(/\/$/, '')}/namespaces/${namespace}/workflows/${encodeURIComponent(id)}/${runId}/history`;
  }
}

/**
 * Both results, or the first failure once both have ended: a request that is still being retried when its
 * connection is closed throws where nobody can catch it, and ends the process.
 */
async function bothEnded<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

/** What Temporal's UI shows above the history, in its markdown. */
function details(plan: Plan): string {
  const rows = [
    ['source', plan.source],
    ['target', plan.target],
    ['topics', plan.topics.include.join(', ')],
    ['groups', plan.groups?.include.join(', ') ?? 'those with commits on the moved topics'],
    ['replicator', plan.replicator.kind],
    ['started by', plan.startedBy || 'unknown'],
  ];
  return rows
    .map(([name, value]) => `- **${name}**: ${value}`)
    .join('\n')
    .slice(0, 20_000);
}

function unreachable(address: string, error: unknown): CutoverError {
  const cause = (error as Error)?.cause ?? error;
  const found = isGrpcServiceError(cause) ? cause.details || cause.message : (error as Error).message;
  return new CutoverError(
    'TEMPORAL_UNREACHABLE',
    {
      what: 'Temporal does not answer',
      where: address,
      found: found || 'no answer',
      ...(error instanceof NamespaceNotFoundError && { next: 'Check TEMPORAL_NAMESPACE.' }),
    },
    { cause: error },
  );
}

function isUnknownSearchAttribute(error: unknown): boolean {
  const cause = (error as Error)?.cause ?? error;
  return isGrpcServiceError(cause) && cause.code === 3 && /search attribute/i.test(cause.details || cause.message);
}

function isUpdateTimeout(error: unknown): boolean {
  return error instanceof WorkflowUpdateRPCTimeoutOrCancelledError;
}

/** The failure with one of our codes that stands deepest in a chain of causes. */
function codedFailure(error: Error): { code: Code; message: string; detail: Detail | null } | null {
  let found: ApplicationFailure | null = null;
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (at instanceof ApplicationFailure && at.type && Object.hasOwn(codes, at.type)) found = at;
  }
  if (!found) return null;
  const code = found.type as Code;
  const message = found.message.startsWith(`${code}: `) ? found.message.slice(code.length + 2) : found.message;
  const sent = found.details?.[0];
  const detail = typeof sent === 'object' && sent !== null && 'what' in sent ? (sent as Detail) : null;
  return { code, message, detail };
}

/** Why the workflow refused a message, under its own code. */
function refusalOf(error: WorkflowUpdateFailedError, message: MessageName, name: string): CutoverError {
  const failure = codedFailure(error);
  if (!failure) {
    const found = error.cause?.message ?? error.message;
    const what = `${message} was refused`;
    return new CutoverError('MESSAGE_INVALID', { what, where: workflowId(name), found }, { cause: error });
  }
  const [what = '', next] = failure.message.split('. Next: ');
  return new CutoverError(failure.code, failure.detail ?? { what, ...(next && { next }) }, { cause: error });
}

/** No worker took a message. As an Update it is gone or will be taken once; as a signal it would stay. */
export function unanswered(
  name: string,
  message: MessageName,
  body: Message,
  what: string,
  cause?: unknown,
): CutoverError {
  const id = workflowId(name);
  const input = JSON.stringify(body).replaceAll("'", "'\\''");
  return new CutoverError(
    'NOT_CONFIRMED',
    {
      what,
      where: id,
      found: 'no worker that answers',
      next: `Start one (\`kafka-cutover worker\`) and send it again, that is safe. Or leave it as a signal for the next worker: \`temporal workflow signal --workflow-id ${id} --name ${message} --input '${input}'\`.`,
    },
    { cause },
  );
}

function digestOf(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/** Without its keys the SDK says that it does not know the encoding. */
function throwUnreadable(error: unknown): void {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof CutoverError && at.code === 'PAYLOAD_UNREADABLE') throw at;
    if (at.message.includes(encryptedEncoding)) throw withoutKeys();
  }
}

function withoutKeys(): CutoverError {
  const what = 'Temporal holds encrypted payloads, and KAFKA_CUTOVER_CODEC names no keys';
  return new CutoverError('PAYLOAD_UNREADABLE', { what });
}

function milliseconds(
  time: { seconds?: { toNumber(): number } | number | null; nanos?: number | null } | null | undefined,
): number {
  if (!time) return 0;
  const seconds = typeof time.seconds === 'number' ? time.seconds : (time.seconds?.toNumber() ?? 0);
  return seconds * 1_000 + Math.floor((time.nanos ?? 0) / 1e6);
}
