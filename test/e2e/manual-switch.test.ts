/**
 * People switch producers and consumers by hand, and people stop what was begun: gates, pause, a rejected cutover, and
 * aborts that leave the clusters as they were.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import type { ReportDocument } from '../../client/report/document.ts';
import { figuresOf, pauseParts } from '../../client/report/figures.ts';
import { describeAcls } from '../../kafka/acls.ts';
import type { Outline, TopicOutline } from '../../migration/outline.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate, type Side } from './support/estate.ts';
import { Operator, progressTimeoutMs, withoutTemporal } from './support/operator.ts';
import { waitFor } from './support/waiting.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack);

/** Long enough for a fence to be made, if there were one: far more than a step takes. */
const nothingHappensMs = 2_000;
const records = 200;

interface Migration {
  readonly name: string;
  readonly topic: string;
  readonly group: string;
  readonly file: string;
}

/** A topic with records, who may write and read it, and a plan whose switches are people's. */
async function estateFor(prefix: string): Promise<Migration> {
  const name = uniqueName(prefix);
  const [topic, group] = [`${name}.created`, `${name}-billing`];
  await estate.createTopic('source', topic, 2, { 'retention.ms': '86400000', 'max.message.bytes': '2000000' });
  await estate.letIn('source', topic, 'app-writer-1', { user: 'app-reader-1', group });
  await appendMore(topic, 0, records);
  const consumer = estate.application('source', 'app-reader-1').admin();
  await consumer.connect();
  await consumer.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '10' }] });
  await consumer.disconnect();
  const file = operator.plan({
    name,
    source: 'legacy',
    target: 'next',
    topics: { include: [topic.replaceAll('.', '\\.')] },
    producers: { switch: 'manual' },
    consumers: { switch: 'manual' },
    verify: { producersWait: '30s' },
  });
  return { name, topic, group, file };
}

async function appendMore(topic: string, from: number, count: number): Promise<void> {
  for (const partition of [0, 1]) {
    const values = Array.from({ length: count / 2 }, (_, i) => `${partition}-${from + i}`);
    await estate.append('source', topic, batchOf(values), partition);
  }
}

/** The target's log ends are the source's. */
function mirrored({ topic }: Migration): Promise<true> {
  let standing = '';
  const look = async () => {
    const [here, there] = [await estate.ends('source', topic), await estate.ends('target', topic)];
    standing = `source ${here}, target ${there}`;
    return `${here}` === `${there}` || null;
  };
  return waitFor(`the mirror of ${topic} to catch up`, progressTimeoutMs, look, {
    everyMs: 200,
    standing: () => standing,
  }) as Promise<true>;
}

const mayWrite = (side: Side, topic: string) => estate.mayWrite(side, 'app-writer-1', topic);

const answered = (args: readonly string[]) => operator.answer([...args, '--by', 'kafka-owner']);

before(() => operator.startWorker());

describe('a plan whose switches are people’s', { concurrency: true }, () => {
  it('is rejected, paused, resumed, and waits for people at producers and consumers', async () => {
    const move = await estateFor('by-hand');
    const { name, topic, group } = move;
    await operator.answer(['start', move.file, '--by', 'sam']);
    await operator.gate(name, 'cutover');
    assert.deepEqual([await mayWrite('source', topic), await mayWrite('target', topic)], [true, false]);

    // Rejected: the mirror goes on, and the gate is open again when somebody resumes.
    await answered(['reject', name, 'cutover', '--reason', 'not tonight']);
    const rejected = await operator.state(name, 'paused');
    assert.equal(rejected.awaiting, null);
    assert.equal(rejected.next, `kafka-cutover resume ${name} --by WHO`);
    await appendMore(topic, 1_000, 100);
    await mirrored(move);
    await answered(['resume', name]);
    const again = await operator.gate(name, 'cutover');
    assert.deepEqual(again.awaiting?.given, []);

    // Paused: an approval counts, and nothing is fenced before the resume.
    await answered(['pause', name]);
    await answered(['approve', name, 'cutover']);
    await assertStays(name, 'paused', 'source');
    assert.deepEqual([await mayWrite('source', topic), await mayWrite('target', topic)], [true, false]);
    await answered(['resume', name]);

    const producers = await operator.gate(name, 'producers');
    const meanwhile = (await operator.answer(['report', name])) as unknown as ReportDocument;
    assert.deepEqual([meanwhile.outcome, meanwhile.evidenceSha256], [null, null]);
    const { moves: soFar, steps: known } = figuresOf(meanwhile);
    assert.deepEqual(
      soFar.map(({ opened, topics }) => [opened, topics[0]?.proven]),
      [[true, 2]],
    );
    assert.ok(known.some(({ step }) => step === 'switch-producers'));
    assert.equal(producers.sourceOfTruth.all, 'target');
    assert.match(producers.awaiting?.facts.join() ?? '', /next is open: point the producers at it/);
    assert.deepEqual([await mayWrite('source', topic), await mayWrite('target', topic)], [false, true]);
    assert.deepEqual(await mayJoin(group), { source: false, target: true });
    await answered(['approve', name, 'producers']);
    const consumers = await operator.gate(name, 'consumers');
    assert.match(consumers.awaiting?.facts.join() ?? '', /point the consumers at it/);
    await answered(['approve', name, 'consumers']);
    await operator.gate(name, 'finalize');
    await answered(['approve', name, 'finalize']);
    assert.deepEqual(await operator.ending(name), { outcome: 'completed' });
    const { sourceOfTruth, notUndone } = await operator.status(name);
    assert.deepEqual([sourceOfTruth, notUndone], [{ all: 'target' }, []]);
    // The topic has its own settings in the end, and the source stays closed.
    const settings = (await estate.standing('target', { of: name })).filter((line) => /^topic .*=/.test(line));
    assert.deepEqual(settings, [`topic ${topic}: max.message.bytes=2000000`, `topic ${topic}: retention.ms=86400000`]);
    assert.equal(await mayWrite('source', topic), false);
    await reported(move);
  });

  it('begins with init, which looks at both clusters, and plan, which shows what would become of the target', async () => {
    const { name, topic, group } = await estateFor('begun');
    const out = mkdtempSync(join(operator.dir, 'init-'));
    const where = ['--source', 'legacy', '--target', 'next', '--out', out];
    const { seen } = await operator.answer([
      'init',
      '--name',
      name,
      ...where,
      '--topics',
      topic.replaceAll('.', '\\.'),
    ]);
    assert.partialDeepStrictEqual(seen, { topics: 1, partitions: 2, groups: [group], sourceBrokers: 1 });
    const file = join(out, `${name}.yaml`);
    const { changes } = (await operator.answer(['plan', file])) as unknown as { changes: Outline };
    const [{ what, settings, ...outline }] = changes.topics as [TopicOutline];
    assert.partialDeepStrictEqual({ what, ...outline }, { what: 'create', topic, partitions: 2 });
    assert.deepEqual(
      settings.map((setting) => [setting.name, setting.source, setting.now, setting.final]),
      [
        ['max.message.bytes', '2000000', null, '2000000'],
        ['retention.ms', '86400000', null, '86400000'],
      ],
    );
    assert.deepEqual(changes.rules, { wanted: 4, there: 0 });
    const { stdout } = await operator.run(['plan', file]);
    assert.match(stdout, new RegExp(`^\\+ ${topic} +2 partitions, 1 replica +created: 2 partitions, 1 replica$`, 'm'));
    assert.match(stdout, /^\+ 4 access rules to add on next$/m);
  });

  it('aborted with --remove-target before the fence, leaves both clusters exactly as before', async () => {
    const move = await estateFor('taken-back');
    const { name } = move;
    const before = await estate.bothStanding({ of: name });
    const waiting = operator.run(['start', move.file, '--wait', '--json'], { timeoutMs: 2 * progressTimeoutMs });
    await operator.gate(name, 'cutover');
    await mirrored(move);
    assert.notDeepEqual((await estate.bothStanding({ of: name })).target, before.target);

    await answered(['abort', name, '--remove-target']);

    const ended = await waiting;
    assert.equal(ended.exitCode, 4, ended.stderr);
    const { outcome, notUndone } = ended.json();
    assert.deepEqual([outcome, notUndone], ['aborted', []]);
    assert.deepEqual(await estate.bothStanding({ of: name }), before);
  });

  it('aborted without it, leaves only the copy, from which a second start goes on', async () => {
    const move = await estateFor('begun-again');
    const { name, topic } = move;
    const before = await estate.bothStanding({ of: name });
    await operator.answer(['start', move.file]);
    await operator.gate(name, 'cutover');
    await mirrored(move);
    await answered(['abort', name]);
    assert.deepEqual(await operator.ending(name), { outcome: 'aborted' });

    const left = await estate.bothStanding({ of: name });
    assert.deepEqual(left.source, before.source);
    const more = left.target.filter((line) => !before.target.includes(line));
    assert.deepEqual(
      more.filter((line) => !line.startsWith(`topic ${topic}`)),
      groupsCopied(move),
      'no rule, nothing but the topic, and the positions that were copied ahead',
    );
    const [id] = more.filter((line) => !line.includes(':'));

    // Applications went on meanwhile; the copy is proven, and only what is new is mirrored.
    await appendMore(topic, 1_000, 100);
    await operator.answer(['start', move.file]);
    const second = await operator.gate(name, 'cutover');
    await mirrored(move);
    const found = second.findings.filter(({ code }) => code === 'TARGET_TOPIC_EXISTS');
    assert.match(found.map(({ message }) => message).join(), /is a copy that we made, and mirroring goes on from its/);
    assert.match(
      second.steps.find(({ step }) => step === 'prepare-target')?.summary ?? '',
      /^0 topics created, 1 used/,
    );
    assert.ok((await estate.standing('target', { of: name })).includes(id ?? ''), 'the same topic, not a new one');
    assert.deepEqual((await operator.answer(['verify', move.file])).differences, []);

    await answered(['abort', name, '--remove-target']);
    assert.deepEqual(await operator.ending(name), { outcome: 'aborted' });
    assert.deepEqual(await estate.standing('target', { of: name }), before.target);
  });
});

/** The report of a migration that was completed, from the clusters alone. */
async function reported({ name, topic, group }: Migration): Promise<void> {
  const out = join(operator.dir, `${name}.json`);
  await operator.answer(['report', name, '--out', out], 0, withoutTemporal);
  const document = JSON.parse(readFileSync(out, 'utf8')) as ReportDocument;
  assert.equal(document.outcome, 'completed');
  const { moves, pauses, gates, lag, totals } = figuresOf(document);
  const probes = 2; // mayWrite writes a record where it may
  assert.deepEqual([totals.provenPartitions, totals.partitions, totals.records], [2, 2, records + 100 + probes]);
  assert.deepEqual(
    gates.map(({ gate, given }) => [gate, given.map(({ by, how }) => `${by} ${how}`)]),
    ['cutover', 'producers', 'consumers', 'finalize'].map((gate) => [gate, ['kafka-owner claimed']]),
  );
  const [pause] = pauses;
  assert.ok(pause?.closedMs && pause.closedMs > 0);
  assert.deepEqual(
    pauseParts.filter((part) => part !== 'clients' && !pause.parts.some((own) => own.part === part)),
    [],
  );
  assert.deepEqual(
    moves[0]?.groups?.positions.map((p) => [p.group, p.committed, p.written, p.class]),
    [[group, '10', '10', 'exact']],
  );
  assert.equal(moves[0]?.verify?.topics[0]?.settings?.['max.message.bytes'], '2000000');
  assert.deepEqual([...new Set(lag.map(({ kind, direction }) => `${kind} ${direction}`))].sort(), [
    'audit forward',
    'mirror forward',
    'mirror reverse',
  ]);
  const page = join(operator.dir, `${name}.html`);
  await operator.answer(['report', name, '--out', page]);
  assert.match(readFileSync(page, 'utf8'), new RegExp(`data-topic="${topic}"`));
  await operator.answer(['report', name, '--out', `${name}.pdf`], 2);
}

/** What the mirror step had copied ahead stays beside the topic that it is about, and goes with it. */
function groupsCopied({ group, topic }: Migration): string[] {
  return [`group ${group} at ${topic}/0@10`];
}

async function assertStays(name: string, state: string, truth: string): Promise<void> {
  const until = performance.now() + nothingHappensMs;
  while (performance.now() < until) {
    await operator.until(name, 'an answer', (status) => {
      assert.deepEqual([status.state, status.sourceOfTruth.all], [state, truth]);
      return true;
    });
  }
}

/** Whether rules keep members of the group out. */
async function mayJoin(group: string): Promise<Record<Side, boolean>> {
  const denied = async (side: Side) =>
    (await describeAcls(estate[side])).some(
      (acl) => acl.resourceType === 'group' && acl.resourceName === group && acl.permission === 'deny',
    );
  return { source: !(await denied('source')), target: !(await denied('target')) };
}
