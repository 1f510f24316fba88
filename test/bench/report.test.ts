import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { aimLines, renderBenchmarks } from '../../bench/report.ts';
import { type RowResult, readResults } from '../../bench/result.ts';
import type { Row, Sample } from '../../bench/row.ts';
import { rows } from '../../bench/rows.ts';

const rowOf = (name: string): Row => {
  const found = rows.find((row) => row.name === name);
  assert.ok(found);
  return found;
};

function resultOf(row: string, samples: { ours: readonly Sample[]; peer?: readonly Sample[] }): RowResult {
  return {
    row,
    measuredAt: '2026-01-02T03:04:05.678Z',
    scale: 1,
    seconds: 60,
    machine: {
      processor: 'A processor',
      cores: 2,
      memoryGB: 8,
      node: '24.0.0',
      kafkaSource: '4.3.1',
      kafkaTarget: '4.3.1',
      targetReplicas: 1,
      revision: 'abc1234',
      loadAtStart: 0.1,
      loadDuring: 2.5,
    },
    ours: samples.ours,
    peer: samples.peer ?? [],
    conditions: { log: 'some records' },
  };
}

const copies = resultOf('plain-1k', {
  ours: [200, 240, 220].map((MBps) => ({ MBps, copyCpuSeconds: 2 })),
  peer: [50, 60, 44].map((MBps) => ({ MBps, copyCpuSeconds: 12 })),
});

describe('the benchmark report', () => {
  it('is what docs/benchmarks.md holds', () => {
    const document = readFileSync(new URL('../../docs/benchmarks.md', import.meta.url), 'utf8');
    assert.equal(document, renderBenchmarks(readResults()), 'out of date: run `node bench/report.ts`');
  });

  it('says which aims were met and which were missed', () => {
    assert.deepEqual(aimLines(rowOf('plain-1k'), copies), [
      "met: 4.4 (4 to 5) times MirrorMaker 2's throughput (at least 4)",
      'MISSED: 6 times less CPU time than MirrorMaker 2, from the first record on (at least 10)',
    ]);
  });

  it('takes less for better where the aim is a limit', () => {
    const idle = (cpuPercent: number) => resultOf('idle-1000', { ours: [{ cpuPercent, rssMB: 150 }] });
    assert.match(aimLines(rowOf('idle-1000'), idle(1.9))[0] ?? '', /^met: 1\.9 % of a core/);
    assert.match(aimLines(rowOf('idle-1000'), idle(2.1))[0] ?? '', /^MISSED: 2\.1 % of a core/);
  });

  it('shows medians with their spread, the conditions, and what was not measured', () => {
    const text = renderBenchmarks([copies]);
    assert.match(text, /^\| \[plain-1k\]\(#plain-1k\): .* \| at least 4 times .* \| 4\.4 \(4 to 5\) \| met \|$/m);
    assert.match(text, /^\| MB\/s \| 220 \(200 to 240\) \| 50 \(44 to 60\) \|$/m);
    assert.match(text, /^\| copy CPU s \| 2 \| 12 \|$/m);
    assert.match(text, /load average 0\.1 before the bench began, 2\.5 in the row's last minute/);
    assert.match(text, /^\| idle-1000: .* \| not measured yet \| +\|$/m);
  });

  it('calls a quick look by its name, and judges nothing by it', () => {
    const text = renderBenchmarks([{ ...copies, scale: 0.1 }]);
    assert.match(text, /scale 0\.1: a quick look, not the whole work/);
    assert.match(text, /^\| \[plain-1k\].* \| 4\.4 \(4 to 5\) \| a quick look \|$/m);
    assert.doesNotMatch(text, /\| met \|/);
  });

  it('says where the machine was not ours', () => {
    const busy = { ...copies, machine: { ...copies.machine, loadAtStart: 6 } };
    assert.match(renderBenchmarks([busy]), /^- \*\*provisional\*\*: the machine was at other work too/m);
    assert.doesNotMatch(renderBenchmarks([copies]), /provisional/);
  });

  it('refuses a result that belongs to no row', () => {
    assert.throws(() => renderBenchmarks([{ ...copies, row: 'plain-2k' }]), /belongs to no row/);
  });
});

describe('the rows', () => {
  it('have names of their own, and aims', () => {
    assert.equal(new Set(rows.map((row) => row.name)).size, rows.length);
    for (const row of rows) assert.ok(row.aims.length > 0, row.name);
  });
});
