/**
 * What takes longer than the tests may, about the replicators that people have already, on real brokers and a real Connect worker; half an hour for all.
 *
 *   npm run test:replicators [-- positions] [-- checks [--only exact-closed]] [-- large] [-- moves [--runs 5]]
 *
 * Each part writes `test/replicators/results/PART.json`, from which `node docs/generate-replicators.ts` makes its tables.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checks } from './replicators/checks.ts';
import { large } from './replicators/large.ts';
import { moves } from './replicators/moves.ts';
import { positions } from './replicators/positions.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, runs: { type: 'string', default: '5' } },
});
const began = performance.now();
const say = (line: string) => {
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(0).padStart(5)} s  ${line}\n`);
};

/** False: a claim of ours does not hold. */
const parts: Readonly<Record<string, () => Promise<{ readonly result: object; readonly holds: boolean }>>> = {
  async positions() {
    const result = await positions(say);
    return { result, holds: result.ours.wrong === 0 };
  },
  async checks() {
    const result = await checks(say, values.only);
    // What the product promises of a move, whatever carries the records.
    const promised = result.runs
      .filter(({ kind, closing }) => closing && kind !== 'bridge')
      .every(({ passedByArea }) => passedByArea.positions === result.areas.positions);
    return { result, holds: promised };
  },
  async large() {
    const result = await large(say);
    const all = [result.nearTheEnd, result.allOver];
    return { result, holds: all.every(({ exact, positions }) => exact === positions) };
  },
  async moves() {
    const result = await moves(say, { runs: Number(values.runs) });
    const { lost, duplicated, reordered } = result.kinds.mirrormaker2;
    return { result, holds: lost + duplicated + reordered === 0 };
  },
};
const wanted = positionals.length > 0 ? positionals : Object.keys(parts);
const folder = join(import.meta.dirname, 'replicators', 'results');
mkdirSync(folder, { recursive: true });
for (const name of wanted) {
  const part = parts[name];
  if (!part) throw new Error(`no part ${name}: ${Object.keys(parts).join(', ')}`);
  say(name);
  const { result, holds } = await part();
  writeFileSync(
    join(folder, `${name}.json`),
    `${JSON.stringify({ at: new Date().toISOString(), ...result }, null, 2)}\n`,
  );
  if (!holds) process.exitCode = 1;
}
