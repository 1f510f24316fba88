/**
 * Writes docs/codes.md from the closed list in contract/errors.ts: `node docs/generate-codes.ts`.
 * The groups are the comments inside that list. test/tidy.test.ts holds the two files together.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { type CodeEntry, codes } from '../contract/errors.ts';

const listFile = new URL('../contract/errors.ts', import.meta.url);
const documentFile = new URL('./codes.md', import.meta.url);

export function renderCodes(): string {
  const chapters = groupsOf(readFileSync(listFile, 'utf8')).map(({ title, names }) => {
    const rows = names.map((name) => {
      const { severity, retryable, meaning, next } = (codes as Record<string, CodeEntry>)[name] as CodeEntry;
      return `| ${[`\`${name}\``, severity, retryable ? 'yes' : 'no', meaning, next].map(cell).join(' | ')} |`;
    });
    return [
      `## ${title}`,
      '',
      '| Code | Severity | Retryable | Meaning | What to do next |',
      '|---|---|---|---|---|',
      ...rows,
    ];
  });
  return `${[
    '# Codes',
    '',
    'Every refusal, failure and preflight finding carries one of these codes: as the failure `type` in Temporal, as `code`',
    'in `--json` output, and as the first word of a message. _Retryable_ says whether the same thing, tried again',
    'unchanged, can succeed. A finding of severity `blocker` stops a migration before anything is changed, unless the plan',
    'waives it by name (`waivers`).',
    '',
    'Generated from `contract/errors.ts` by `node docs/generate-codes.ts`; do not edit by hand.',
    '',
    ...chapters.flatMap((lines) => [...lines, '']),
  ]
    .join('\n')
    .trimEnd()}\n`;
}

interface Group {
  readonly title: string;
  readonly names: string[];
}

/** The list is read as text for its group comments, and as a value for everything else; both must name the same codes. */
function groupsOf(source: string): Group[] {
  const list = source.slice(source.indexOf('export const codes = {'), source.indexOf('} as const satisfies'));
  const groups: Group[] = [];
  for (const [, title, name] of list.matchAll(/^ {2}(?:\/\/ (.+)|([A-Z][A-Z0-9_]*): entry\()/gm)) {
    if (title !== undefined) groups.push({ title, names: [] });
    else groups.at(-1)?.names.push(name as string);
  }
  const found = groups.flatMap((group) => group.names);
  const missing = Object.keys(codes).filter((name) => !found.includes(name));
  if (missing.length > 0) throw new Error(`contract/errors.ts: no group comment stands above ${missing.join(', ')}`);
  return groups;
}

const cell = (text: string): string => text.replaceAll('|', '\\|');

if (import.meta.main) writeFileSync(documentFile, renderCodes());
