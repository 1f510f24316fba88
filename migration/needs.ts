/**
 * What the logs of a plan need beside plain writing: markers where transactions or holes are, brokers that take aborted records, brokers
 * that remember producers for long enough. Judged once in preflight and stored with what people approve; the findings
 * and the steps both go by it, so what is said is what is done.
 */
import type { Plan } from '../contract/plan.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { markerOperations } from '../kafka/markers.ts';
import { ownershipPrefix } from '../mirror/ownership.ts';
import { mayOwn, mayWriteMarkers, ownershipAcls, writerOf } from './acls.ts';
import type { AccessRules } from './authorizer.ts';
import type { Side } from './change.ts';
import type { Inventory } from './inventory.ts';
import type { Facts, SideFacts } from './preflight/facts.ts';

/** Plain data. */
export interface LogNeeds {
  /** Topics with transactions, as far as a sample shows. */
  readonly transactional: readonly string[];
  readonly compacted: readonly string[];
  /** Topics whose oldest records the target would not remember the mirror's producer for. */
  readonly old: readonly string[];
  /** Settings of all brokers while a mirror writes there. */
  readonly brokers: Readonly<Record<Side, Readonly<Record<string, string>>>>;
}

/** Stored by a build that did not ask. */
export const noNeeds: LogNeeds = { transactional: [], compacted: [], old: [], brokers: { source: {}, target: {} } };

/**
 * Whether brokers ask the transaction's coordinator before they take a transactional batch (KIP-890, from Kafka 3.6 on). Aborted records are
 * written without a coordinator, so it must be off for them; older brokers never ask.
 */
export const verification = 'transaction.partition.verification.enable';
/** How long brokers remember a producer, by the timestamps of its records: what makes a write a compare-and-set. */
export const producerExpiry = 'producer.id.expiration.ms';
/** The most that it takes: 24.8 days. */
export const producerExpiryMaxMs = 2_147_483_647;
/** Kafka's own default; a day. */
export const producerExpiryDefaultMs = 86_400_000;
/** Records may grow this much older between preflight and the end of copying. */
const historyMarginMs = 3_600_000;

export function logNeeds(inventory: Inventory, plan: Plan, facts: Facts): LogNeeds {
  const names = inventory.structural.topics.map((topic) => topic.name);
  const shapes = new Map(facts.shapes.map((shape) => [shape.topic, shape]));
  const needs = {
    transactional: names.filter((name) => facts.transactional[name] ?? shapes.get(name)?.transactionalAt),
    compacted: names.filter((name) => isCompacted(facts.inForce[name]?.['cleanup.policy'])),
    old: names.filter((name) => {
      const oldestMs = shapes.get(name)?.oldestMs ?? null;
      return oldestMs !== null && olderThanRemembered(oldestMs, facts);
    }),
  };
  // Markers and producers' memory are our own mirror's concern.
  if (!capabilitiesOf(plan).ourProducers) return { ...needs, old: [], brokers: { source: {}, target: {} } };
  const suspended = (side: Side) =>
    needs.transactional.length > 0 && abortedKept(side, plan, facts) === 'suspend' ? { [verification]: 'false' } : {};
  const raised =
    needs.old.length > 0 && mayAlterBrokers(facts.target, producerExpiry)
      ? { [producerExpiry]: String(producerExpiryMaxMs) }
      : {};
  return {
    ...needs,
    brokers: {
      source: plan.rollback.reverseMirror ? suspended('source') : {},
      target: { ...suspended('target'), ...raised },
    },
  };
}

/**
 * What becomes of aborted records on a side: `kept`, or kept once verification is suspended (`suspend`), or why they are not.
 */
export function abortedKept(
  side: Side,
  plan: Plan,
  facts: Facts,
): 'kept' | 'suspend' | { readonly reason: string; readonly next?: string } {
  if (plan.mirror.abortedRecords === 'drop') return { reason: 'mirror.abortedRecords is drop' };
  const { reason } = markerWay(side, plan, facts[side]);
  if (reason !== undefined) return { reason };
  const value = facts[side].brokerConfigs[verification];
  if (value === undefined || value === 'false') return 'kept';
  if (mayAlterBrokers(facts[side], verification)) return 'suspend';
  return {
    reason: `${verification} is on, and our own principal ${facts[side].access.principals.own ?? ''} may not ALTER_CONFIGS the cluster`,
    next: 'Grant it, or set mirror.abortedRecords to drop.',
  };
}

/** How the mirror that writes to a side makes markers there; `reason`: why not by writing them. */
export type MarkerWay =
  | { readonly by: 'markers'; readonly reason?: never }
  | { readonly by: 'transactions' | 'none'; readonly reason: string };

/** What it will be, also once the mirror was given what we may give. */
export function markerWay(side: Side, plan: Plan, facts: SideFacts): MarkerWay {
  const role = writerOf(side);
  const { principals, clusterOperations, superUser } = facts.access;
  const principal = principals[role];
  const granted = clusterOperations[role].some((operation) => markerOperations.includes(operation));
  if (granted && (facts.acls === null || principal === null || superUser[role] !== false)) return { by: 'markers' };
  const who = `the ${role} mirror's principal ${principal ?? '(no user name known)'}`;
  const reason = `${who} has neither ALTER nor CLUSTER_ACTION on the cluster`;
  if (facts.acls === null || principal === null) return { by: 'transactions', reason };
  const superUsers = new Set(
    (['own', 'forward', 'reverse'] as const).flatMap((one) => (superUser[one] ? [principals[one] ?? ''] : [])),
  );
  const rules: AccessRules = { acls: facts.acls, superUsers, allowEveryone: facts.access.allowEveryone === true };
  const ours = plan.metadata.acls ? ownershipAcls(side, rules, principals, { forward: true, reverse: true }) : [];
  const given = { ...rules, acls: [...facts.acls, ...ours] };
  if (mayWriteMarkers(given, principal)) return { by: 'markers' };
  const why = plan.metadata.acls ? 'a rule denies it' : 'metadata.acls is false, so it is not granted';
  if (mayOwn(given, principal)) return { by: 'transactions', reason: `${reason}: ${why}` };
  return { by: 'none', reason: `${who} has no WRITE on transactional ids that begin with ${ownershipPrefix}: ${why}` };
}

export function isCompacted(policy: string | null | undefined): boolean {
  return (policy ?? '').split(',').some((part) => part.trim() === 'compact');
}

/** Milliseconds, of the target. */
export function rememberedMs(facts: Facts): number {
  return Number(facts.target.brokerConfigs[producerExpiry] ?? producerExpiryDefaultMs);
}

/** A record without a timestamp (message format v0) counts as infinitely old. */
export function olderThanRemembered(oldestMs: number, facts: Facts): boolean {
  return oldestMs < 0 || facts.nowMs - oldestMs + historyMarginMs > rememberedMs(facts);
}

function mayAlterBrokers(side: SideFacts, name: string): boolean {
  return side.access.clusterOperations.own.includes('alter-configs') && side.changeableBrokerConfigs.includes(name);
}

/** Whether the history of the topics is sampled instead of compared record by record. */
export function isSampled(plan: Pick<Plan, 'verify'> | undefined): boolean {
  return plan?.verify.records === 'sample';
}
