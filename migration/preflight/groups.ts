/** Consumer groups on both sides. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import { capabilitiesOf } from '../../contract/replicators.ts';
import type { Inventory } from '../inventory.ts';
import type { Facts, Known } from './facts.ts';
import { list } from './wording.ts';

/** Positions named in one finding. */
const namedMax = 5;

export function aboutGroups(inventory: Inventory, plan: Plan, facts: Facts, known: Known): Finding[] {
  const { structural, measured } = inventory;
  const found: Finding[] = [...seen(inventory), ...aboutProtocol(inventory, facts), ...outsideTheLog(inventory)];
  for (const { group, type } of structural.groups) {
    if (type !== 'classic' && type !== 'consumer') {
      found.push(finding('GROUP_UNSUPPORTED', `group ${group}`, `its type is ${type}`));
    }
  }
  if (structural.sourceClusterId !== structural.targetClusterId) {
    for (const { group, type, state, members, positions, positionsElsewhere } of facts.targetGroups) {
      const where = `target, group ${group}`;
      const active = members > 0 || ((type === 'share' || type === 'streams') && state !== 'Empty' && state !== 'Dead');
      if (active) found.push(finding('GROUP_ACTIVE_ON_TARGET', where, `${members} members, state ${state}`));
      if (positions > 0 && !known.ownGroups.has(group)) {
        found.push(finding('GROUP_EXISTS_ON_TARGET', where, `has ${positions} positions on moved topics`));
      } else if (positionsElsewhere > 0 && !known.ownGroups.has(group)) {
        found.push(
          finding('GROUP_NAME_TAKEN', where, `has ${positionsElsewhere} positions on topics that are not moved`),
        );
      }
      if (type !== 'classic' && type !== 'consumer') {
        found.push(
          finding('GROUP_UNSUPPORTED', where, `its type there is ${type}, which takes no positions of consumers`),
        );
      }
    }
  }
  if (measured.groupsOutsidePlan.length > 0) {
    found.push(finding('GROUP_OUTSIDE_PLAN', 'source', `reading moved topics: ${list(measured.groupsOutsidePlan)}`));
  }
  if ((measured.otherGroups ?? []).length > 0) {
    found.push(finding('GROUP_KIND_UNSEEN', 'source', list(measured.otherGroups ?? [])));
  }
  for (const { group, topics } of facts.measurements?.readers ?? []) {
    const message = `its members are given ${list(topics)}, and it has no position there`;
    found.push(finding('READERS_WITHOUT_POSITIONS', `group ${group}`, message));
  }
  // Where offsets differ, the replicator's own findings say what that means.
  if (structural.topics.length > 0 && capabilitiesOf(plan).offsetIdentity) {
    const read = new Set(measured.groups.flatMap(({ positions }) => positions.map(({ topic }) => topic)));
    const unread = structural.topics.map((topic) => topic.name).filter((name) => !read.has(name));
    const who =
      unread.length > 0
        ? `; no group of the plan has a position on ${list(unread)}: who reads that does so unseen`
        : '';
    const message = `offsets are identical on both clusters, so positions kept in databases or checkpoints stay valid${who}`;
    found.push(finding('OFFSETS_OUTSIDE_KAFKA', 'source and target', message));
  }
  return found;
}

/** By protocol, and how many of each have members now. */
function seen({ structural, measured }: Inventory): Finding[] {
  if (structural.groups.length === 0) return [];
  const now = new Map(measured.groups.map((group) => [group.group, group]));
  const kinds = Map.groupBy(structural.groups, ({ group, type }) =>
    // Without a protocol it has never had a member: somebody only commits (Java's assign, our own).
    type === 'classic' && now.get(group)?.protocolType === '' ? 'simple' : type,
  );
  const lines = [...kinds]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, groups]) => {
      const active = groups.filter(({ group }) => (now.get(group)?.members ?? 0) > 0).length;
      return `${groups.length} ${kind}${active > 0 ? ` (${active} with members)` : ''}`;
    });
  return [finding('GROUPS_SEEN', 'source', lines.join(', '))];
}

/** Members of KIP-848 groups cannot join where that protocol is off. */
function aboutProtocol({ structural, measured }: Inventory, facts: Facts): Finding[] {
  const groups = structural.groups.filter(({ type }) => type === 'consumer').map(({ group }) => group);
  const protocols = facts.target.brokerConfigs['group.coordinator.rebalance.protocols'] ?? 'consumer';
  const on = protocols.split(',').includes('consumer') && (measured.target.features['group.version'] ?? 0) >= 1;
  if (groups.length === 0 || on) return [];
  const message = `the protocol of ${list(groups)} (KIP-848) is off there: group.version ${measured.target.features['group.version'] ?? 0}`;
  return [finding('GROUP_PROTOCOL_UNSUPPORTED', 'target', message)];
}

/** Such a position is read from where the reader's auto.offset.reset says, on either cluster. */
function outsideTheLog({ measured }: Inventory): Finding[] {
  const logs = new Map(measured.partitions.map((p) => [`${p.topic}/${p.partition}`, p]));
  return measured.groups.flatMap(({ group, positions }) => {
    const outside = positions.flatMap(({ topic, partition, offset }) => {
      const log = logs.get(`${topic}/${partition}`);
      if (!log || (BigInt(offset) >= BigInt(log.start) && BigInt(offset) <= BigInt(log.end))) return [];
      return [`${topic}/${partition} at ${offset}, kept are ${log.start} to ${log.end}`];
    });
    if (outside.length === 0) return [];
    const rest = outside.length > namedMax ? ` and ${outside.length - namedMax} more` : '';
    return [finding('GROUP_POSITION_OUTSIDE_LOG', `group ${group}`, `${outside.slice(0, namedMax).join('; ')}${rest}`)];
  });
}
