/**
 * The cache of downloaded programs: one folder per program and version, with a manifest of what it holds.
 *
 * A folder appears whole or not at all: it is filled under a temporary name, listed in its manifest, and
 * renamed. Two processes that fetch the same program at once both succeed; the second one finds the first
 * one's folder intact and throws its own away. A folder that does not match its manifest is fetched again.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';

const manifestName = 'manifest.json';

interface Manifest {
  readonly program: string;
  readonly files: readonly { path: string; size: number; mtimeMs: number; sha256: string }[];
}

export function cacheFolder(environment: NodeJS.ProcessEnv): string {
  if (environment.KAFKA_CUTOVER_CACHE) return environment.KAFKA_CUTOVER_CACHE;
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'kafka-cutover');
}

export interface CachedProgram {
  /** Folder name in the cache, `kafka-3.9.2`. */
  readonly name: string;
  /** A file that must be there, relative to the folder: without it the download was not what we wanted. */
  readonly mainFile: string;
  /** Fills an empty folder. */
  readonly download: (folder: string) => Promise<void>;
}

/** The folder of a program, downloaded when it is missing or damaged. */
export async function cached(cache: string, program: CachedProgram): Promise<string> {
  const folder = join(cache, program.name);
  if ((await damage(folder, program)) === null) return folder;

  await mkdir(cache, { recursive: true });
  const fresh = join(cache, `.fetching-${program.name}-${process.pid}-${randomUUID()}`);
  const discarded = join(cache, `.discarded-${program.name}-${process.pid}-${randomUUID()}`);
  try {
    await mkdir(fresh);
    await program.download(fresh);
    if (!existsSync(join(fresh, program.mainFile))) throw new Error(`the download holds no ${program.mainFile}`);
    await writeManifest(fresh, program.name);

    // Somebody else may have put an intact folder there meanwhile: then that one stays.
    for (let attempt = 0; (await damage(folder, program)) !== null; attempt++) {
      if (attempt === 10) throw new Error(`${folder} cannot be replaced: delete it by hand`);
      await rename(folder, discarded).catch(ignoreCode('ENOENT'));
      await rename(fresh, folder).catch(ignoreCode('ENOTEMPTY', 'EEXIST', 'ENOENT'));
      await rm(discarded, { recursive: true, force: true });
    }
    return folder;
  } finally {
    await rm(fresh, { recursive: true, force: true });
    await rm(discarded, { recursive: true, force: true });
  }
}

/**
 * What is wrong with a cached folder; null when it is as it was written. Size and modification time are
 * compared on every start; contents are hashed where the time differs (hashing 270 MB each time would
 * cost more than a broker's start).
 */
export async function damage(folder: string, program: Pick<CachedProgram, 'mainFile'>): Promise<string | null> {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(await readFile(join(folder, manifestName), 'utf8')) as Manifest;
    if (!Array.isArray(manifest.files)) return 'its manifest lists no files';
  } catch {
    return 'its manifest cannot be read';
  }
  if (!manifest.files.some((file) => file.path === program.mainFile)) return `${program.mainFile} is not listed`;
  const verdicts = await Promise.all(
    manifest.files.map(async (file) => {
      const path = join(folder, file.path);
      const found = await stat(path).catch(() => null);
      if (!found) return `${file.path} is missing`;
      if (found.size !== file.size) return `${file.path} has ${found.size} bytes instead of ${file.size}`;
      if (found.mtimeMs === file.mtimeMs) return null;
      return (await sha256Of(path)) === file.sha256 ? null : `${file.path} has other contents`;
    }),
  );
  return verdicts.find((verdict) => verdict !== null) ?? null;
}

async function writeManifest(folder: string, program: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = [];
  for (const entry of entries.filter((candidate) => candidate.isFile())) {
    const path = join(entry.parentPath, entry.name);
    const { size, mtimeMs } = await stat(path);
    files.push({ path: relative(folder, path), size, mtimeMs, sha256: await sha256Of(path) });
  }
  const manifest: Manifest = { program, files };
  await writeFile(join(folder, manifestName), `${JSON.stringify(manifest, null, 1)}\n`);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

function ignoreCode(...codes: string[]): (error: NodeJS.ErrnoException) => void {
  return (error) => {
    if (!codes.includes(error.code ?? '')) throw error;
  };
}
