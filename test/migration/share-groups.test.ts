/** Share groups between two clusters of Kafka 4.3, as Apache's own share consumer leaves and finds them. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { parsePlan } from '../../contract/plan.ts';
import { describeGroups } from '../../kafka/groups.ts';
import { alterSharePositions, sharePositions } from '../../kafka/share-groups.ts';
import { carry, finalPositions, followOnce, type Logs } from '../../migration/groups.ts';
import { takeInventory } from '../../migration/inventory.ts';
import { gatherFacts } from '../../migration/preflight/facts.ts';
import { findFindings } from '../../migration/preflight.ts';
import { runJavaTool, withClientProperties } from '../../stack/java-tools.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, write } from './rig.ts';

const oneBroker = {
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
  'share.coordinator.state.topic.num.partitions': '1',
};
const { stack, clusters: file } = await ownStack({
  parts: ['source', 'target'],
  sourceVersion: '4.3.1',
  brokerConfig: { source: oneBroker, target: oneBroker },
});
const clusters = await connectBoth(file);
const topic = uniqueName('shared');
const group = uniqueName('workers');
const topics = new Map([[topic, 1]]);
const shares = new Set([group]);
const plan = parsePlan({ name: 'shares', source: 'legacy', target: 'next', topics: { include: [topic] } });

/** Takes that many records as a member, and leaves. */
async function consume(side: 'source' | 'target', count: number, timeoutMs = 20_000): Promise<string[]> {
  const cluster = stack[side];
  assert.ok(cluster);
  const { stdout } = await withClientProperties(cluster, 'cutover', (properties) =>
    runJavaTool(cluster, 'org.apache.kafka.tools.consumer.ConsoleShareConsumer', [
      ...['--bootstrap-server', cluster.bootstrap, '--command-config', properties, '--topic', topic],
      ...['--group', group, '--max-messages', String(count), '--timeout-ms', String(timeoutMs)],
    ]),
  );
  return stdout.split('\n').filter(Boolean);
}

before(async () => {
  await createOnBoth(clusters, topic);
  for (const cluster of [clusters.source, clusters.target]) await write(cluster, topic, 30);
  await alterSharePositions(clusters.source, group, [{ topic, partition: 0, start: 0n }]);
  assert.equal((await consume('source', 7)).length, 7);
});

describe('a share group', () => {
  it('is found by what it has a place on, with how much it would be delivered again', async () => {
    const inventory = await takeInventory(clusters.source, clusters.target, plan);
    assert.deepEqual(inventory.structural.groups, [{ group, type: 'share' }]);
    assert.deepEqual(inventory.measured.groups[0]?.positions, [{ topic, partition: 0, offset: '7' }]);
    const facts = await gatherFacts(clusters.source, clusters.target, inventory, { measure: false });
    const about = findFindings(inventory, plan, facts).filter(({ where }) => where.includes(group));
    assert.deepEqual(
      about.map(({ code, message }) => [code, message]),
      [
        [
          'SHARE_GROUP_REPLAYS',
          'it goes on where each of 1 partitions begins to deliver; 0 records beyond are done with now, and would be delivered again',
        ],
      ],
    );
    const before42 = { ...facts, source: { ...facts.source, shareOffsetsServed: false } };
    const refused = findFindings(inventory, plan, before42).find(({ where }) => where === `group ${group}`);
    assert.deepEqual([refused?.code, refused?.severity], ['GROUP_UNSUPPORTED', 'blocker']);
  });

  it('follows its source, is handed over, and goes on with the very record that it would have been given next', async () => {
    const followed = await followOnce(clusters, [group], topics, { shares });
    assert.deepEqual([followed.totals.exact, followed.written], [1, 1]);
    assert.equal((await sharePositions(clusters.target, [group])).get(group)?.get(`${topic}/0`)?.start, 7n);

    assert.equal((await consume('source', 5)).length, 5);
    const { source: from, target: into } = clusters;
    const final = await finalPositions({ from, into, groups: [group], topics, shares });
    assert.deepEqual(
      final.positions.map(({ committed, written, class: kind }) => [committed, written, kind]),
      [[12n, 12n, 'exact']],
    );
    assert.deepEqual(await consume('target', 3), ['v12', 'v13', 'v14']);
  });

  it('goes back to where it stands on the target', async () => {
    const { source: into, target: from } = clusters;
    const back = await finalPositions({ from, into, groups: [group], topics, shares });
    assert.deepEqual(
      back.positions.map(({ committed, written, class: kind }) => [committed, written, kind]),
      [[15n, 15n, 'exact']],
    );
    assert.deepEqual(await consume('source', 2), ['v15', 'v16']);
  });

  it('with members is left alone', async () => {
    // Fifteen are left: it goes on waiting for one more.
    const reading = consume('target', 16);
    await waitFor('a member', 15_000, async () =>
      (await describeGroups(clusters.target, [group])).get(group)?.state === 'Stable' ? true : null,
    );
    const { source: from, target: into } = clusters;
    await assert.rejects(alterSharePositions(into, group, [{ topic, partition: 0, start: 0n }]), {
      code: 'GROUP_ACTIVE',
    });
    await assert.rejects(finalPositions({ from, into, groups: [group], topics, shares }), { code: 'GROUP_ACTIVE' });
    const followed = await followOnce(clusters, [group], topics, { shares });
    assert.match(followed.groups[0]?.skipped ?? '', /on the target$/);
    await write(into, topic, 1);
    assert.equal((await reading).length, 16);
  });

  it('is classed by what it has done with beyond the place where it begins', () => {
    const at = (offset: bigint) => new Map([[`${topic}/0`, offset]]);
    const logs: Logs = { startHere: at(0n), endHere: at(30n), startThere: at(0n), endThere: at(30n) };
    const classed = (shareLag: number | null) => {
      const { class: kind, replays } = carry(
        group,
        { topic, partition: 0, offset: 10n, metadata: null, shareLag },
        logs,
      );
      return [kind, replays];
    };
    assert.deepEqual(classed(20), ['exact', 0]);
    assert.deepEqual(classed(13), ['replays', 7]);
    // Brokers that do not say: all of it may be.
    assert.deepEqual(classed(null), ['replays', 20]);
  });
});
