/** Logs with other offsets on real brokers: walked to the boundary, and positions carried over proven records. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runPositions } from '../../activities/foreground-positions.ts';
import { parsePlan } from '../../contract/plan.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { createTopic } from '../../kafka/topics.ts';
import { type PairingStart, runPairing } from '../../mirror/pairing-run.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, deleteRecords, write } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const { source, target } = clusters;
const none = { missing: 0, duplicated: 0, reordered: 0, foreign: 0, superseded: 0 };
const zero = { origin: 0n, copy: 0n };

describe('walking two logs of real brokers', () => {
  it('reaches the boundary while both grow, also where it begins again in the middle', async () => {
    const topic = uniqueName('pairs');
    await createOnBoth(clusters, topic, 2);
    for (const partition of [0, 1]) {
      await write(source, topic, 7, { partition });
      await deleteRecords(source, topic, partition, 7n);
    }
    const batches = Array.from({ length: 40 }, (_, i) => `b${i}-`);
    const fill = async (some: readonly string[]) => {
      for (const prefix of some) {
        for (const partition of [0, 1]) {
          await write(source, topic, 25, { partition, prefix });
          await write(target, topic, 25, { partition, prefix });
        }
      }
    };
    await fill(batches.slice(0, 10));
    const partitions: PairingStart[] = [0, 1].map((partition) => ({
      topic,
      partition,
      place: zero,
      start: zero,
      anchors: [],
      counts: { records: 0, ...none },
    }));
    const ending = new AbortController();
    let seen = 0n;
    const following = runPairing({
      origin: source,
      copy: target,
      partitions,
      signal: ending.signal,
      onProgress: (all) => {
        seen = all.reduce((sum, { place }) => sum + place.copy, 0n);
      },
    });
    await fill(batches.slice(10, 20));
    while (seen < 1_000n) await new Promise((done) => setTimeout(done, 50));
    ending.abort();
    const walked = await following;
    assert.deepEqual(
      walked.map(({ place, counts }) => [place, counts]),
      [0, 1].map(() => [
        { origin: 507n, copy: 500n },
        { records: 500, ...none },
      ]),
    );
    await fill(batches.slice(20));
    const until = await listOffsets(source, walked, 'logEnd');
    const done = await runPairing({
      origin: source,
      copy: target,
      partitions: walked,
      signal: AbortSignal.timeout(20_000),
      until,
    });
    assert.deepEqual(
      done.map(({ place, counts }) => [place, counts]),
      [0, 1].map(() => [
        { origin: 1_007n, copy: 1_000n },
        { records: 1_000, ...none },
      ]),
    );
  });

  it('does not let what it has read for one partition hold up the search in another', async () => {
    const topic = uniqueName('pairs');
    await createOnBoth(clusters, topic, 2);
    for (const partition of [0, 1]) {
      for (const side of [source, target]) {
        for (const prefix of ['a', 'b', 'c']) await write(side, topic, 20, { partition, prefix });
      }
    }
    const near = { from: zero, positions: [3n] };
    const far = { from: { origin: 40n, copy: 40n }, positions: [47n] };

    const found = await runPairing({
      origin: source,
      copy: target,
      partitions: [[near], [near, far]].map((searches, partition) => ({
        topic,
        partition,
        place: { origin: 60n, copy: 60n },
        start: zero,
        anchors: [],
        counts: { records: 60, ...none },
        searches,
      })),
      bytesHeldMax: 1,
      signal: AbortSignal.timeout(20_000),
    });

    assert.deepEqual(
      found.map(({ located }) => located.map(({ position, copy }) => [position, copy])),
      [
        [[3n, 3n]],
        [
          [3n, 3n],
          [47n, 47n],
        ],
      ],
    );
  });

  it('finds positions behind a copy under prefixed names, and writes them only when told to', async () => {
    const topic = uniqueName('pairs');
    const copy = `legacy.${topic}`;
    // What `write` writes is years old.
    const configs = { 'retention.ms': '-1' };
    await createTopic(source, { name: topic, partitions: 1, replicationFactor: 1, configs });
    await createTopic(target, { name: copy, partitions: 1, replicationFactor: 1, configs });
    await write(source, topic, 7);
    await deleteRecords(source, topic, 0, 7n);
    await write(source, topic, 100, { prefix: 'a' });
    await write(target, copy, 100, { prefix: 'a' });
    await write(source, topic, 10, { prefix: 'late' });
    const group = uniqueName('g');
    const others = { ahead: `${group}-ahead` };
    const commit = (name: string, offset: bigint) =>
      commitOffsets(source, name, [{ topic, partition: 0, offset, metadata: null }]);
    await commit(group, 40n);
    await commit(others.ahead, 112n);
    const plan = parsePlan({
      name: group,
      source: 'legacy',
      target: 'next',
      topics: { include: [topic] },
      groups: { include: [`${group}.*`] },
      replicator: { kind: 'mirrormaker2', connect: 'dedicated', naming: 'prefixed' },
      rollback: { reverseMirror: false },
    });
    const { signal } = new AbortController();
    const look = (told: boolean) => runPositions(plan, file, { commit: told, signal, onStep: () => {} });
    const there = async () => (await fetchOffsets(target, [group], { requireStable: false })).get(group);

    const found = await look(false);
    assert.deepEqual(
      found.map(({ group: name, targetTopic, written, class: how, replays }) => [
        name,
        targetTopic,
        written,
        how,
        replays,
      ]),
      [
        [group, copy, 33n, 'exact', 0],
        // Ten records are not over there yet, of which it has read five.
        [others.ahead, copy, 100n, 'replays', 5],
      ],
    );
    assert.equal((await there())?.size ?? 0, 0);
    await look(true);
    assert.equal((await there())?.get(`${copy}/0`)?.offset, 33n);
  });
});
