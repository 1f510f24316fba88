/** Offsets that hold nothing: how the markers that stand for them are made, and by whom. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import type { Inventory } from '../inventory.ts';
import { abortedKept, logNeeds, markerWay, verification } from '../needs.ts';
import { replicationFactorThere } from '../topics.ts';
import type { Facts, Known } from './facts.ts';
import { hours, list } from './wording.ts';

/** Markers by transactions, of a whole cluster: less than the least that was measured on two cores (docs/mirror.md). */
export const transactionMarkersPerSecond = 300;

/** Offsets that hold nothing: how the markers that stand for them are made, what they bring with them, and what becomes of aborted records. */
export function aboutMarkers(inventory: Inventory, plan: Plan, facts: Facts): Finding[] {
  const needs = logNeeds(inventory, plan, facts);
  const { transactional, compacted } = needs;
  const needing = [...new Set([...transactional, ...compacted])].sort();
  if (needing.length === 0) return [];
  const found: Finding[] = [];
  const { by, reason } = markerWay('target', plan, facts.target);
  if (by === 'none') {
    found.push(finding('MARKERS_NOT_ALLOWED', 'target', `${reason}; transactions or holes on ${list(needing)}`));
  } else {
    if (by === 'markers') found.push(...aboutOwnership(inventory, needing, facts));
    else {
      const message = `${reason}; transactions or holes on ${list(needing)}: ${markersTime(inventory, needing, facts)}`;
      found.push(finding('MARKERS_BY_TRANSACTIONS', 'target', message));
    }
    found.push(finding('TIMESTAMP_OFFSETS_INEXACT', 'target', `offsetsForTimes on ${list(needing)}`));
  }
  if (transactional.length === 0) return found;
  const aborted = abortedKept('target', plan, facts);
  if (aborted === 'suspend') {
    const message = `${verification} is set to false on all brokers of the target while the mirror writes, for ${list(transactional)}`;
    found.push(finding('VERIFICATION_SUSPENDED', 'target', message));
  } else if (aborted !== 'kept') {
    const message = `${aborted.reason}; transactions on ${list(transactional)}`;
    found.push(finding('ABORTED_NOT_KEPT', 'target', message, aborted.next));
  }
  return found;
}

/** How long making the markers takes at least, by the share of offsets without a record at the heads of the logs. */
function markersTime({ measured }: Inventory, topics: readonly string[], facts: Facts): string {
  const markers = topics.reduce((sum, name) => {
    const { sampledOffsets = 0, sampledHoles = 0 } = facts.shapes.find((shape) => shape.topic === name) ?? {};
    const ofTopic = measured.partitions.filter((p) => p.topic === name);
    const offsets = ofTopic.reduce((total, p) => total + Number(BigInt(p.end) - BigInt(p.start)), 0);
    return sum + Math.round((offsets * sampledHoles) / (sampledOffsets || 1));
  }, 0);
  const time = hours((markers / transactionMarkersPerSecond) * 1_000);
  return `a sample says about ${markers} offsets without a record, ${time} at ${transactionMarkersPerSecond} a second`;
}

/** A leader that can be moved to two others is what keeps an earlier owner out for good. */
function aboutOwnership(inventory: Inventory, topics: readonly string[], facts: Facts): Finding[] {
  const found: Finding[] = [];
  const single = topics.filter((name) => replicasOf(name, inventory, facts) === 1);
  const double = topics.filter((name) => replicasOf(name, inventory, facts) === 2);
  if (single.length > 0 && facts.target.mirrorPrincipals === 0) {
    const message = `one replica and no mirrorPrincipals: no leader to move between two owners of ${list(single)}`;
    found.push(finding('MARKER_OWNERSHIP_WEAK', 'target', message));
  }
  if (double.length > 0) {
    const message = `two replicas: the leader goes back to where an earlier owner knew it, on ${list(double)}`;
    found.push(finding('MARKER_OWNERSHIP_WEAK', 'target', message));
  }
  return found;
}

/** Of a topic on the target, as it is there or will be. */
export function replicasOf(name: string, { structural, measured }: Inventory, facts: Facts): number {
  const here = structural.topics.find((topic) => topic.name === name)?.replicationFactor ?? 1;
  return facts.targetTopics[name]?.replicationFactor ?? replicationFactorThere(here, measured.target.brokers);
}

/** Mirrors of two migrations that used one pool would deny each other for ever. */
export function aboutPool(inventory: Inventory, facts: Facts, { poolUsers = [] }: Known): Finding[] {
  if (facts.target.mirrorPrincipals === 0 || poolUsers.length === 0) return [];
  const single = inventory.structural.topics
    .map((topic) => topic.name)
    .filter((name) => replicasOf(name, inventory, facts) === 1);
  if (single.length === 0) return [];
  const message = `mirrorPrincipals are given to ${list(poolUsers)}, and ${list(single)} would need them too`;
  return [finding('MIRROR_PRINCIPALS_SHARED', 'target', message)];
}
