/**
 * The ACL fence: DENY WRITE for everyone who may write, added and never replacing anything. Set, proven, watched;
 * lifted by `journal.undo` of its purpose.
 *
 * Proof takes three things, each of which alone can lie: the rules as every live broker shows them (a broker that has
 * not heard of a rule does not enforce it), a model of the authorizer that finds nobody left who may write, and
 * log ends that stand still (the model does not know super users).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../../contract/errors.ts';
import { type Acl, aclKey, awaitAcls, describeAcls } from '../../kafka/acls.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import type { TopicPartition } from '../../kafka/offsets.ts';
import { fenceAcls, type OurPrincipals, protectionAcls } from '../acls.ts';
import { type AccessRules, covers, everybody, mayDo, readersOf, writersOf } from '../authorizer.ts';
import type { Change, Clusters, Side } from '../change.ts';
import { type Journal, type Purpose, stands } from '../journal.ts';
import { awaitStillness } from './stillness.ts';

/** What the model of the authorizer cannot learn from the rules themselves. */
export type AuthorizerFacts = Omit<AccessRules, 'acls'>;

export interface AclFence {
  readonly clusters: Clusters;
  /** The cluster that is closed to applications. */
  readonly side: Side;
  readonly journal: Journal;
  readonly wave: string;
  readonly topics: readonly string[];
  /** `fence.principals` of the plan: who writes where rules let anybody write. With it, "anybody" is taken on trust. */
  readonly principals: readonly string[];
  /** Our principals on that cluster; never denied, and what they may does not count. */
  readonly ours: OurPrincipals;
  /** After this moment (milliseconds since 1970) no access change is sent. */
  readonly deadlineMs: number;
  readonly facts?: AuthorizerFacts;
  /** Deny `User:*`; only where all our own principals are super users. */
  readonly denyEverybody?: boolean;
}

/** Rules in one journal entry. */
const rulesPerChange = 500;
/** Between two looks of the watch. */
export const watchIntervalMs = 1_000;
/** Looks that must agree before the watch cries out: a broker that has just restarted learns rules one by one. */
const watchLooks = 3;
const watchLookPauseMs = 200;

/**
 * Denies WRITE on the topics to everyone who may write them, each change checked against the deadline right before it
 * is sent, and waits until every live broker shows the rules. Doing it again adds only what is missing.
 *
 * @returns every rule of this fence, those of earlier attempts too
 * @throws CutoverError FENCE_EXPIRED, ACL_OPEN_ENDED, ACL_AUTHORIZER_ABSENT, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function closeWrites(fence: AclFence): Promise<Acl[]> {
  const rules = await rulesOf(fence.clusters[fence.side], fence.facts);
  const { acls, openEnded } = fenceAcls(rules, fence.topics, {
    principals: fence.principals,
    exempt: fence.ours,
    ...(fence.denyEverybody && { denyEverybody: true }),
  });
  return close(fence, `fence-${fence.side}`, acls, openEnded);
}

/**
 * Denies READ on the groups to everyone who may be a member: no joins, no heartbeats, no commits. Members that there
 * are stay listed until their session ends, but can do nothing.
 *
 * @throws as `closeWrites`
 */
export async function closeGroups(
  fence: Omit<AclFence, 'topics'> & { readonly groups: readonly string[] },
): Promise<Acl[]> {
  const rules = await rulesOf(fence.clusters[fence.side], fence.facts);
  const moved = { topics: [], groups: fence.groups };
  const { acls, openEnded } = protectionAcls(rules, moved, {
    principals: fence.principals,
    exempt: fence.ours,
    ...(fence.denyEverybody && { denyEverybody: true }),
  });
  const closed = await close({ ...fence, topics: [] }, `group-fence-${fence.side}`, acls, openEnded);
  const after = await rulesOf(fence.clusters[fence.side], fence.facts);
  for (const group of fence.groups) {
    const left = notOurs(readersOf(after, group), fence);
    if (left.length > 0) throw notProven(fence, `group ${group}`, `${left.join(', ')} may still be members`);
  }
  return closed;
}

/** The rules that hold this fence, as the journal knows them. */
export async function fenceRules(journal: Journal, wave: string, purpose: Purpose): Promise<Acl[]> {
  const entries = (await journal.entries(wave)).filter((e) => e.purpose === purpose && stands(e));
  const acls = entries.flatMap((entry) => (entry.change.kind === 'create-acls' ? entry.change.acls : []));
  return [...new Map(acls.map((acl) => [aclKey(acl), acl])).values()];
}

/** When the standing fence was first recorded (ISO 8601), or '' without one: whatever is older belongs to another fence. */
export async function fenceBegan(journal: Journal, wave: string, side: Side): Promise<string> {
  const standing = (await journal.entries(wave)).filter((e) => e.purpose === `fence-${side}` && stands(e));
  return standing.map((entry) => entry.at).sort()[0] ?? '';
}

export interface FenceProof {
  /** ISO 8601. */
  readonly at: string;
  readonly rules: number;
  readonly brokers: number;
  /** Log end per `topic/partition`, which stood still for `quietMs`. */
  readonly logEnds: ReadonlyMap<string, bigint>;
  readonly quietMs: number;
}

/**
 * Shows that nobody writes any more. Log ends are looked at again until they stand still or the deadline has passed; a
 * writer that the model finds is an error at once, because waiting does not help.
 *
 * @throws CutoverError FENCE_NOT_PROVEN naming principals, or partitions that move and producers seen there
 */
export async function proveFence(
  fence: AclFence & {
    readonly partitions: readonly TopicPartition[];
    readonly quietMs: number;
    /** Producer ids of the mirror that wrote here, by `topic/partition`. */
    readonly mirror?: ReadonlyMap<string, bigint>;
    readonly signal?: AbortSignal;
  },
): Promise<FenceProof> {
  const cluster = fence.clusters[fence.side];
  const present = await fenceRules(fence.journal, fence.wave, `fence-${fence.side}`);
  try {
    await awaitAcls(cluster, { present }, { timeoutMs: Math.max(0, fence.deadlineMs - Date.now()) });
  } catch (cause) {
    if (!(cause instanceof CutoverError) || cause.code !== 'KAFKA_REQUEST_FAILED') throw cause;
    throw notProven(fence, 'access rules', cause.detail.found ?? cause.message);
  }
  const rules = await rulesOf(cluster, fence.facts);
  for (const topic of fence.topics) {
    const left = notOurs(writersOf(rules, topic), fence);
    if (left.length > 0) throw notProven(fence, `topic ${topic}`, `${left.join(', ')} may still write`);
  }
  const { partitions, quietMs, deadlineMs, mirror, signal } = fence;
  const logEnds = await awaitStillness({
    cluster,
    partitions,
    quietMs,
    deadlineMs,
    ...(mirror && { mirror }),
    ...(signal && { signal }),
  });
  const brokers = (await cluster.metadata([])).brokers.length;
  return { at: new Date().toISOString(), rules: present.length, brokers, logEnds, quietMs };
}

export interface FenceWatch {
  readonly cluster: Cluster;
  readonly rules: readonly Acl[];
  readonly topics: readonly string[];
  readonly ours: OurPrincipals;
  /** `fence.principals` of the plan; none by default. */
  readonly principals?: readonly string[];
  readonly facts?: AuthorizerFacts;
}

/**
 * One look at what the fence relies on: what changed, one line each; empty when it stands. A broker that does not
 * answer is left out, since it takes no writes either.
 */
export async function lookAtFence(watch: FenceWatch): Promise<string[]> {
  const { cluster } = watch;
  const { brokers } = await cluster.metadata([]);
  const changed: string[] = [];
  let asked = 0;
  for (const { id } of brokers) {
    let acls: Acl[];
    try {
      acls = await describeAcls(cluster, { broker: id });
    } catch (error) {
      if (error instanceof CutoverError && error.retryable) continue;
      throw error;
    }
    asked++;
    const seen = new Set(acls.map(aclKey));
    for (const rule of watch.rules) {
      if (!seen.has(aclKey(rule))) changed.push(`gone: ${aclKey(rule)} (broker ${id})`);
    }
    const rules = { ...watch.facts, acls };
    for (const topic of watch.topics) {
      for (const principal of notOurs(writersOf(rules, topic), watch)) {
        const grants = acls.filter((acl) => grantsWrite(acl, principal, topic)).map(aclKey);
        changed.push(
          `${principal} may write ${topic} (broker ${id})${grants.length > 0 ? `: ${grants.join('; ')}` : ''}`,
        );
      }
    }
  }
  if (asked === 0) {
    throw new CutoverError('CLUSTER_UNREACHABLE', {
      what: 'no broker shows its access rules',
      where: `cluster ${cluster.name}`,
    });
  }
  return changed;
}

/**
 * Looks at the fence again and again until `signal` aborts.
 *
 * @throws CutoverError ACCESS_CHANGED with what changed, CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED
 */
export async function watchFence(
  watch: FenceWatch & { readonly signal: AbortSignal; readonly intervalMs?: number; readonly onLook?: () => void },
): Promise<void> {
  while (!watch.signal.aborted) {
    let changed = await lookAtFence(watch);
    for (let look = 1; changed.length > 0 && look < watchLooks; look++) {
      await sleep(watchLookPauseMs);
      changed = await lookAtFence(watch);
    }
    if (changed.length > 0) throw accessChanged(watch.cluster, changed);
    watch.onLook?.();
    await sleep(watch.intervalMs ?? watchIntervalMs, undefined, { signal: watch.signal }).catch(() => {});
  }
}

/** @throws CutoverError FENCE_EXPIRED */
export function refuseExpired(deadlineMs: number, where: string): void {
  const overMs = Date.now() - deadlineMs;
  if (overMs < 0) return;
  throw new CutoverError('FENCE_EXPIRED', {
    what: 'the time of the fence is up, so nothing more is changed under it',
    where,
    found: `${overMs} ms past the deadline`,
  });
}

function accessChanged(cluster: Cluster, changed: readonly string[]): CutoverError {
  const more = changed.length > 5 ? ` and ${changed.length - 5} more` : '';
  return new CutoverError('ACCESS_CHANGED', {
    what: 'access rules that the fence relies on were changed',
    where: `cluster ${cluster.name}`,
    found: `${changed.slice(0, 5).join('; ')}${more}`,
    wanted: 'nobody but us may write',
  });
}

async function close(
  fence: AclFence,
  purpose: Purpose,
  acls: readonly Acl[],
  openEnded: readonly string[],
): Promise<Acl[]> {
  const { name } = fence.clusters[fence.side];
  if (openEnded.length > 0) {
    throw new CutoverError('ACL_OPEN_ENDED', {
      what: 'rules leave these open to principals that no rule names',
      where: `cluster ${name}`,
      found: openEnded.slice(0, 5).join(', '),
    });
  }
  const changes: Change[] = [];
  for (let i = 0; i < acls.length; i += rulesPerChange) {
    changes.push({ kind: 'create-acls', cluster: fence.side, acls: acls.slice(i, i + rulesPerChange) });
  }
  const beforeEach = () => refuseExpired(fence.deadlineMs, `cluster ${name}, wave ${fence.wave}`);
  beforeEach();
  await fence.journal.make(fence.wave, purpose, changes, { beforeEach });
  return fenceRules(fence.journal, fence.wave, purpose);
}

async function rulesOf(cluster: Cluster, facts: AuthorizerFacts | undefined): Promise<AccessRules> {
  return { ...facts, acls: await describeAcls(cluster) };
}

/** Who may besides us. Where the plan names the writers, that nobody else uses an open rule is the plan's word. */
function notOurs(
  who: { readonly named: readonly string[]; readonly everybody: boolean },
  { ours, principals = [] }: Pick<FenceWatch, 'ours' | 'principals'>,
): string[] {
  const named = who.named.filter((p) => p !== ours.own && p !== ours.forward && p !== ours.reverse);
  return who.everybody && principals.length === 0 ? [...named, 'anybody whom no rule names'] : named;
}

function grantsWrite(acl: Acl, principal: string, topic: string): boolean {
  const resource = { type: 'topic', name: topic } as const;
  if (acl.permission !== 'allow' || !covers(acl, resource)) return false;
  if (acl.principal !== principal && acl.principal !== everybody) return false;
  return mayDo({ acls: [acl] }, principal, acl.host, 'write', resource);
}

function notProven(fence: Pick<AclFence, 'clusters' | 'side'>, what: string, found: string): CutoverError {
  return new CutoverError('FENCE_NOT_PROVEN', {
    what: `the fence is set but not proven: ${what}`,
    where: `cluster ${fence.clusters[fence.side].name}`,
    found,
  });
}
