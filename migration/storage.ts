/**
 * Where artifacts stand that must outlive every process: inventory, journal, boundary, positions, evidence.
 *
 * By default on both clusters, in the compacted topic `__kafka_cutover` (`storage-topic.ts`), so that whatever
 * is needed to undo a change stands beside the change. `KAFKA_CUTOVER_ARTIFACTS` names a directory instead, for
 * a single worker.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Cluster } from '../kafka/cluster.ts';
import { corrupt, sha256Of, TopicStorage } from './storage-topic.ts';

export interface Stored {
  readonly bytes: Buffer;
  /** Hex. */
  readonly sha256: string;
}

export interface PutOptions {
  /**
   * `both` (default): acknowledged by every in-sync replica of both clusters before it returns. `any`: of at least
   * one, for what is only noted after the fact (such as "undone") and must not stop while a cluster is down.
   */
  readonly on?: 'both' | 'any';
}

export interface GetOptions {
  /** `both`: throws unless both clusters could be read, so that what only one of them took is not missed. */
  readonly from?: 'both' | 'any';
}

export interface Artifact {
  readonly name: string;
  readonly bytes: Buffer;
}

export interface Storage {
  /**
   * Stores a new version of an artifact and gives its sha256 in hex. A put that throws may or may not have been
   * stored; it never leaves half a version behind.
   *
   * @param name segments joined by `/`, such as `orders/journal/all/4f1c`
   * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
   */
  put(name: string, bytes: Buffer, options?: PutOptions): Promise<string>;
  /** Many at once, in few requests. Each becomes visible by itself. */
  putAll(artifacts: readonly Artifact[], options?: PutOptions): Promise<string[]>;
  /**
   * The newest complete version, or null.
   *
   * @throws CutoverError STORAGE_CORRUPT when what is stored is not what was put, CLUSTER_UNREACHABLE when neither
   *   cluster can be read (or one of them, where both were asked for)
   */
  get(name: string, options?: GetOptions): Promise<Stored | null>;
  /** Names that begin with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>;
  /** Every artifact below `prefix`, sorted by name, at the price of one `get`. Throws as `get`. */
  getAll(prefix: string): Promise<Artifact[]>;
  /** What the last read had to do without, such as a cluster that does not answer; null when nothing. */
  readonly degraded: string | null;
}

/**
 * Opens storage on both clusters, or in a directory. Opening creates nothing: the topic is created by the first put.
 */
export function openStorage(
  where: { readonly source: Cluster; readonly target: Cluster } | { readonly directory: string },
): Storage {
  return 'directory' in where ? new DirectoryStorage(where.directory) : new TopicStorage(where.source, where.target);
}

/** The storage that the environment asks for: `KAFKA_CUTOVER_ARTIFACTS`, else both clusters. */
export function storageFor(
  clusters: { readonly source: Cluster; readonly target: Cluster },
  env: NodeJS.ProcessEnv = process.env,
): Storage {
  const directory = env.KAFKA_CUTOVER_ARTIFACTS;
  return openStorage(directory ? { directory } : { source: clusters.source, target: clusters.target });
}

/** Stores a value as JSON; `bigint` becomes a decimal string, a `Map` with string keys an object. */
export function putJson(storage: Storage, name: string, value: unknown, options?: PutOptions): Promise<string> {
  return storage.put(name, toJson(value), options);
}

export function toJson(value: unknown): Buffer {
  const plain = (_key: string, item: unknown) =>
    typeof item === 'bigint' ? item.toString() : item instanceof Map ? Object.fromEntries(item) : item;
  return Buffer.from(JSON.stringify(value, plain));
}

/**
 * Reads what `putJson` wrote; null when there is none.
 *
 * @throws CutoverError STORAGE_CORRUPT
 */
export async function getJson<T>(storage: Storage, name: string, options?: GetOptions): Promise<T | null> {
  const stored = await storage.get(name, options);
  if (!stored) return null;
  return fromJson<T>(name, stored.bytes);
}

function fromJson<T>(name: string, bytes: Buffer): T {
  try {
    return JSON.parse(bytes.toString()) as T;
  } catch (cause) {
    throw corrupt(name, 'storage', 'bytes that are not JSON', { cause });
  }
}

/** Every artifact below `prefix`, in the order of their names. */
export async function getAllJson<T>(storage: Storage, prefix: string): Promise<{ name: string; value: T }[]> {
  return (await storage.getAll(prefix)).map(({ name, bytes }) => ({ name, value: fromJson<T>(name, bytes) }));
}

/** One file per artifact: a line of JSON with digest and length, then the bytes. */
class DirectoryStorage implements Storage {
  readonly degraded = null;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async put(name: string, bytes: Buffer): Promise<string> {
    const path = this.#path(name);
    const sha256 = sha256Of(bytes);
    const head = Buffer.from(`${JSON.stringify({ sha256, bytes: bytes.length })}\n`);
    await mkdir(dirname(path), { recursive: true });
    // Written aside, synced, renamed, and the folder synced: after a crash there is the old file or the new one.
    const aside = `${path}.${randomUUID()}.new`;
    await withFile(aside, 'wx', async (file) => {
      await file.writeFile(Buffer.concat([head, bytes]));
      await file.sync();
    });
    await rename(aside, path);
    await withFile(dirname(path), 'r', (folder) => folder.sync());
    return sha256;
  }

  async putAll(artifacts: readonly Artifact[]): Promise<string[]> {
    const digests: string[] = [];
    for (const { name, bytes } of artifacts) digests.push(await this.put(name, bytes));
    return digests;
  }

  async get(name: string): Promise<Stored | null> {
    const path = this.#path(name);
    let content: Buffer;
    try {
      content = await readFile(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
    const newline = content.indexOf(10);
    const bytes = content.subarray(newline + 1);
    let wanted: string | undefined;
    try {
      wanted = (JSON.parse(content.subarray(0, newline).toString()) as { sha256?: string }).sha256;
    } catch (cause) {
      throw corrupt(name, path, 'a first line that is not ours', { cause });
    }
    const sha256 = sha256Of(bytes);
    if (sha256 !== wanted) throw corrupt(name, path, `sha256 ${sha256}, wanted ${wanted}`);
    return { bytes, sha256 };
  }

  async list(prefix: string): Promise<string[]> {
    let files: string[];
    try {
      files = await readdir(this.#directory, { recursive: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
    return files
      .filter((file) => file.endsWith(fileSuffix))
      .map((file) => file.slice(0, -fileSuffix.length).split(/[/\\]/).map(decodeURIComponent).join('/'))
      .filter((name) => name.startsWith(prefix))
      .sort();
  }

  async getAll(prefix: string): Promise<Artifact[]> {
    const found: Artifact[] = [];
    for (const name of await this.list(prefix)) {
      const stored = await this.get(name);
      if (stored) found.push({ name, bytes: stored.bytes });
    }
    return found;
  }

  #path(name: string): string {
    return `${join(this.#directory, ...name.split('/').map(fileName))}${fileSuffix}`;
  }
}

const fileSuffix = '.artifact';

function fileName(segment: string): string {
  return encodeURIComponent(segment).replaceAll('.', '%2E');
}

async function withFile(path: string, flags: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}
