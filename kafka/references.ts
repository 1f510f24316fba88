/** Secrets in files that people write stand elsewhere: in the environment, or in a file beside. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { type Code, CutoverError } from '../contract/errors.ts';

/** A value kept elsewhere: an environment variable, or a file beside the one that names it. */
export const reference = z.union(
  [z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })],
  { error: 'a secret is not written here: `{ env: NAME }` or `{ file: path }`' },
);
export const plainOrReference = z.union([z.string().min(1), reference], {
  error: 'a text, `{ env: NAME }` or `{ file: path }`',
});
export type Reference = z.infer<typeof reference>;

/**
 * An address of people's choosing. One with a user in it is refused: addresses stand in errors, and `fetch` says the whole of such a one.
 *
 * @param instead where the login is named
 */
export const httpUrl = (instead: string) =>
  z
    .url({ protocol: /^https?$/ })
    .refine((url) => !URL.canParse(url) || new URL(url).username + new URL(url).password === '', {
      error: `a URL without a user in it: ${instead}`,
    });

/**
 * Parses a file that should hold no secret and may all the same: what is wrong is said by its place alone, where the parser's own messages and
 * warnings show what stands there.
 *
 * @throws Error where it is no YAML
 */
export function parseYamlOfSecrets(text: string): unknown {
  try {
    return parse(text, { logLevel: 'error' });
  } catch (cause) {
    if (!(cause instanceof YAMLParseError)) throw new Error('no YAML: an alias without its anchor');
    throw new Error(`no YAML: ${cause.code} at line ${cause.linePos?.[0].line}, column ${cause.linePos?.[0].col}`);
  }
}

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

export interface FileOfSecrets<Settings> {
  readonly settings: Settings;
  /** @throws CutoverError `code`, always */
  readonly refuse: (what: string, at: string, found?: string, wanted?: string) => never;
  /** The value that a reference in it names. @throws CutoverError `code` where there is none */
  readonly secret: (value: Reference, at: string) => string;
}

/**
 * Reads a YAML file of settings whose secrets are references.
 *
 * @throws CutoverError `code` with the path of the wrong value, never with a secret
 */
export function readFileOfSecrets<Schema extends z.ZodType>(
  file: string,
  schema: Schema,
  code: Code,
  env: NodeJS.ProcessEnv,
): FileOfSecrets<z.output<Schema>> {
  const refuse = (what: string, at: string, found?: string, wanted?: string): never => {
    throw new CutoverError(code, { what, where: at === '' ? file : `${file} at ${at}`, found, wanted });
  };
  const secret = (value: Reference, at: string): string => {
    const resolved = resolveReference(value, dirname(file), env);
    return typeof resolved === 'string' ? resolved : refuse(resolved.what, at, resolved.found, resolved.wanted);
  };
  let document: unknown;
  try {
    document = parseYamlOfSecrets(readFileSync(file, 'utf8'));
  } catch (cause) {
    const { code: reason, message } = cause as NodeJS.ErrnoException;
    return refuse('cannot read the file', '', reason ?? message);
  }
  const parsed = schema.safeParse(document);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refuse(issue?.message ?? 'wrong value', issue?.path.join('.') ?? '');
  }
  return { settings: parsed.data, refuse, secret };
}
