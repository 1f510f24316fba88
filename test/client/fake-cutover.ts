/**
 * A stand-in for the workflow `cutover`: the same type, messages and queries, none of the work. It walks to
 * the gate `cutover`, needs two approvals from a list, and then ends; `mirror` heartbeats like a shard, and
 * so does `drainLag`, for a plan whose name begins with `held`.
 */
import {
  ApplicationFailure,
  CancellationScope,
  condition,
  defineQuery,
  defineSignal,
  defineUpdate,
  proxyActivities,
  setHandler,
} from '@temporalio/workflow';
import type { GateMessage, OpenGate, Status, TuneMessage } from '../../contract/status.ts';

const { mirror, drainLag } = proxyActivities<{ mirror(): Promise<void>; drainLag(): Promise<void> }>({
  startToCloseTimeout: '1 hour',
  heartbeatTimeout: '10 s',
  cancellationType: 'TRY_CANCEL',
});

export async function cutover(plan: { name: string; source: string; target: string; startedBy?: string }) {
  const startedAt = new Date().toISOString();
  const approvers = ['kafka-owner', 'orders-owner'];
  let given: OpenGate['given'] = [];
  let outcome: 'completed' | 'rejected' | 'rolledBack' | null = null;
  let paused = false;
  let mirrorSettings = { maxBytesPerSecond: 0, shards: 1 };

  const gate = (): OpenGate => ({
    gate: 'cutover',
    wave: 'all',
    needed: 2,
    approvers,
    proof: 'claimed',
    given,
    digest: 'd1',
    deadline: null,
    openedAt: startedAt,
    facts: ['lag 0 records', 'expected pause 1.2 s'],
  });
  const status = (): Status => ({
    name: plan.name,
    step: 'fence',
    wave: 'all',
    state: outcome ?? (paused ? 'paused' : 'waiting'),
    awaiting: outcome ? null : gate(),
    gates: outcome ? [] : [gate()],
    answered: [],
    failedStep: null,
    decisions: [],
    sourceOfTruth: { all: outcome === 'completed' ? 'target' : 'source' },
    waves: [],
    lagRecords: 0,
    lagAsOf: startedAt,
    findings: [],
    refused: [],
    steps: [
      { step: 'preflight', wave: 'all', direction: 'forward', startedAt, endedAt: startedAt, summary: '1 topic' },
      { step: 'mirror', wave: 'all', direction: 'forward', startedAt, endedAt: null, summary: '' },
    ],
    digest: 'd1',
    next: null,
    source: plan.source,
    target: plan.target,
    notUndone: [],
    mirror: { ...mirrorSettings, tuned: null },
  });
  setHandler(defineQuery('status'), status);
  setHandler(defineQuery('evidence'), () => ({ digest: 'd1', artifact: 'evidence-1', summary: 'all proven' }));

  const receipt = (message: GateMessage, text: string) => ({ message: 'approve', by: message.by, at: startedAt, text });
  const approve = (message: GateMessage) => {
    given = [...given, { by: message.by, at: startedAt, how: 'claimed', channel: 'update' }];
    if (given.length === 2) outcome = 'completed';
    return receipt(message, `approved cutover, ${given.length} of 2`);
  };
  const checkApproval = (message: GateMessage) => {
    const refuse = (type: string, message: string) => {
      throw ApplicationFailure.create({ type, message: `${type}: ${message}`, nonRetryable: true });
    };
    if (message.gate !== 'cutover') refuse('GATE_NOT_OPEN', `gate ${message.gate} is not open`);
    if (!approvers.includes(message.by)) refuse('NOT_AN_APPROVER', `${message.by} is not on the list`);
    if (given.some((approval) => approval.by === message.by)) refuse('ALREADY_APPROVED', 'once is enough');
  };
  setHandler(defineUpdate<unknown, [GateMessage]>('approve'), approve, { validator: checkApproval });
  setHandler(defineSignal<[GateMessage]>('approve'), (message) => {
    approve(message);
  });
  setHandler(defineUpdate<unknown, [GateMessage]>('reject'), (message) => {
    outcome = 'rejected';
    return receipt(message, 'rejected cutover');
  });
  setHandler(defineUpdate<unknown, [GateMessage]>('rollback'), (message) => {
    outcome = 'rolledBack';
    return receipt(message, 'rolled back');
  });
  setHandler(defineUpdate<unknown, [GateMessage]>('pause'), (message) => {
    paused = true;
    return receipt(message, 'asked for a pause');
  });
  setHandler(defineUpdate<unknown, [TuneMessage]>('tune'), (message) => {
    const { maxBytesPerSecond = mirrorSettings.maxBytesPerSecond, shards = mirrorSettings.shards } = message;
    mirrorSettings = { maxBytesPerSecond, shards };
    return receipt(message, 'tuned the mirror');
  });
  setHandler(defineUpdate<unknown, [GateMessage]>('resume'), (message) => {
    paused = false;
    return receipt(message, 'resumed');
  });

  if (plan.name.startsWith('fails')) {
    throw ApplicationFailure.create({ type: 'BLOCKED', message: 'BLOCKED: 2 blockers', nonRetryable: true });
  }
  const mirroring = new CancellationScope();
  mirroring.run(mirror).catch(() => {});
  if (plan.name.startsWith('held')) mirroring.run(drainLag).catch(() => {});
  await condition(() => outcome !== null);
  mirroring.cancel();
  return {
    outcome,
    evidence: { digest: 'd1', artifact: 'evidence-1', summary: 'all proven' },
    sourceOfTruth: status().sourceOfTruth,
    notUndone: [],
  };
}
