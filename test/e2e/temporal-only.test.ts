/**
 * The whole move with nothing of ours on the operator's side: started, approved, watched and found with Temporal's own
 * command. Only the worker is ours.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Status } from '../../contract/status.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate } from './support/estate.ts';
import { Operator } from './support/operator.ts';
import { waitFor } from './support/waiting.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack);

const name = uniqueName('by-temporal');
const id = `cutover/${name}`;
const topic = `${name}.created`;
const group = `${name}-billing`;
const records = 500;
/** The server indexes what it has written a moment later. */
const visibilityTimeoutMs = 30_000;

const plan = {
  name,
  source: 'legacy',
  target: 'next',
  topics: { include: [topic.replaceAll('.', '\\.')] },
  gates: { cutover: { approvals: 2, approvers: ['kafka-owner', 'orders-owner'] } },
  verify: { producersWait: '30s' },
};

/** As the contract documents it; gives what the command said. */
function start(workflowId: string, ...more: string[]) {
  const args = ['workflow', 'start', '--type', 'cutover', '--task-queue', 'kafka-cutover', '--output', 'json'];
  return operator.tryTemporal(...args, '--workflow-id', workflowId, '--input', JSON.stringify(plan), ...more);
}

function signal(message: 'approve' | 'pause', input: Readonly<Record<string, unknown>>): Promise<string> {
  const args = ['workflow', 'signal', '--workflow-id', id, '--name', message, '--input', JSON.stringify(input)];
  return operator.temporal(...args);
}

async function listed(query: string): Promise<string[]> {
  const found = await operator.temporal('workflow', 'list', '--query', query, '--output', 'json');
  return (JSON.parse(found) as { execution: { workflowId: string } }[]).map(({ execution }) => execution.workflowId);
}

function listedInTime(query: string): Promise<true> {
  return waitFor(
    `workflow list to find ${id} by ${query}`,
    visibilityTimeoutMs,
    async () => (await listed(query)).includes(id),
    { everyMs: 300 },
  ) as Promise<true>;
}

const refusals = (status: Status) => status.refused.map(({ message, by, code }) => `${message} by ${by}: ${code}`);

before(async () => {
  await estate.createTopic('source', topic, 2);
  await estate.letIn('source', topic, 'app-writer-1', { user: 'app-reader-1', group });
  for (const partition of [0, 1]) {
    const values = Array.from({ length: records / 2 }, (_, i) => `${partition}-${i}`);
    await estate.append('source', topic, batchOf(values), partition);
  }
  await operator.startWorker();
});

describe('with the `temporal` command alone', () => {
  it('refuses the plan under another workflow id, before anything is made', async () => {
    const wrong = `cutover/${name}-other`;
    assert.equal((await start(wrong)).exitCode, 0);
    const { type, message } = await operator.ending(name, wrong);
    assert.equal(type, 'WORKFLOW_ID_MISMATCH');
    assert.match(message ?? '', new RegExp(`found ${wrong}, wanted ${id}`));
    assert.deepEqual(await estate.standing('target', { of: name }), []);
  });

  it('starts the plan, and not a second time while it runs', async () => {
    const first = await start(id);
    assert.equal(first.exitCode, 0, first.stderr);
    const again = await start(id);
    assert.equal(again.json().runId, first.json().runId, 'the run that there is');
    const insisting = await start(id, '--fail-existing');
    assert.equal(insisting.exitCode, 1);
    assert.match(insisting.stderr, /already running/);
  });

  it('shows in the status query who is awaited, for what, and how to go on', async () => {
    const { awaiting, state, step, sourceOfTruth, next, digest, findings } = await operator.gate(name, 'cutover');
    assert.deepEqual([state, step, sourceOfTruth], ['waiting', 'fence', { all: 'source' }]);
    assert.deepEqual([awaiting?.needed, awaiting?.given, awaiting?.digest], [2, [], digest]);
    assert.deepEqual(awaiting?.approvers, ['kafka-owner', 'orders-owner']);
    assert.match(awaiting?.facts.join('\n') ?? '', /expected pause for writers[\s\S]*lag 0 records/);
    assert.equal(next, `kafka-cutover approve ${name} cutover --by WHO`);
    assert.deepEqual(
      findings.filter(({ severity }) => severity === 'blocker'),
      [],
    );
  });

  it('is found by its search attributes while it waits', async () => {
    const where = "SourceCluster = 'legacy' AND TargetCluster = 'next'";
    await listedInTime(`MigrationStep = 'fence' AND AwaitingApproval = true AND ${where}`);
    await listedInTime("SourceOfTruth = 'all=source'");
    assert.deepEqual(await listed("SourceOfTruth = 'all=target'"), []);
  });

  it('shows refused signals in status, counts each person once, and goes nowhere with them', async () => {
    await signal('approve', { gate: 'finalize', by: 'kafka-owner' });
    await signal('approve', { gate: 'cutover', by: 'stranger' });
    await signal('approve', { gate: 'cutover', by: 'kafka-owner', digest: 'of another plan' });
    await signal('approve', { gate: 'cutover' });
    await signal('pause', { by: 'stranger' });
    await signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await signal('approve', { gate: 'cutover', by: ' Kafka-Owner ' });

    const status = await operator.until(name, 'seven signals to be answered', ({ refused }) => refused.length >= 6);

    assert.deepEqual(refusals(status), [
      'approve by kafka-owner: GATE_NOT_OPEN',
      'approve by stranger: NOT_AN_APPROVER',
      'approve by kafka-owner: DIGEST_MISMATCH',
      'approve by : MESSAGE_INVALID',
      'pause by stranger: NOT_AN_APPROVER',
      'approve by Kafka-Owner: ALREADY_APPROVED',
    ]);
    assert.deepEqual([status.state, status.step, status.sourceOfTruth.all], ['waiting', 'fence', 'source']);
    assert.deepEqual(
      status.awaiting?.given.map(({ by, how, channel }) => [by, how, channel]),
      [['kafka-owner', 'claimed', 'signal']],
    );
  });

  it('moves with the second approval; late ones change nothing', async () => {
    await signal('approve', { gate: 'cutover', by: 'orders-owner', digest: (await operator.status(name)).digest });
    const opened = await operator.gate(name, 'producers');
    assert.equal(opened.sourceOfTruth.all, 'target');
    await listedInTime("SourceOfTruth = 'all=target' AND MigrationStep = 'switch-producers'");

    await signal('approve', { gate: 'cutover', by: 'orders-owner' });
    await signal('approve', { gate: 'cutover', by: 'somebody-late' });
    const late = await operator.until(name, 'late signals to be answered', ({ refused }) => refused.length >= 8);
    assert.deepEqual(refusals(late).slice(6), [
      'approve by orders-owner: ALREADY_APPROVED',
      'approve by somebody-late: GATE_NOT_OPEN',
    ]);
    assert.equal(late.awaiting?.gate, 'producers');
  });

  it('completes with one signal at each gate that is left', async () => {
    await estate.write('target', 'app-writer-1', topic, ['first-on-the-target']);
    await signal('approve', { gate: 'producers', by: 'anyone' });
    await operator.gate(name, 'consumers');
    await signal('approve', { by: 'anyone' });
    const window = await operator.gate(name, 'finalize');
    assert.match(window.steps.find(({ step }) => step === 'verify')?.summary ?? '', /^500 records equal/);
    await signal('approve', { gate: 'finalize', by: 'anyone' });

    assert.deepEqual(await operator.ending(name), { outcome: 'completed' });
    const { state, awaiting, sourceOfTruth, notUndone } = await operator.status(name);
    assert.deepEqual([state, awaiting, sourceOfTruth.all, notUndone], ['completed', null, 'target', []]);
    const tooLate = await operator.tryTemporal(
      ...['workflow', 'signal', '--workflow-id', id, '--name', 'approve', '--input', '{"by":"anyone"}'],
    );
    assert.equal(tooLate.exitCode, 1);
    assert.match(tooLate.stderr, /already completed/);
  });

  it('refuses the same plan once more, since its target is live', async () => {
    assert.equal((await start(id)).exitCode, 0);
    const ended = await operator.ending(name);
    assert.equal(ended.type, 'BLOCKED');
    assert.match(ended.message ?? '', /ALREADY_MOVED \(plan .*\): opening next was decided at/);
  });

  it("holds on the target what Apache's own consumer reads on the source, at the same offsets", async () => {
    const [there, here] = await Promise.all([
      readWithJava(estate.local('target'), 'cutover', topic, { isolation: 'read_uncommitted' }),
      readWithJava(estate.local('source'), 'cutover', topic, { isolation: 'read_uncommitted' }),
    ]);
    const printed = ({ records: found }: typeof here) =>
      found
        .filter(({ value }) => `${value}` !== 'first-on-the-target')
        .map((r) => `${r.partition}/${r.offset} @${r.timestamp} ${r.key}=${r.value}`)
        .sort();
    assert.equal(printed(here).length, records);
    assert.deepEqual(printed(there), printed(here));
    assert.equal(there.records.length, records + 1);
  });
});
