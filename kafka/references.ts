/** Secrets in files that people write stand elsewhere: in the environment, or in a file beside. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';

/** A value kept elsewhere: an environment variable, or a file beside the one that names it. */
export const reference = z.union(
  [z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })],
  { error: 'a secret is not written here: `{ env: NAME }` or `{ file: path }`' },
);
export const plainOrReference = z.union([z.string().min(1), reference], {
  error: 'a text, `{ env: NAME }` or `{ file: path }`',
});
export type Reference = z.infer<typeof reference>;

/** Why there is no value; never the value. */
export interface Unresolved {
  readonly what: string;
  readonly found: string | undefined;
  readonly wanted: string;
}

/** @param folder where files are looked for */
export function resolveReference(
  value: z.infer<typeof plainOrReference>,
  folder: string,
  env: NodeJS.ProcessEnv,
): string | Unresolved {
  if (typeof value === 'string') return value;
  if ('env' in value) {
    const found = env[value.env];
    if (found) return found;
    return { what: 'the environment variable is not set', found: `no ${value.env}`, wanted: value.env };
  }
  try {
    return readFileSync(resolve(folder, value.file), 'utf8').trim();
  } catch (cause) {
    return { what: 'cannot read the file', found: (cause as NodeJS.ErrnoException).code, wanted: value.file };
  }
}
