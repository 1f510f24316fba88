/** One wave of one migration with everything that its steps need at hand. */
import type { Finding } from '../contract/errors.ts';
import { CutoverError } from '../contract/errors.ts';
import { fenceKinds } from '../contract/fences.ts';
import type { Plan } from '../contract/plan.ts';
import type { TopicPartition } from '../kafka/offsets.ts';
import type { Access } from './access.ts';
import { mappedPrincipal, type OurPrincipals } from './acls.ts';
import type { Clusters, Side } from './change.ts';
import type { AclFence, AuthorizerFacts } from './fences/acl.ts';
import { type Inventory, ourPrincipals } from './inventory.ts';
import { type Journal, openJournal } from './journal.ts';
import { type LogNeeds, noNeeds } from './needs.ts';
import { getAllJson, getJson, putJson, type Storage } from './storage.ts';
import type { TopicShape } from './topics.ts';
import { partOf, topicsUpTo } from './waves.ts';

/** What preflight stores under the plan's digest, and every later step starts from. */
export interface StoredInventory {
  readonly digest: string;
  /** Absent where an earlier build stored it. */
  readonly plan?: Plan;
  readonly inventory: Inventory;
  readonly access: Readonly<Record<Side, Access>>;
  /** Absent where an earlier build stored it. */
  readonly needs?: LogNeeds;
  readonly findings: readonly Finding[];
}

export const inventoryName = (migration: string, digest: string): string => `${migration}/inventory/${digest}`;

export interface Wave {
  readonly plan: Plan;
  /** The plan's name: prefix of everything stored. */
  readonly migration: string;
  readonly wave: string;
  readonly clusters: Clusters;
  readonly storage: Storage;
  readonly journal: Journal;
  /** Called right before anything is changed; throws when this attempt may have been replaced by another. */
  readonly beforeSend: () => void;
  /** Of all waves of the plan. */
  readonly whole: Inventory;
  /** Of this wave alone. */
  readonly inventory: Inventory;
  readonly topics: readonly TopicShape[];
  readonly topicNames: readonly string[];
  readonly partitions: readonly TopicPartition[];
  readonly groups: readonly string[];
  /** Those of them that are share groups. */
  readonly shareGroups: ReadonlySet<string>;
  /** Number of partitions of the topics that its groups' positions are carried for. */
  readonly groupTopics: ReadonlyMap<string, number>;
  readonly ours: Readonly<Record<Side, OurPrincipals>>;
  readonly facts: Readonly<Record<Side, AuthorizerFacts>>;
  readonly needs: LogNeeds;
}

export async function storeInventory(storage: Storage, migration: string, stored: StoredInventory): Promise<string> {
  const name = inventoryName(migration, stored.digest);
  await putJson(storage, name, stored);
  return name;
}

/** @throws CutoverError STORAGE_CORRUPT when nothing is stored under that name */
export async function readInventory(storage: Storage, name: string): Promise<StoredInventory> {
  const stored = await getJson<StoredInventory>(storage, name);
  if (stored) return stored;
  throw new CutoverError('STORAGE_CORRUPT', { what: 'the approved inventory is not in storage', where: name });
}

/** Name of the newest stored inventory, for what works from storage alone; null before preflight has run. */
export async function latestInventory(storage: Storage, migration: string): Promise<string | null> {
  let latest: { readonly name: string; readonly takenAt: string } | null = null;
  for (const { name, value } of await getAllJson<StoredInventory>(storage, inventoryName(migration, ''))) {
    const { takenAt } = value.inventory.measured;
    if (latest === null || takenAt > latest.takenAt) latest = { name, takenAt };
  }
  return latest?.name ?? null;
}

/**
 * The wave as people approved it.
 *
 * @param inventory name of the stored inventory
 */
export async function openWave(
  clusters: Clusters,
  storage: Storage,
  scope: { readonly plan: Plan; readonly wave: string; readonly inventory: string },
  beforeSend: () => void = () => {},
): Promise<Wave> {
  const { plan, wave } = scope;
  const { inventory: whole, access, needs = noNeeds } = await readInventory(storage, scope.inventory);
  const inventory = partOf(plan, whole, wave);
  const { topics, groups } = inventory.structural;
  const upToHere = new Set(topicsUpTo(plan, whole, wave));
  const ours = { source: ourPrincipals(clusters.source.config), target: ourPrincipals(clusters.target.config) };
  return {
    plan,
    migration: plan.name,
    wave,
    clusters,
    storage,
    journal: openJournal(storage, clusters, plan.name, beforeSend),
    beforeSend,
    whole,
    inventory,
    topics,
    topicNames: topics.map((topic) => topic.name),
    partitions: topics.flatMap((topic) =>
      Array.from({ length: topic.partitions }, (_, partition) => ({ topic: topic.name, partition })),
    ),
    groups: groups.map((group) => group.group),
    shareGroups: new Set(groups.filter(({ type }) => type === 'share').map((group) => group.group)),
    groupTopics: topicSizes({ topics: whole.structural.topics.filter((topic) => upToHere.has(topic.name)) }),
    ours,
    facts: { source: authorizerFacts(access.source, plan), target: authorizerFacts(access.target, plan) },
    needs,
  };
}

/** What closing a cluster to the wave's applications needs. */
export function fenceOf(wave: Wave, side: Side, deadlineMs: number): AclFence {
  return {
    clusters: wave.clusters,
    side,
    journal: wave.journal,
    wave: wave.wave,
    topics: wave.topicNames,
    principals: fencePrincipals(wave, side),
    ours: wave.ours[side],
    facts: wave.facts[side],
    deadlineMs,
  };
}

/** Number of partitions by topic. */
export function topicSizes({ topics }: Pick<Wave, 'topics'>): Map<string, number> {
  return new Map(topics.map((topic) => [topic.name, topic.partitions]));
}

/** `fence.principals` as that cluster knows them. */
export function fencePrincipals({ plan }: Pick<Wave, 'plan'>, side: Side): string[] {
  return plan.fence.principals.map((name) => (side === 'target' ? mappedPrincipal(plan, name) : name));
}

/**
 * What probing our principals told about the authorizer: who of us is a super user, and its default. An ACL fence has seen to it that no topic depends on
 * the default; without one a default that cannot be told counts as open, as a rule of ours on a topic that has none would close it.
 */
function authorizerFacts(access: Access, plan: Plan): AuthorizerFacts {
  const superUsers = (['own', 'forward', 'reverse'] as const)
    .filter((role) => access.superUser[role] === true)
    .map((role) => access.principals[role])
    .filter((principal) => principal !== null);
  const { enforced } = fenceKinds[plan.fence.kind];
  const allowEveryone = enforced ? access.allowEveryone === true : access.allowEveryone !== false;
  return { superUsers: new Set(superUsers), allowEveryone };
}
