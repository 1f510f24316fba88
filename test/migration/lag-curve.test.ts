import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LagRecorder, readLagCurves } from '../../migration/lag-curve.ts';
import { memoryStorage } from './rig.ts';

const curve = { kind: 'mirror', wave: 'all', direction: 'forward', shard: 0, shards: 1 } as const;

describe('the curve of a mirror’s lag', () => {
  it('holds a few hundred samples however long it runs, from the first to the last', async () => {
    const storage = memoryStorage();
    let now = 0;
    const lag = new LagRecorder(storage, 'm', curve, () => now);
    for (; now <= 7 * 86_400_000; now += 10_000) lag.look(BigInt(now), BigInt(now + 5));
    await lag.store();
    const [stored] = await readLagCurves(storage, 'm');
    const samples = stored?.samples ?? [];
    assert.ok(samples.length > 100 && samples.length <= 240, `${samples.length} samples`);
    assert.deepEqual(
      [samples[0], samples.at(-1)],
      [
        [0, 0, 5],
        [604_800_000, 604_800_000, 604_800_005],
      ],
    );
  });

  it('goes on where an earlier attempt of the shard ended, and ends with the newest sample', async () => {
    const storage = memoryStorage();
    for (const begin of [1_000, 500_000]) {
      let now = begin;
      const lag = new LagRecorder(storage, 'm', curve, () => now);
      lag.look(1n, 9n);
      now += 200; // too early to be kept, but the newest
      lag.look(2n, 9n);
      await lag.store();
      await lag.store();
    }
    const [stored] = await readLagCurves(storage, 'm');
    assert.deepEqual(stored?.samples, [
      [1_000, 1, 9],
      [1_200, 2, 9],
      [500_000, 1, 9],
      [500_200, 2, 9],
    ]);
  });

  it('that cannot be stored never ends the mirror', async () => {
    const failing = memoryStorage(() => Promise.reject(new Error('the cluster is away')));
    const lag = new LagRecorder(failing, 'm', curve);
    lag.look(1n, 2n);
    await lag.store();
  });
});
