/** What the way back needs of the source. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import { capabilitiesOf } from '../../contract/replicators.ts';
import type { Inventory } from '../inventory.ts';
import { abortedKept, type LogNeeds, logNeeds, markerWay, verification } from '../needs.ts';
import { topicDefaults } from '../topics.ts';
import type { Facts } from './facts.ts';
import { transactionMarkersPerSecond } from './markers.ts';
import { list } from './wording.ts';

export function aboutRollback(inventory: Inventory, plan: Plan, facts: Facts): Finding[] {
  const { structural } = inventory;
  if (!plan.rollback.reverseMirror) {
    const message = 'rollback.reverseMirror is false: what is written to the target after the switch stays there';
    return [finding('ROLLBACK_IMPOSSIBLE', 'plan rollback.reverseMirror', message)];
  }
  const here = topicDefaults(facts.source.brokerConfigs);
  const found: Finding[] = [];
  for (const { name, configs } of structural.topics) {
    const format = configs['message.format.version'] ?? here.inherited('message.format.version');
    if (typeof format === 'string' && /^0\./.test(format)) {
      const message = `message.format.version is ${format}: the source cannot store what the target holds`;
      found.push(finding('ROLLBACK_IMPOSSIBLE', `source, topic ${name}`, message));
    }
  }
  for (const line of facts.source.missingToWrite) {
    found.push(finding('ROLLBACK_IMPOSSIBLE', 'source', `${line}, which a mirror that writes there needs`));
  }
  if (!capabilitiesOf(plan).ourProducers) return found;
  return [...found, ...aboutMarkersBack(logNeeds(inventory, plan, facts), plan, facts)];
}

/** What the reverse mirror must be able to do on the source. */
function aboutMarkersBack({ transactional, compacted }: LogNeeds, plan: Plan, facts: Facts): Finding[] {
  const { by, reason } = markerWay('source', plan, facts.source);
  const needing = [...new Set([...transactional, ...compacted])].sort();
  const found: Finding[] = [];
  if (by === 'none' && needing.length > 0) {
    const message = `${reason}: transactions and holes cannot be carried back, on ${list(needing)}`;
    found.push(finding('ROLLBACK_IMPOSSIBLE', 'source', message));
  }
  if (by === 'transactions' && needing.length > 0) {
    const message = `${reason}: each marker carried back comes of a transaction there, some ${transactionMarkersPerSecond} a second, and aborted records are not carried back, on ${list(needing)}`;
    found.push(finding('ROLLBACK_WEAK', 'source', message));
  }
  if (by !== 'markers' || transactional.length === 0) return found;
  const aborted = abortedKept('source', plan, facts);
  if (aborted === 'suspend') {
    const message = `${verification} is set to false on all brokers of the source from the fence on, until the way back is closed`;
    found.push(finding('VERIFICATION_SUSPENDED', 'source', message));
  } else if (aborted !== 'kept' && plan.mirror.abortedRecords === 'keep') {
    const message = `${aborted.reason}: aborted records are not carried back, on ${list(transactional)}`;
    found.push(finding('ROLLBACK_WEAK', 'source', message, aborted.next));
  }
  return found;
}
