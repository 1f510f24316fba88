/**
 * The activities that run beside the steps: both mirrors, the audit, the groups' positions, changes of the source, the watch over
 * the fence. Each is kept alive until it is stopped; where one fails for people to see, people decide.
 */
import { CancellationScope, condition, isCancellation, log, patched, sleep } from '@temporalio/workflow';
import type { DecideMessage, Direction, MirrorSettings, Step } from '../contract/status.ts';
import type { Run } from './run.ts';
import {
  type BackgroundKind,
  backgroundGivenUp,
  backgroundUnwanted,
  backgroundWanted,
  balanced,
  type Failure,
  failureOf,
  failureSettled,
  isApplicationsWaiting,
  isFenced,
  isOpened,
  mirrorSettings,
  mirrorStarted,
  sameSettings,
  stepFailed,
} from './state.ts';
import { activities, describeFailure, lasting, lastingShard, prepare, unattended } from './steps/calls.ts';

/** Before one that ended by itself is started again. */
const restartAfterMs = 1_000;

/** What the shards of a mirror or an audit were started with. */
interface ShardPlan extends MirrorSettings {
  /** Name of the stored weights; null for the audit, and by the sizes in the inventory. */
  readonly weights: string | null;
}

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
  /** Stopped only to go on with other settings. */
  readonly #changing = new Set<BackgroundKind>();

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

  /** What follows the source until the fence. */
  follow(): void {
    this.start('followGroups');
    // Runs of an earlier build have no such activity.
    if (patched('follow-metadata')) this.start('followMetadata');
  }

  async stopFollowing({ groupsToo }: { readonly groupsToo: boolean }): Promise<void> {
    await Promise.all([...(groupsToo ? [this.stop('followGroups')] : []), this.stop('followMetadata')]);
  }

  /** Some are between their old settings and the new ones. */
  get isChanging(): boolean {
    return this.#changing.size > 0;
  }

  /** Nobody waits for what is just being started again. */
  async settled(): Promise<void> {
    await condition(() => !this.isChanging);
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
      this.#changing.delete(kind);
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
        if (await this.#once(kind)) continue;
        await sleep(restartAfterMs, { summary: `${kind} ended by itself: again` });
      } catch (error) {
        if (scope.consideredCancelled) return;
        let failure: Failure | null = describeFailure(error);
        if (kind === 'audit' && failure.code === 'PARITY_FAILED') failure = await this.#mirroredAgain(failure);
        if (failure === null) continue;
        if (scope.consideredCancelled) return;
        const goesOn = await this.#decided(kind, failure).catch(() => false);
        if (!goesOn) return;
      }
    }
  }

  /**
   * Before the fence, a topic with a slot that differs is mirrored again from the start by itself, while the forward mirror rests.
   *
   * @returns null when it is done, else what people are to see
   */
  async #mirroredAgain(failure: Failure): Promise<Failure | null> {
    const run = this.#run;
    const resting = this.#tasks.has('mirror:forward');
    // Runs that an earlier build began ask people.
    if (!resting || isOpened(run.state) || isFenced(run.state) || !patched('mirror-again')) return failure;
    const work = async () => {
      // The state goes on wanting it: a run that is continued meanwhile starts it.
      await this.#cancel('mirror:forward');
      const how = prepare('mirror a spoiled topic again from the start');
      run.report('mirror', await activities.remirror.executeWithOptions(how, [run.scope]));
    };
    const done = work().then(
      () => null,
      (error) => describeFailure(error),
    );
    // Whoever starts the mirror meanwhile waits for the topic.
    this.#ending.set(
      'mirror:forward',
      done.then(() => {}),
    );
    const refused = await done;
    if (run.state.background.includes('mirror:forward')) this.start('mirror:forward');
    return refused;
  }

  /** Shows the failure and waits; false when it was given up or stopped meanwhile. */
  async #decided(kind: BackgroundKind, failure: Failure): Promise<boolean> {
    const run = this.#run;
    const choices: readonly DecideMessage['choice'][] = isOpened(run.state)
      ? ['retry', 'rollback', 'skip']
      : ['retry', 'rollback'];
    const step: Step = kind === 'watchFence:source' || kind === 'watchFence:target' ? 'fence' : 'mirror';
    const message = `${kind}: ${failure.message}`;
    run.change(stepFailed(run.state, { id: kind, step, code: failure.code, message, choices, at: run.now }));
    log.error('background activity failed, waiting for decide', { ...run.fields, kind, ...failure });
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

  /**
   * Runs the activities of one kind until one fails, or until other settings are wanted; then the others have ended too.
   *
   * @returns whether it is to go on at once, with other settings
   */
  async #once(kind: BackgroundKind): Promise<boolean> {
    const shards = this.#shardPlan(kind);
    this.#changing.delete(kind);
    let changes = false;
    let over = false;
    await CancellationScope.cancellable(async () => {
      const scope = CancellationScope.current();
      const running = this.#activitiesOf(kind, shards);
      this.#otherPlanWanted(kind, shards).then(
        () => {
          if (over) return;
          changes = true;
          this.#changing.add(kind);
          scope.cancel();
        },
        () => {}, // cancelled with the scope
      );
      try {
        await Promise.all(running);
      } catch (error) {
        scope.cancel();
        await Promise.allSettled(running);
        // What is wrong shows again at once; that a silent one could not be stopped does not matter any more.
        if (!changes) throw error;
      } finally {
        over = true;
        scope.cancel();
      }
    });
    return changes;
  }

  #shardPlan(kind: BackgroundKind): ShardPlan {
    const { state } = this.#run;
    const direction = mirrored(kind);
    return { ...mirrorSettings(state), weights: direction && state.balance[direction] };
  }

  /** Waits until people or the balance want other shards; never while applications wait. */
  async #otherPlanWanted(kind: BackgroundKind, now: ShardPlan): Promise<void> {
    const isMirror = mirrored(kind) !== null;
    await condition(() => {
      if (isApplicationsWaiting(this.#run.state)) return false;
      const wanted = this.#shardPlan(kind);
      if (isMirror) return wanted.weights !== now.weights || !sameSettings(wanted, now);
      return kind === 'audit' && wanted.shards !== now.shards;
    });
  }

  #activitiesOf(kind: BackgroundKind, { shards, maxBytesPerSecond, weights }: ShardPlan): Promise<void>[] {
    const { scope, plan } = this.#run;
    const perShard = (work: (shard: number) => Promise<void>) => Array.from({ length: shards }, (_, i) => work(i));
    switch (kind) {
      case 'mirror:forward':
      case 'mirror:reverse': {
        const direction = kind === 'mirror:forward' ? 'forward' : 'reverse';
        const way = direction === 'forward' ? `${plan.source} to ${plan.target}` : `${plan.target} to ${plan.source}`;
        this.#run.change(mirrorStarted(this.#run.state, { maxBytesPerSecond, shards }));
        const mirrors = perShard((shard) =>
          activities.mirror.executeWithOptions(lastingShard(`mirror ${way}, shard ${shard + 1} of ${shards}`), [
            { ...scope, direction, shard, shards, maxBytesPerSecond, weights },
          ]),
        );
        // Not awaited: nothing depends on how it ends. Runs of an earlier build have no such activity.
        if (shards > 1 && patched('balance-shards')) void this.#balance(direction, shards, weights);
        return mirrors;
      }
      case 'audit':
        return perShard((shard) =>
          activities.audit.executeWithOptions(lastingShard(`audit, shard ${shard + 1} of ${shards}`), [
            { ...scope, shard, shards },
          ]),
        );
      case 'followGroups':
        return [activities.followGroups.executeWithOptions(lasting('keep positions of groups alive'), [scope])];
      case 'followMetadata':
        return [activities.followMetadata.executeWithOptions(lasting('follow changes of the source'), [scope])];
      case 'watchFence:source':
      case 'watchFence:target': {
        const side = kind === 'watchFence:source' ? 'source' : 'target';
        const summary = `watch the fence of ${plan[side]}`;
        return [activities.watchFence.executeWithOptions(lasting(summary), [{ ...scope, side }])];
      }
    }
  }

  /** Waits until spreading what is left anew is worth it; then the mirror goes on with other weights. Never rejects. */
  async #balance(direction: Direction, shards: number, weights: string | null): Promise<void> {
    const run = this.#run;
    try {
      const summary = `watch how evenly ${shards} shards get on`;
      const request = { ...run.scope, direction, shards, weights };
      const anew = await activities.balanceShards.executeWithOptions(unattended(summary), [request]);
      log.info('spreading partitions over shards anew', { ...run.fields, direction, text: anew.summary });
      run.change(balanced(run.state, direction, anew.weights));
    } catch (error) {
      if (isCancellation(error)) return;
      // The copy is whole without it, only slower.
      const { code, message } = describeFailure(error);
      log.warn('shards are not balanced any more', { ...run.fields, direction, code, text: message });
    }
  }
}

function mirrored(kind: BackgroundKind): Direction | null {
  if (kind === 'mirror:forward') return 'forward';
  return kind === 'mirror:reverse' ? 'reverse' : null;
}
