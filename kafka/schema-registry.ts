/**
 * A schema registry as Confluent's API serves it (docs.confluent.io, "Schema Registry API Reference"), of the default context. What is
 * read is read loosely: Karapace, Redpanda and Apicurio answer alike, each in its own way.
 */
import { z } from 'zod';
import { type Code, CutoverError } from '../contract/errors.ts';
import type { RegistryConfig } from './clusters.ts';
import { exchange } from './http.ts';

export interface SchemaReference {
  readonly name: string;
  readonly subject: string;
  readonly version: number;
}

export interface Schema {
  readonly schema: string;
  readonly schemaType: string;
  /** Sorted by name. */
  readonly references: readonly SchemaReference[];
}

export interface SchemaVersion extends Schema {
  readonly subject: string;
  readonly version: number;
  readonly id: number;
  /** Data contracts (`metadata`, `ruleSet`): passed on as they are. */
  readonly contract: Readonly<Record<string, unknown>>;
}

/** Of one answer. */
const timeoutMs = 10_000;
const answerBytesMax = 16 << 20;
/** Characters of an answer that are shown. */
const answerMax = 200;
const mediaType = 'application/vnd.schemaregistry.v1+json';

const references = z
  .array(z.looseObject({ name: z.string(), subject: z.string(), version: z.int() }))
  .nullish()
  .transform((all) =>
    (all ?? [])
      .map(({ name, subject, version }) => ({ name, subject, version }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  );
const schema = z.looseObject({ schema: z.string(), schemaType: z.string().nullish(), references });
const schemaVersion = schema.extend({
  version: z.int(),
  id: z.int(),
  metadata: z.unknown().optional(),
  ruleSet: z.unknown().optional(),
});
const names = z.array(z.string());
const numbers = z.array(z.int());
const mode = z.looseObject({ mode: z.string() });
const level = z.looseObject({ compatibilityLevel: z.string() });

export class SchemaRegistry {
  readonly #config: RegistryConfig;
  readonly #name: string;
  /** A version never changes; read once by this object. */
  readonly #versions = new Map<string, SchemaVersion>();

  /** @param name of its cluster */
  constructor(config: RegistryConfig, name: string) {
    this.#config = config;
    this.#name = name;
  }

  get where(): string {
    return `registry of ${this.#name}`;
  }

  /** Whether both are one registry, which serves two clusters. */
  isSame(other: SchemaRegistry): boolean {
    return this.#config.url === other.#config.url;
  }

  /** Names, those with soft-deleted versions alone among them. @throws CutoverError REGISTRY_REFUSED, REGISTRY_UNREACHABLE, as all methods here */
  async subjects(): Promise<string[]> {
    const path = '/subjects?deleted=true';
    const all = await this.#read(path, names);
    // Every registry has this list, if an empty one.
    if (all === null) throw this.#noRegistry(path, 'status 404');
    return all.sort();
  }

  /** Ascending; empty where there is no such subject. */
  async versionsOf(subject: string): Promise<{ version: number; deleted: boolean }[]> {
    const path = `/subjects/${encodeURIComponent(subject)}/versions`;
    const all = (await this.#read(`${path}?deleted=true`, numbers)) ?? [];
    const live = new Set(all.length > 0 ? await this.#read(path, numbers) : []);
    return all.sort((a, b) => a - b).map((version) => ({ version, deleted: !live.has(version) }));
  }

  /** Null where there is none. */
  async version(subject: string, version: number): Promise<SchemaVersion | null> {
    const path = `/subjects/${encodeURIComponent(subject)}/versions/${version}`;
    const known = this.#versions.get(path);
    if (known) return known;
    const found = await this.#read(`${path}?deleted=true`, schemaVersion);
    if (!found) return null;
    const { metadata, ruleSet } = found;
    const contract = { ...(metadata != null && { metadata }), ...(ruleSet != null && { ruleSet }) };
    const read = { ...plain(found), subject, version: found.version, id: found.id, contract };
    this.#versions.set(path, read);
    return read;
  }

  /** What an id means; null where it is not known. */
  async byId(id: number): Promise<Schema | null> {
    const found = await this.#read(`/schemas/ids/${id}`, schema);
    return found && plain(found);
  }

  /** @param subject null: of the whole registry. @returns null where it has none of its own, or knows no modes */
  async mode(subject: string | null): Promise<string | null> {
    return (await this.#read(`/mode${below(subject)}`, mode))?.mode ?? null;
  }

  /** @param to null: what the whole registry has */
  async setMode(subject: string, to: string | null): Promise<void> {
    const path = `/mode${below(subject)}`;
    // A subject that holds something is taken into IMPORT by force alone: the caller has compared what it holds.
    if (to === null) await this.#ask('DELETE', path, { missing: true });
    else await this.#ask('PUT', `${path}?force=true`, { body: { mode: to } });
  }

  /** The compatibility level. @param subject null: of the whole registry. @returns null where it has none of its own */
  async level(subject: string | null): Promise<string | null> {
    return (await this.#read(`/config${below(subject)}`, level))?.compatibilityLevel ?? null;
  }

  /** @param to null: what the whole registry has */
  async setLevel(subject: string | null, to: string | null): Promise<void> {
    const path = `/config${below(subject)}`;
    if (to === null) await this.#ask('DELETE', path, { missing: true });
    else await this.#ask('PUT', path, { body: { compatibility: to } });
  }

  /** Under its version and id, which mode IMPORT allows. */
  async register({ subject, version, id, schema: text, schemaType, references: used, contract }: SchemaVersion) {
    const path = `/subjects/${encodeURIComponent(subject)}/versions`;
    // Older registries know neither key.
    const typed = schemaType === avro ? {} : { schemaType };
    const body = { schema: text, ...typed, ...(used.length > 0 && { references: used }), ...contract, version, id };
    await this.#ask('POST', path, { body });
  }

  /** @param how `soft`: its id goes on to be known */
  async deleteVersion(subject: string, version: number, how: 'soft' | 'forGood'): Promise<void> {
    const path = `/subjects/${encodeURIComponent(subject)}/versions/${version}`;
    await this.#ask('DELETE', path, { missing: true });
    if (how === 'soft') return;
    await this.#ask('DELETE', `${path}?permanent=true`, { missing: true });
    this.#versions.delete(path);
  }

  async #read<Shape>(path: string, shape: z.ZodType<Shape>): Promise<Shape | null> {
    const text = await this.#ask('GET', path, { missing: true });
    if (text === null) return null;
    const parsed = shape.safeParse(parsedOrNull(text));
    if (parsed.success) return parsed.data;
    throw this.#noRegistry(path, shortened(text) || 'an empty answer');
  }

  /** Something else answers there: a proxy's login page, a wrong path. */
  #noRegistry(path: string, found: string): CutoverError {
    const what = 'the answer is none of a schema registry';
    return new CutoverError('REGISTRY_REFUSED', { what, where: `${this.where}, GET ${path}`, found });
  }

  /** @returns the text of the answer; null where nothing is there and `missing` says that this is an answer */
  async #ask(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    options: { readonly body?: object; readonly missing?: boolean } = {},
  ): Promise<string | null> {
    const where = `${this.where}, ${method} ${path}`;
    const { status, text } = await this.#send(method, path, options.body).catch((error: Error & { code?: string }) => {
      const found = error.code ?? error.message;
      throw new CutoverError('REGISTRY_UNREACHABLE', { what: 'no answer', where, found }, { cause: error });
    });
    if (status >= 200 && status < 300) return text;
    if (status === 404 && options.missing) return null;
    const passing = status === 429 || status >= 500;
    const code: Code = passing ? 'REGISTRY_UNREACHABLE' : 'REGISTRY_REFUSED';
    const { message } = (parsedOrNull(text) ?? {}) as { message?: string };
    throw new CutoverError(code, {
      what: passing ? 'the registry cannot answer now' : 'the registry refuses',
      where,
      found: `status ${status}, ${shortened(message ?? text)}`,
    });
  }

  #send(method: string, path: string, content?: object): Promise<{ status: number; text: string }> {
    const { url, authorization, ca } = this.#config;
    const headers = {
      accept: `${mediaType}, application/json`,
      ...(authorization && { authorization }),
      ...(content && { 'content-type': mediaType }),
    };
    const body = content && JSON.stringify(content);
    return exchange(new URL(`${url}${path}`), { method, headers, body, ca, timeoutMs, bytesMax: answerBytesMax });
  }
}

/** What is meant where no type is named. */
const avro = 'AVRO';

/** Registries write JSON in their own way: Avro and JSON Schema are compared by what they say. */
export function sameSchema(a: Schema, b: Schema): boolean {
  if (a.schemaType !== b.schemaType || JSON.stringify(a.references) !== JSON.stringify(b.references)) return false;
  return a.schema === b.schema || meaning(a) === meaning(b);
}

function meaning({ schema: text, schemaType }: Schema): string {
  const spaceless = text.replace(/\s+/g, ' ').trim();
  if (schemaType === 'PROTOBUF') return spaceless;
  const value = parsedOrNull(text);
  return value === null ? spaceless : JSON.stringify(value);
}

function plain(found: z.infer<typeof schema>): Schema {
  return { schema: found.schema, schemaType: found.schemaType || avro, references: found.references };
}

function below(subject: string | null): string {
  return subject === null ? '' : `/${encodeURIComponent(subject)}`;
}

function shortened(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, answerMax);
}

function parsedOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
