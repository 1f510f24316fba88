/**
 * The activities that run beside the steps: both mirrors, the audit, the groups' positions, the watch over
 * the fence. Each is kept alive until it is stopped; where one fails for people to see, people decide.
 */
import { CancellationScope, condition, log, sleep } from '@temporalio/workflow';
import type { DecideMessage, Step } from '../contract/status.ts';
import type { Run } from './run.ts';
import {
  type BackgroundKind,
  backgroundGivenUp,
  backgroundUnwanted,
  backgroundWanted,
  type Failure,
  failureOf,
  failureSettled,
  isOpened,
  stepFailed,
} from './state.ts';
import { activities, describeFailure, lasting, lastingShard } from './steps/calls.ts';

/** Before one that ended by itself is started again. */
const restartAfterMs = 1_000;

interface Task {
  readonly scope: CancellationScope;
  readonly ended: Promise<void>;
}

export class Background {
  readonly #run: Run;
  /** Where the tasks hang: a step that is interrupted must not take them along. */
  readonly #home = CancellationScope.current();
  readonly #tasks = new Map<BackgroundKind, Task>();
  readonly #ending = new Map<BackgroundKind, Promise<void>>();

  constructor(run: Run) {
    this.#run = run;
    run.beforeContinuing(() => this.#rest());
    // What an earlier run of the same migration had under way.
    for (const kind of run.state.background) this.start(kind);
  }

  start(kind: BackgroundKind): void {
    if (this.#tasks.has(kind)) return;
    this.#run.change(backgroundWanted(this.#run.state, kind));
    const scope = new CancellationScope({ cancellable: true, parent: this.#home });
    const earlier = this.#ending.get(kind);
    const ended = scope.run(() => this.#keep(kind, scope, earlier));
    this.#tasks.set(kind, { scope, ended });
  }

  /** Ends it and waits until it has ended: cancelled, failed, or silent for its heartbeat timeout. */
  async stop(kind: BackgroundKind): Promise<void> {
    this.#run.change(backgroundUnwanted(this.#run.state, kind));
    await this.#cancel(kind);
  }

  async restart(kind: BackgroundKind): Promise<void> {
    await this.stop(kind);
    this.start(kind);
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#tasks.keys()].map((kind) => this.stop(kind)));
  }

  /** The state keeps wanting them: the next run starts them again. */
  async #rest(): Promise<void> {
    await Promise.all([...this.#tasks.keys()].map((kind) => this.#cancel(kind)));
  }

  async #cancel(kind: BackgroundKind): Promise<void> {
    const task = this.#tasks.get(kind);
    if (task) {
      this.#tasks.delete(kind);
      this.#ending.set(kind, task.ended);
      task.scope.cancel();
    }
    await this.#ending.get(kind);
  }

  /** Never rejects. */
  async #keep(kind: BackgroundKind, scope: CancellationScope, earlier: Promise<void> | undefined): Promise<void> {
    // Two of the same kind at once would be two owners.
    await earlier;
    while (!scope.consideredCancelled) {
      try {
        await this.#once(kind);
        await sleep(restartAfterMs, { summary: `${kind} ended by itself: again` });
      } catch (error) {
        if (scope.consideredCancelled) return;
        const goesOn = await this.#decided(kind, describeFailure(error)).catch(() => false);
        if (!goesOn) return;
      }
    }
  }

  /** Shows the failure and waits; false when it was given up or stopped meanwhile. */
  async #decided(kind: BackgroundKind, failure: Failure): Promise<boolean> {
    const run = this.#run;
    const choices: readonly DecideMessage['choice'][] = isOpened(run.state)
      ? ['retry', 'rollback', 'skip']
      : ['retry', 'rollback'];
    const step: Step = kind === 'watchFence:source' || kind === 'watchFence:target' ? 'fence' : 'mirror';
    const message = `${kind}: ${failure.message}`;
    run.change(stepFailed(run.state, { id: kind, step, code: failure.code, message, choices }));
    log.error('background activity failed, waiting for decide', { migration: run.state.name, kind, ...failure });
    await condition(() => failureOf(run.state, kind)?.choice !== null);
    const choice = failureOf(run.state, kind)?.choice;
    if (choice !== 'skip') {
      // A rollback needs it as much as a retry does.
      run.change(failureSettled(run.state, kind));
      return true;
    }
    this.#tasks.delete(kind);
    run.change(backgroundGivenUp(run.state, kind));
    return false;
  }

  /** Runs the activities of one kind until one fails; then the others have ended too. */
  async #once(kind: BackgroundKind): Promise<void> {
    await CancellationScope.cancellable(async () => {
      const running = this.#activitiesOf(kind);
      try {
        await Promise.all(running);
      } catch (error) {
        CancellationScope.current().cancel();
        await Promise.allSettled(running);
        throw error;
      }
    });
  }

  #activitiesOf(kind: BackgroundKind): Promise<void>[] {
    const { scope, plan } = this.#run;
    const shards = plan.mirror.shards;
    const perShard = (work: (shard: number) => Promise<void>) => Array.from({ length: shards }, (_, i) => work(i));
    switch (kind) {
      case 'mirror:forward':
      case 'mirror:reverse': {
        const direction = kind === 'mirror:forward' ? 'forward' : 'reverse';
        const way = direction === 'forward' ? `${plan.source} to ${plan.target}` : `${plan.target} to ${plan.source}`;
        return perShard((shard) =>
          activities.mirror.executeWithOptions(lastingShard(`mirror ${way}, shard ${shard + 1} of ${shards}`), [
            { ...scope, direction, shard, shards },
          ]),
        );
      }
      case 'audit':
        return perShard((shard) =>
          activities.audit.executeWithOptions(lastingShard(`audit, shard ${shard + 1} of ${shards}`), [
            { ...scope, shard, shards },
          ]),
        );
      case 'followGroups':
        return [activities.followGroups.executeWithOptions(lasting('keep positions of groups alive'), [scope])];
      case 'watchFence:source':
      case 'watchFence:target': {
        const side = kind === 'watchFence:source' ? 'source' : 'target';
        const summary = `watch the fence of ${plan[side]}`;
        return [activities.watchFence.executeWithOptions(lasting(summary), [{ ...scope, side }])];
      }
    }
  }
}
