/**
 * Workers that could carry shards of a mirror and carry none: they came, or came back, after its shards were handed out. A shard stays where it is
 * until its activity ends, so somebody must say when it is time to hand them out anew.
 */
import { Context } from '@temporalio/activity';
import { taskQueues } from '../contract/status.ts';

/** TASK_QUEUE_TYPE_ACTIVITY */
const activityQueue = 2;
/** PENDING_ACTIVITY_STATE_STARTED */
const activityStarted = 2;

/** What Temporal knows at one moment. */
export interface WorkersSeen {
  /** Who asked for shards within the last minutes, dead or alive, and when last; milliseconds since 1970, by identity. */
  readonly polling: ReadonlyMap<string, number>;
  /** Shards of this mirror by worker. */
  readonly carrying: ReadonlyMap<string, number>;
}

/** Fewer of them leave nothing to give away. */
const carriedMin = 2;

/** Looks again and again; tells the living from the dead by their asking anew. */
export class SpareWorkers {
  readonly #ask: () => Promise<WorkersSeen>;
  /** When it was first seen without a shard, how long ago it had asked. */
  #idle = new Map<string, number>();
  #known: ReadonlySet<string> | null = null;

  constructor(ask: () => Promise<WorkersSeen> = askTemporal) {
    this.#ask = ask;
  }

  /** Identities; none where no worker has two shards, or where Temporal does not tell. */
  async look(): Promise<readonly string[]> {
    // Only how soon the copy is done depends on it.
    const seen = await this.#ask().catch(() => null);
    if (seen === null) return [];
    this.#known ??= new Set(seen.polling.keys());
    const idle = new Map<string, number>();
    const alive: string[] = [];
    for (const [identity, askedAt] of seen.polling) {
      if ((seen.carrying.get(identity) ?? 0) > 0) continue;
      const before = this.#idle.get(identity);
      idle.set(identity, before ?? askedAt);
      // A killed one stays in the list for minutes, but never asks again; one that was not there at first has come.
      if (!this.#known.has(identity) || (before !== undefined && askedAt > before)) alive.push(identity);
    }
    this.#idle = idle;
    return [...seen.carrying.values()].some((shards) => shards >= carriedMin) ? alive.sort() : [];
  }
}

/** Within an activity, of its own workflow. */
async function askTemporal(): Promise<WorkersSeen> {
  const { client, info } = Context.current();
  const { workflowId, runId } = info.workflowExecution ?? {};
  if (workflowId === undefined) return { polling: new Map(), carrying: new Map() };
  const [queue, { raw }] = await Promise.all([
    client.workflowService.describeTaskQueue({
      namespace: info.namespace,
      taskQueue: { name: taskQueues.mirror },
      taskQueueType: activityQueue,
    }),
    client.workflow.getHandle(workflowId, runId).describe(),
  ]);
  const polling = new Map<string, number>();
  for (const { identity, lastAccessTime } of queue.pollers ?? []) {
    const at = Number(lastAccessTime?.seconds ?? 0) * 1_000 + (lastAccessTime?.nanos ?? 0) / 1e6;
    if (identity) polling.set(identity, at);
  }
  const carrying = new Map<string, number>();
  for (const { activityType, state, lastWorkerIdentity } of raw.pendingActivities ?? []) {
    if (activityType?.name !== 'mirror' || state !== activityStarted || !lastWorkerIdentity) continue;
    carrying.set(lastWorkerIdentity, (carrying.get(lastWorkerIdentity) ?? 0) + 1);
  }
  return { polling, carrying };
}
