/** Reads a plan file (YAML or JSON): every mistake is named with its line and its path. */
import { readFileSync } from 'node:fs';
import { type Document, isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { CutoverError } from '../contract/errors.ts';
import { type Plan, type PlanInput, planSchema } from '../contract/plan.ts';

/** A plan has no use for more; keeps a wrong file name from being read whole. */
const planBytesMax = 1 << 20;

export interface PlanFile {
  readonly file: string;
  /** What the user wrote: the workflow's input, which its first activity parses again. */
  readonly input: PlanInput;
  /** Checked, with defaults and durations in milliseconds. */
  readonly plan: Plan;
}

/** @throws CutoverError PLAN_INVALID with every wrong value, its path and its line */
export function readPlanFile(file: string): PlanFile {
  const refuse = (what: string, where: string, found: string, cause?: unknown) =>
    new CutoverError('PLAN_INVALID', { what, where, found }, { cause });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code ?? String(cause);
    const next = 'Check the name of the file; `kafka-cutover init` writes a first plan.';
    throw new CutoverError('PLAN_INVALID', { what: 'cannot read the plan', where: file, found, next }, { cause });
  }
  if (text.length > planBytesMax) throw refuse('the plan is too long', file, `${text.length} bytes`);

  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [syntax] = document.errors;
  if (syntax) {
    const { line, col } = lines.linePos(syntax.pos[0]);
    throw refuse('the plan is neither YAML nor JSON', `${file}:${line}:${col}`, syntax.message, syntax);
  }
  let input: unknown;
  try {
    input = document.toJS();
  } catch (cause) {
    throw refuse('the plan cannot be read', file, (cause as Error).message, cause); // an alias without an anchor
  }
  const parsed = planSchema.safeParse(input);
  if (parsed.success) return { file, input: input as PlanInput, plan: parsed.data };

  const mistakes = parsed.error.issues.map((issue) => {
    const unknownKey = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
    const path = unknownKey === undefined ? issue.path : [...issue.path, unknownKey];
    const offset = offsetOf(document, path);
    const line = offset === null ? null : lines.linePos(offset).line;
    const where = path.join('.') || '(top)';
    return { line, text: `${line === null ? '' : `line ${line}: `}${where}: ${issue.message}` };
  });
  const first = mistakes.find((mistake) => mistake.line !== null);
  throw refuse(
    'the plan is not valid',
    first ? `${file}:${first.line}` : file,
    mistakes.map((mistake) => mistake.text).join('; '),
    parsed.error,
  );
}

/** Where the key at `path` stands in the text; where its parent does when there is no such key. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number | null {
  const keys = path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  for (let length = keys.length; length > 0; length--) {
    const parent = document.getIn(keys.slice(0, length - 1), true);
    const pair = isMap(parent)
      ? parent.items.find((item) => isScalar(item.key) && item.key.value === keys[length - 1])
      : undefined;
    if (pair && isScalar(pair.key) && pair.key.range) return pair.key.range[0];
    const node = document.getIn(keys.slice(0, length), true);
    const range = (node as { range?: readonly number[] } | undefined)?.range;
    if (range?.[0] !== undefined) return range[0];
  }
  return null;
}
