/**
 * Writes docs/plan.md from the plan's schema and the words in contract/plan-words.ts: `node docs/generate-plan.ts`.
 * test/tidy.test.ts holds the three together.
 */
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { planSchema } from '../contract/plan.ts';
import { inWords, type PlanKey, planKeys, type Wanted } from '../contract/plan-words.ts';

const documentFile = new URL('./plan.md', import.meta.url);

export const planSchemaInWords = inWords(z.toJSONSchema(planSchema, { io: 'input' }) as PlanKey);

export function renderPlan(): string {
  // Every gate has the same keys, said once; their defaults differ, which the words say.
  const keys = planKeys(planSchemaInWords).flatMap(([path, key, wanted]) => {
    if (!path.startsWith('gates.')) return [{ path, key, wanted }];
    return path.startsWith('gates.start.') ? [{ path: path.replace('gates.start', 'gates.GATE'), key, wanted }] : [];
  });
  const rows = keys.map(({ path, key, wanted }) => {
    const usual = path === 'gates.GATE.approvals' ? '1' : usually(key, wanted);
    return `| \`${path}\` | ${valuesOf(key)} | ${usual} | ${cell(key.description ?? '')} |`;
  });
  const gates = Object.keys(planSchemaInWords.properties?.gates?.properties ?? {});
  return `# The plan

A plan is YAML or JSON; \`kafka-cutover init\` writes a first one, [examples](../examples/README.md) has one for each case. Unknown keys are mistakes. Durations are written as
\`300ms\`, \`60s\`, \`5m\`, \`24h\` or \`7d\`. \`kafka-cutover schema\` prints the same as JSON Schema, for editors. What is approved is the plan's digest, so after a change it
is approved anew; \`mirror\` can be changed while it runs, by \`tune\`.

GATE is ${gates.slice(0, -1).join(', ')} or ${gates.at(-1)}; \`[]\` stands for the entries of a list.

| key | values | default | meaning |
|---|---|---|---|
${rows.join('\n')}

Generated from \`contract/plan.ts\` and \`contract/plan-words.ts\` by \`node docs/generate-plan.ts\`; do not edit by hand.
`;
}

function valuesOf({ type, enum: values, pattern, anyOf, items }: PlanKey): string {
  if (anyOf) return anyOf.map(valuesOf).join(' or ');
  if (values) return values.map((value) => `\`${value}\``).join(', ');
  if (type === 'object') return 'text by name';
  if (type === 'array') return `list of ${items ? valuesOf(items) : 'text'}`;
  if (type === 'integer') return 'number';
  if (type === 'boolean') return '`true`, `false`';
  if (pattern?.includes('ms|s|m|h|d')) return 'duration';
  return 'text';
}

function usually({ default: value }: PlanKey, wanted: Wanted): string {
  if (wanted !== 'never') return wanted === 'always' ? '**wanted**' : 'wanted with it';
  if (value === undefined) return '-';
  if (typeof value === 'object') return 'none';
  return value === '' ? '-' : `\`${value}\``;
}

const cell = (text: string): string => text.replaceAll('|', '\\|');

if (import.meta.main) writeFileSync(documentFile, renderPlan());
