/**
 * Points applications on Kubernetes at the other cluster: one key of a ConfigMap or Secret is set, and Deployments are restarted and awaited.
 *
 * What the key held is stored before it is changed, so that a rollback puts exactly that back. Of a Secret only a digest is stored, so there
 * the key must hold what we can make again: the bootstrap addresses of the cluster that is left.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../../contract/errors.ts';
import type { ConfigMapSwitch, Plan } from '../../contract/plan.ts';
import type { Direction } from '../../contract/status.ts';
import type { ClustersFile, KubernetesConfig } from '../../kafka/clusters.ts';
import { getJson, putJson, type Storage } from '../storage.ts';
import { type Deployment, type Kubernetes, type ObjectKind, rolloutGivenUp, rolloutWaitsFor } from './kubernetes.ts';

export interface ValueSwitch {
  readonly api: Kubernetes;
  readonly storage: Storage;
  readonly migration: string;
  readonly wave: string;
  readonly direction: Direction;
  /** Name of the stored boundary: what sets this move apart from an earlier one. */
  readonly occasion: string;
  /** Of the restart, ISO 8601; the same on every retry. */
  readonly at: string;
  readonly target: ConfigMapSwitch;
  /** What the key holds for each cluster. */
  readonly values: { readonly source: string; readonly target: string };
  /** Called right before each change; throws when it must not be made any more. */
  readonly beforeSend?: () => void;
  readonly signal?: AbortSignal;
}

/** What is stored before a key is changed. */
interface Changed {
  readonly occasion: string;
  /** ISO 8601. */
  readonly at: string;
  /** Null for a Secret. */
  readonly before: string | null;
  /** sha256, hex. */
  readonly digestBefore: string;
  readonly digestAfter: string;
}

/** How often an object that somebody else changes at the same time is read again. */
const conflictsMax = 5;
const conflictPauseMs = 100;
const lookEveryMs = 500;
/** Of values, in messages. */
const shownMax = 100;

/**
 * Where the plan means: by name, the only one that clusters.yaml defines, or the cluster that this process runs in.
 *
 * @throws CutoverError KUBERNETES_UNKNOWN
 */
export function kubernetesOf(file: ClustersFile, { kubernetes }: ConfigMapSwitch, path: string): KubernetesConfig {
  const names = file.kubernetesNames;
  if (kubernetes !== undefined) return file.kubernetes(kubernetes);
  if (names.length <= 1) return file.kubernetes(names[0] ?? null);
  throw new CutoverError('KUBERNETES_UNKNOWN', {
    what: 'the plan names no Kubernetes cluster',
    where: `plan ${path}`,
    found: `${names.length} in ${file.path}: ${names.join(', ')}`,
    wanted: 'one of them as `kubernetes`',
  });
}

/** What the key holds for each cluster. */
export function valuesOf(
  plan: Pick<Plan, 'source' | 'target'>,
  file: ClustersFile,
  { values }: ConfigMapSwitch,
): { readonly source: string; readonly target: string } {
  const bootstrap = (name: string) => file.cluster(name).bootstrap.join(',');
  return values ?? { source: bootstrap(plan.source), target: bootstrap(plan.target) };
}

/**
 * Sets the key, restarts the Deployments, and awaits that every replica is new and available. Doing it again changes and restarts only what
 * is not done yet.
 *
 * @throws CutoverError SWITCH_VALUE_UNEXPECTED, ROLLOUT_STUCK naming Deployments and why, KUBERNETES_REFUSED, KUBERNETES_UNREACHABLE
 */
export async function switchValue(change: ValueSwitch): Promise<string> {
  const { kind, name, key, namespace, restart } = change.target;
  const set = await setKey(change);
  for (const deployment of restart) {
    change.beforeSend?.();
    await change.api.restart({ namespace, name: deployment }, change.at);
  }
  await awaitRollouts(change);
  const restarted = restart.length > 0 ? `, ${restart.join(', ')} restarted and available` : ', nothing restarted';
  return `${kind} ${namespace}/${name}, key ${key}: ${set ? 'set' : 'was set already'}${restarted}`;
}

/** Whether it had to be sent. */
async function setKey(change: ValueSwitch): Promise<boolean> {
  const { api, target } = change;
  const artifact = artifactOf(change);
  for (let conflicts = 0; conflicts < conflictsMax; conflicts++) {
    const { data, resourceVersion } = await api.read(target.kind, target);
    const current = data.get(target.key);
    const stored = await getJson<Changed>(change.storage, artifact);
    const wanted = wantedOf(change, stored);
    refuseUnexpected(change, current, wanted, stored);
    if (current === wanted) return false;
    if (change.direction === 'forward' && stored?.occasion !== change.occasion) {
      await putJson(change.storage, artifact, {
        occasion: change.occasion,
        at: new Date().toISOString(),
        before: target.kind === 'Secret' ? null : current,
        digestBefore: digest(current),
        digestAfter: digest(wanted),
      } satisfies Changed);
    }
    change.beforeSend?.();
    if (await api.set(target.kind, target, target.key, wanted, resourceVersion)) return true;
    await sleep(conflictPauseMs, undefined, change.signal && { signal: change.signal });
  }
  throw new CutoverError('KUBERNETES_UNREACHABLE', {
    what: 'somebody else changes the object again and again',
    where: placeOf(target),
    found: `${conflictsMax} conflicts in a row`,
    wanted: 'one write that nobody is faster than',
  });
}

/** On the way back what was there before; where that was not stored, or was the target's value already, the source's. */
function wantedOf({ direction, values }: ValueSwitch, stored: Changed | null): string {
  if (direction === 'forward') return values.target;
  return stored?.before && stored.before !== values.target ? stored.before : values.source;
}

/** @throws CutoverError SWITCH_VALUE_UNEXPECTED */
function refuseUnexpected(
  change: ValueSwitch,
  current: string | undefined,
  wanted: string,
  stored: Changed | null,
): asserts current is string {
  const { target, values, direction } = change;
  const refuse = (what: string, expected: string) => {
    const found =
      current === undefined
        ? 'no such key'
        : target.kind === 'Secret'
          ? 'another value'
          : JSON.stringify(shown(current));
    return new CutoverError('SWITCH_VALUE_UNEXPECTED', { what, where: placeOf(target), found, wanted: expected });
  };
  if (current === undefined) throw refuse('the key that applications are to read is not there', 'the key');
  if (current === wanted) return;
  if (direction === 'reverse') {
    if (current === values.target || digest(current) === stored?.digestAfter) return;
    throw refuse('the key does not hold what the switch had set', say(target.kind, 'the target', values.target));
  }
  if (stored?.occasion === change.occasion) {
    if (digest(current) === stored.digestBefore) return;
    throw refuse('the key was changed while it was switched', 'what it held before, or the value for the target');
  }
  if (target.kind === 'Secret' && current !== values.source) {
    const what = 'the key holds what could not be put back, since secrets are not stored';
    throw refuse(what, say(target.kind, 'the source', values.source));
  }
}

async function awaitRollouts(change: ValueSwitch): Promise<void> {
  const { namespace, rollout, restart } = change.target;
  const deadline = Date.now() + rollout;
  let open = [...restart];
  for (;;) {
    const waiting: string[] = [];
    const left: string[] = [];
    for (const name of open) {
      const deployment = await lookAt(change.api, { namespace, name }, deadline);
      if (deployment === null) {
        left.push(name);
        waiting.push(`${name}: Kubernetes does not answer`);
        continue;
      }
      const why = rolloutWaitsFor(deployment);
      if (why === null) continue;
      const never = rolloutGivenUp(deployment);
      if (never !== null) throw stuck(namespace, [`${name}: ${why}; ${never}`]);
      left.push(name);
      waiting.push(`${name}: ${[why, ...complaints(deployment)].join('; ')}`);
    }
    open = left;
    if (open.length === 0) return;
    if (Date.now() > deadline) throw stuck(namespace, waiting, `within ${rollout / 1000} s (rollout)`);
    await sleep(lookEveryMs, undefined, change.signal && { signal: change.signal });
  }
}

/** Null while the API is away: a rollout goes on without us. */
async function lookAt(
  api: Kubernetes,
  place: { readonly namespace: string; readonly name: string },
  deadline: number,
): Promise<Deployment | null> {
  try {
    return await api.deployment(place);
  } catch (error) {
    if (error instanceof CutoverError && error.retryable && Date.now() <= deadline) return null;
    throw error;
  }
}

/** What its conditions complain of. */
function complaints({ conditions }: Deployment): string[] {
  return conditions
    .filter(({ type, status }) => (type === 'ReplicaFailure' ? status === 'True' : status === 'False'))
    .map(({ type, reason, message }) => `${type} ${reason}: ${message}`);
}

function stuck(namespace: string, waiting: readonly string[], wanted?: string): CutoverError {
  return new CutoverError('ROLLOUT_STUCK', {
    what: 'Deployments did not become new and available',
    where: `namespace ${namespace}`,
    found: waiting.slice(0, 5).join('; '),
    wanted,
  });
}

/** One for each key, whoever reads it: producers and consumers may share one. */
function artifactOf({ migration, wave, target }: ValueSwitch): string {
  const { kubernetes = '', namespace, kind, name, key } = target;
  return `${migration}/switches/${wave}/${[kubernetes, namespace, kind, name, key].join('/')}`;
}

function placeOf({ kind, namespace, name, key }: ConfigMapSwitch): string {
  return `${kind} ${namespace}/${name}, key ${key}`;
}

function say(kind: ObjectKind, whose: string, value: string): string {
  return kind === 'Secret' ? `the bootstrap addresses of ${whose}` : JSON.stringify(shown(value));
}

const shown = (value: string): string => (value.length > shownMax ? `${value.slice(0, shownMax)}...` : value);
const digest = (value: string): string => createHash('sha256').update(value).digest('hex');
