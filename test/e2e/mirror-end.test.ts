/** `mirror --end`: what a mirror in the foreground changed on both clusters is put back; the copy stays, or goes when that is asked for. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { raiseTerms } from '../../kafka/terms.ts';
import { brokerConfigs, topicConfigs } from '../../kafka/topics.ts';
import { openJournal, stands } from '../../migration/journal.ts';
import { verification } from '../../migration/needs.ts';
import { openStorage } from '../../migration/storage.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate } from './support/estate.ts';
import { Operator } from './support/operator.ts';
import { waitFor } from './support/waiting.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack);

const writer = 'app-writer-1';
const settings = { 'retention.ms': '86400000', 'cleanup.policy': 'compact', 'max.message.bytes': '2000000' };

/** A topic with a transaction, that an application may write to, and a plan for it. */
async function given(): Promise<{ name: string; topic: string; file: string }> {
  const name = uniqueName('ended');
  const topic = `${name}.orders`;
  await estate.createTopic('source', topic, 2, settings);
  await estate.letIn('source', topic, writer);
  // A fresh cluster's coordinators need a moment, which kafkajs does not give them.
  await raiseTerms(estate.source, [name]);
  const producer = estate.application('source', 'cutover').producer({ transactionalId: name, idempotent: true });
  await producer.connect();
  try {
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ key: 'a', value: 'in a transaction', partition: 0 }] });
    await transaction.commit();
  } finally {
    await producer.disconnect();
  }
  // The marker comes after the answer to the commit.
  await waitFor('the commit marker', 20_000, async () => (await estate.ends('source', topic))[0] === '2');
  await estate.append('source', topic, batchOf(['plain']), 1);
  const plan = { name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] } };
  return { name, topic, file: operator.plan({ ...plan, groups: { include: ['no-group'] } }) };
}

const journalOf = (name: string) => openJournal(openStorage(estate), estate, name);
/** What a topic has for itself. */
async function explicit(topic: string): Promise<Record<string, string | null>> {
  const configs = [...((await topicConfigs(estate.target, [topic])).get(topic) ?? [])];
  return Object.fromEntries(
    configs.filter(([, { source }]) => source === 'topic').map(([name, { value }]) => [name, value]),
  );
}
/** Without what the copy is: the topic, its settings, its offsets. */
const beside = (lines: readonly string[], topic: string) => lines.filter((line) => !line.startsWith(`topic ${topic}`));

describe('`mirror --end`', () => {
  it('puts back rules, settings of the brokers and mirrors’ rights, says each, and leaves the copy as it is to stay', async () => {
    // Given
    const { name, topic, file } = await given();
    const before = await estate.bothStanding({ of: topic });
    const mirrored = await operator.run(['mirror', file, '--until-caught-up']);
    assert.equal(mirrored.exitCode, 0, mirrored.stderr);
    assert.match(mirrored.stderr, /`kafka-cutover mirror .*` goes on; with --end it puts back what was changed/);
    assert.equal((await explicit(topic))['cleanup.policy'], 'delete');
    assert.ok(
      (await estate.standing('target', { of: topic })).some((line) => /deny/i.test(line)),
      'closed to applications',
    );
    const purposes = new Set((await journalOf(name).entries()).filter(stands).map(({ purpose }) => purpose));
    for (const purpose of ['protection', 'acl', 'mirror-access', 'target-brokers'] as const) {
      assert.ok(purposes.has(purpose), `${purpose} was changed: ${[...purposes].join()}`);
    }

    // When
    const ended = await operator.answer(['mirror', file, '--end']);

    // Then
    assert.deepEqual(ended.notUndone, []);
    const changes = ended.changes as string[];
    for (const said of [
      /delete \d+ access rules/,
      new RegExp(`all brokers: ${verification}`),
      /cleanup\.policy=compact/,
    ]) {
      assert.ok(
        changes.some((line) => said.test(line)),
        `${said} in\n${changes.join('\n')}`,
      );
    }
    const after = await estate.bothStanding({ of: topic });
    assert.deepEqual(after.source, before.source);
    assert.deepEqual(beside(after.target, topic), beside(before.target, topic));
    assert.deepEqual(await explicit(topic), settings);
    assert.deepEqual(await estate.ends('target', topic), await estate.ends('source', topic));
    const standing = (await journalOf(name).entries()).filter(stands);
    assert.deepEqual([...new Set(standing.map(({ purpose }) => purpose))].sort(), ['target-settings', 'topic']);
    // Files that run beside this one may have a mirror there.
    const others = await journalOf(name).ofOthers('target-brokers');
    const setting = (await brokerConfigs(estate.target)).get(verification);
    assert.ok(others.length > 0 || setting?.source !== 'cluster-dynamic', `${verification} is ${setting?.value}`);

    // And nothing is left for a second time; going on is possible, and ending again.
    assert.equal((await operator.answer(['mirror', file, '--end'])).undone, 0);
    await estate.append('source', topic, batchOf(['later']), 1);
    assert.equal((await operator.answer(['mirror', file, '--until-caught-up'])).records, 1);
    assert.equal((await explicit(topic))['cleanup.policy'], 'delete');
    assert.deepEqual((await operator.answer(['mirror', file, '--end'])).notUndone, []);
    assert.deepEqual(await explicit(topic), settings);
  });

  it('with --remove-target leaves nothing, unless somebody else wrote to the copy', async () => {
    const { topic, file } = await given();
    const before = await estate.bothStanding({ of: topic });
    await operator.answer(['mirror', file, '--until-caught-up']);
    await estate.append('target', topic, batchOf(['foreign']), 1);
    const { notUndone } = await operator.answer(['mirror', file, '--end', '--remove-target'], 1);
    assert.match((notUndone as string[]).join(), new RegExp(`delete topic ${topic}: not done`));
    assert.deepEqual(await explicit(topic), settings);

    const clean = await given();
    const without = await estate.bothStanding({ of: clean.topic });
    await operator.answer(['mirror', clean.file, '--until-caught-up']);
    await operator.answer(['mirror', clean.file, '--end', '--remove-target']);
    assert.deepEqual(await estate.bothStanding({ of: clean.topic }), without);
    assert.deepEqual(beside(await estate.standing('target', { of: topic }), topic), before.target);
  });

  it('has nothing to put back for a plan that was never mirrored, and says so', async () => {
    const { file } = await given();
    const { error } = await operator.answer(['mirror', file, '--end'], 1);
    assert.equal((error as { code: string }).code, 'MIGRATION_NOT_FOUND');
  });
});
