/**
 * Preflight: what speaks for and against a plan, each with its code. `gatherFacts` (preflight/facts.ts) reads both clusters and
 * changes nothing; `findFindings` judges, and is pure. One file a subject below `preflight/`.
 */
import { type Code, type Finding, finding } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import type { Inventory } from './inventory.ts';
import { isSampled } from './needs.ts';
import { aboutAccess } from './preflight/access.ts';
import { aboutCapacity } from './preflight/capacity.ts';
import { aboutClusters } from './preflight/clusters.ts';
import { type Facts, type Known, nothingKnown } from './preflight/facts.ts';
import { aboutGroups } from './preflight/groups.ts';
import { aboutLogs } from './preflight/logs.ts';
import { aboutMarkers, aboutPool } from './preflight/markers.ts';
import { aboutRollback } from './preflight/rollback.ts';
import { aboutSettings } from './preflight/settings.ts';
import { aboutTopics } from './preflight/target-topics.ts';
import { aboutWriters } from './preflight/writers.ts';

/**
 * What no waiver lifts: either it cannot work at all, or it would break what the product promises without any way for
 * people to have judged it (silent differences in the copy, records that are not a copy, two owners).
 */
export const neverWaivable: ReadonlySet<Code> = new Set<Code>([
  'PLAN_INVALID',
  'REPLICATOR_CANNOT',
  'APPROVAL_KEYS_MISSING',
  'SAME_CLUSTER',
  'NO_TOPICS',
  'VERSION_UNSUPPORTED',
  'ACCESS_MISSING',
  'ACL_AUTHORIZER_ABSENT',
  'CLAIMED_BY_OTHER',
  'ALREADY_MOVED',
  'TARGET_TOPIC_HAS_RECORDS',
  'TARGET_TOPIC_DIFFERS',
  'TARGET_TOPIC_INTERNAL',
  'TARGET_REFUSES_TOPIC',
  'MARKERS_NOT_ALLOWED',
  'GROUP_ACTIVE_ON_TARGET',
  'GROUP_UNSUPPORTED',
  'REGISTRY_UNKNOWN',
  'SCHEMA_DIFFERS',
  'SCHEMA_ID_TAKEN',
  'SCHEMA_IMPORT_UNSUPPORTED',
]);

const rank = { blocker: 0, warning: 1, info: 2 } as const;

/** Judges a plan. Waived findings stay listed. Sorted: blockers first, then by code and place. */
export function findFindings(inventory: Inventory, plan: Plan, facts: Facts, known: Known = nothingKnown): Finding[] {
  const ours = capabilitiesOf(plan).ourProducers;
  const findings = [
    ...beyondReplicator(plan),
    ...aboutClusters(inventory, facts),
    ...aboutTopics(inventory, plan, facts, known),
    ...aboutSettings(inventory, plan, facts, known),
    ...aboutLogs(inventory, plan, facts),
    ...aboutCapacity(inventory, plan, facts),
    ...aboutWriters(inventory, plan, facts),
    ...(ours ? [...aboutMarkers(inventory, plan, facts), ...aboutPool(inventory, facts, known)] : []),
    ...aboutGroups(inventory, plan, facts, known),
    ...aboutAccess(inventory, plan, facts),
    ...(known.switches ?? []),
    ...(known.approvals ?? []),
    ...aboutRollback(inventory, plan, facts),
  ];
  return findings
    .map((found) => waive(found, plan))
    .sort((a, b) => rank[a.severity] - rank[b.severity] || (`${a.code} ${a.where}` < `${b.code} ${b.where}` ? -1 : 1));
}

/** Findings that stop the migration. */
export function blockersOf(findings: readonly Finding[]): Finding[] {
  return findings.filter((found) => found.severity === 'blocker' && !found.waived);
}

/** As many as a status shows. */
const toldMax = 50;
/** Of one code, where there are too many. */
const placesToldMax = 5;

/**
 * What goes through the workflow: all of them, or, where they are too many for a history, the first places of each code and how many more there
 * are, worst first. The stored inventory has all.
 */
export function toldFindings(findings: readonly Finding[]): Finding[] {
  if (findings.length <= toldMax) return [...findings];
  const sorted = findings.toSorted((a, b) => rank[a.severity] - rank[b.severity]);
  const alike = [...Map.groupBy(sorted, ({ code, waived }) => JSON.stringify([code, waived])).values()];
  const places = Math.max(1, Math.min(placesToldMax, Math.floor(toldMax / alike.length) - 1));
  const told = alike.flatMap((same) => {
    const rest = same.length - places;
    const last = same[same.length - 1] as Finding;
    if (rest <= 0) return same;
    const more = {
      ...last,
      where: `${rest} more`,
      message: 'as above: `kafka-cutover plan --json` and the report have all',
    };
    return [...same.slice(0, places), more];
  });
  return told.slice(0, toldMax);
}

/** Steps of the plan that its replicator's flags rule out. Needs no cluster, so a plan can be refused before connecting. */
export function beyondReplicator(plan: Plan): Finding[] {
  const { kind } = plan.replicator;
  const { offsetIdentity, reverse } = capabilitiesOf(plan);
  const found: Finding[] = [];
  const cannot = (message: string, next: string) =>
    found.push(finding('REPLICATOR_CANNOT', 'plan replicator.kind', `${kind} ${message}`, next));
  if (!reverse && plan.rollback.reverseMirror) {
    cannot(
      `cannot carry back what is written to ${plan.target} after the switch, and rollback.reverseMirror is true`,
      'Set rollback.reverseMirror to false and waive ROLLBACK_IMPOSSIBLE, or choose a replicator that can.',
    );
  }
  if (!offsetIdentity && isSampled(plan)) {
    cannot(
      'gives records other offsets, which are found by comparing every one: verify.records cannot be sample',
      'Set verify.records to full, or choose a replicator that keeps offsets.',
    );
  }
  return found;
}

export function waive(found: Finding, plan: Plan): Finding {
  const waiver = plan.waivers.find((w) => w.code === found.code);
  if (!waiver || found.severity === 'info') return found;
  if (neverWaivable.has(found.code)) {
    return {
      ...found,
      message: `${found.message} (the waiver of ${waiver.by} has no effect: this code cannot be waived)`,
    };
  }
  return { ...found, waived: { by: waiver.by, reason: waiver.reason } };
}
