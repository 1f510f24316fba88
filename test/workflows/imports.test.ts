import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const root = join(import.meta.dirname, '..', '..');

/** What workflow code may load at run time: Temporal's own, itself, and the contract's plain files. */
const allowed = [
  /^@temporalio\/(workflow|common)$/,
  /^\.\.?\/[a-z./-]+\.ts$/,
  /^(\.\.\/)+contract\/(approval|errors|fences|replicators|status)\.ts$/,
];
/** Relative, but outside: kafka, activities, zod by way of the plan. */
const outside =
  /^(\.\.\/)+(?!contract\/(approval|errors|fences|replicators|status)\.ts)(contract|kafka|mirror|migration|replicators|activities|worker|client)\//;

describe('workflow code', () => {
  for (const file of globSync('workflows/**/*.ts', { cwd: root })) {
    it(`${file} loads nothing that the sandbox must not hold`, () => {
      const text = readFileSync(join(root, file), 'utf8');
      const imports = text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^;']*?\sfrom\s+)?'([^']+)'/gm);
      for (const [, specifier = ''] of imports) {
        const fine = allowed.some((pattern) => pattern.test(specifier)) && !outside.test(specifier);
        assert.ok(fine, `${file} imports ${specifier}: use import type, or do it in an activity`);
      }
      assert.doesNotMatch(text, /\brequire\(|\bimport\(|node:|\bzod\b(?! along)/);
      assert.doesNotMatch(text, /throw new (?!ApplicationFailure)/, 'only ApplicationFailure may be thrown');
      assert.doesNotMatch(text, /validator: async/);
    });
  }
});
