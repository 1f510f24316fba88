/** Logs with other offsets on real brokers: walked to the boundary, and positions carried over proven records. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { listOffsets } from '../../kafka/offsets.ts';
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
});
