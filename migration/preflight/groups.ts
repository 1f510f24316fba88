/** Consumer groups on both sides. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Inventory } from '../inventory.ts';
import type { Facts, Known } from './facts.ts';
import { list } from './wording.ts';

export function aboutGroups({ structural, measured }: Inventory, facts: Facts, known: Known): Finding[] {
  const found: Finding[] = [];
  for (const { group, type } of structural.groups) {
    if (type !== 'classic' && type !== 'consumer') {
      found.push(finding('GROUP_UNSUPPORTED', `group ${group}`, `its type is ${type}`));
    }
  }
  if (structural.sourceClusterId !== structural.targetClusterId) {
    for (const { group, type, state, members, positions } of facts.targetGroups) {
      const where = `target, group ${group}`;
      const active = members > 0 || ((type === 'share' || type === 'streams') && state !== 'Empty' && state !== 'Dead');
      if (active) found.push(finding('GROUP_ACTIVE_ON_TARGET', where, `${members} members, state ${state}`));
      if (positions > 0 && !known.ownGroups.has(group)) {
        found.push(finding('GROUP_EXISTS_ON_TARGET', where, `has ${positions} positions on moved topics`));
      }
    }
  }
  if (measured.groupsOutsidePlan.length > 0) {
    found.push(finding('GROUP_OUTSIDE_PLAN', 'source', `reading moved topics: ${list(measured.groupsOutsidePlan)}`));
  }
  if (structural.topics.length > 0) {
    const message = 'offsets are identical on both clusters, so positions kept in databases or checkpoints stay valid';
    found.push(finding('OFFSETS_OUTSIDE_KAFKA', 'source and target', message));
  }
  return found;
}
