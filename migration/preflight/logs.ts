/** What the logs hold, and what carrying it takes. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import { capabilitiesOf } from '../../contract/replicators.ts';
import type { Inventory } from '../inventory.ts';
import { isCompacted, olderThanRemembered, producerExpiry, producerExpiryMaxMs, rememberedMs } from '../needs.ts';
import { topicDefaults } from '../topics.ts';
import { describeOpen } from '../transactions.ts';
import { expectedCopyMs } from './capacity.ts';
import type { Facts } from './facts.ts';
import { hours } from './wording.ts';

/** Of delete.retention.ms; what copying may take before tombstones are at risk. */
const tombstoneShare = 0.5;

export function aboutLogs({ structural, measured }: Inventory, plan: Plan, facts: Facts): Finding[] {
  const found: Finding[] = [];
  const there = topicDefaults(facts.target.brokerConfigs);
  const copyMs = expectedCopyMs(measured, plan, facts);
  for (const { name, configs } of structural.topics) {
    const where = `topic ${name}`;
    const settings = facts.inForce[name] ?? {};
    const policy = settings['cleanup.policy'] ?? '';
    if (isCompacted(policy)) {
      found.push(finding('TOPIC_COMPACTED', where, `cleanup.policy is ${policy}`));
      const tombstonesMs = Number(settings['delete.retention.ms'] ?? Number.POSITIVE_INFINITY);
      if (copyMs > tombstonesMs * tombstoneShare) {
        const message = `copying may take ${hours(copyMs)}, the source keeps tombstones for ${hours(tombstonesMs)}`;
        found.push(finding('TOMBSTONES_AT_RISK', where, message));
      }
    }
    const shape = facts.shapes.find((s) => s.topic === name);
    const transactional = facts.transactional[name] ?? shape?.transactionalAt ?? null;
    if (transactional !== null) found.push(finding('TOPIC_TRANSACTIONAL', where, `seen at ${transactional}`));
    if (settings['message.timestamp.type'] === 'LogAppendTime') {
      found.push(finding('TOPIC_LOG_APPEND_TIME', where, 'message.timestamp.type is LogAppendTime'));
    } else if (shape?.logAppendTimeAt) {
      found.push(finding('TOPIC_LOG_APPEND_TIME', where, `stamped by the broker at ${shape.logAppendTimeAt}`));
    }
    if (shape?.oldFormatAt) found.push(finding('TOPIC_OLD_FORMAT', where, `seen at ${shape.oldFormatAt}`));
    if (!shape || shape.oldestMs === null) continue;
    if (capabilitiesOf(plan).ourProducers) found.push(...aboutAge(where, shape.oldestMs, facts));
    const limit = (setting: string) =>
      Number(
        configs[setting] ??
          there.inherited(setting) ??
          there.inherited('message.timestamp.difference.max.ms') ??
          Number.POSITIVE_INFINITY,
      );
    const tooOld = shape.oldestMs >= 0 && facts.nowMs - shape.oldestMs > limit('message.timestamp.before.max.ms');
    const tooNew = shape.newestMs !== null && shape.newestMs - facts.nowMs > limit('message.timestamp.after.max.ms');
    if (tooOld || tooNew) {
      const stamp = new Date(tooOld ? shape.oldestMs : (shape.newestMs ?? 0)).toISOString();
      found.push(finding('TIMESTAMP_OUT_OF_RANGE', where, `a record is stamped ${stamp}`));
    }
  }
  for (const { partition, producerId, since } of facts.hanging) {
    const message = `producer ${producerId}, open since offset ${since}; no coordinator that we may ask knows it`;
    found.push(finding('HANGING_TRANSACTION', `partition ${partition}`, message));
  }
  const unsampled = facts.shapes.reduce((sum, shape) => sum + shape.unsampled, 0);
  if (unsampled > 0) {
    const message = `${unsampled} of ${measured.partitions.length} partitions were not looked into: their batches are large, or there are too many`;
    found.push(finding('LOGS_PARTLY_SAMPLED', 'source', message));
  }
  for (const { topic, ...transaction } of facts.openTransactions) {
    found.push(finding('OPEN_TRANSACTION', `topic ${topic}`, describeOpen(transaction)));
  }
  return found;
}

/**
 * The target forgets a producer by the timestamps of its records, so while history older than that is written, writes
 * are not a compare-and-set.
 */
function aboutAge(where: string, oldestMs: number, facts: Facts): Finding[] {
  if (!olderThanRemembered(oldestMs, facts)) return [];
  const ageMs = facts.nowMs - oldestMs;
  const age = oldestMs < 0 ? 'has no timestamp' : `is ${hours(ageMs)} old`;
  const raised = facts.target.changeableBrokerConfigs.includes(producerExpiry)
    ? `; ${producerExpiry} is raised to ${hours(producerExpiryMaxMs)} on all its brokers while the mirror runs, where we may`
    : '';
  const message = `the first record ${age}, the target remembers producers for ${hours(rememberedMs(facts))}${raised}`;
  return [finding('PRODUCER_EXPIRY', where, message)];
}
