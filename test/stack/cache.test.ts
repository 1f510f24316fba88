import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cached, cacheFolder, damage } from '../../stack/cache.ts';

describe('the cache of downloaded programs', () => {
  let cache: string;
  let downloads = 0;
  const program = {
    name: 'kafka-1.2.3',
    mainFile: 'kafka.jar',
    download: async (folder: string) => {
      downloads++;
      await writeFile(join(folder, 'kafka.jar'), 'main');
      await sleep(20); // so that two at once overlap
      await writeFile(join(folder, 'other.jar'), 'other');
    },
  };

  before(async () => {
    cache = await mkdtemp(join(tmpdir(), 'kafka-cutover-cache-'));
  });
  after(() => rm(cache, { recursive: true }));

  test('downloads once and uses it again', async () => {
    downloads = 0;
    const first = await cached(cache, program);
    const second = await cached(cache, program);
    assert.equal(first, second);
    assert.equal(downloads, 1);
    assert.deepEqual(await readdir(cache), ['kafka-1.2.3']);
  });

  const damages: [string, (folder: string) => Promise<void>, RegExp][] = [
    ['a missing file', (folder) => rm(join(folder, 'other.jar')), /other\.jar is missing/],
    ['a truncated file', (folder) => writeFile(join(folder, 'other.jar'), 'oth'), /3 bytes instead of 5/],
    ['changed contents of the same size', (folder) => writeFile(join(folder, 'other.jar'), 'OTHER'), /other contents/],
    ['a torn manifest', (folder) => writeFile(join(folder, 'manifest.json'), '{"files":['), /manifest/],
    ['a missing manifest', (folder) => rm(join(folder, 'manifest.json')), /manifest/],
  ];
  for (const [name, harm, verdict] of damages) {
    test(`detects ${name} and downloads again`, async () => {
      const folder = await cached(cache, program);
      await harm(folder);
      assert.match((await damage(folder, program)) ?? '', verdict);
      downloads = 0;

      await cached(cache, program);

      assert.equal(downloads, 1);
      assert.equal(await damage(folder, program), null);
      assert.equal(await readFile(join(folder, 'other.jar'), 'utf8'), 'other');
    });
  }

  test('does not mind a copied cache, whose files have new times', async () => {
    const folder = await cached(cache, program);
    await utimes(join(folder, 'kafka.jar'), 1, 1);
    assert.equal(await damage(folder, program), null);
  });

  test('lets several processes fetch the same program at once', async () => {
    await rm(join(cache, program.name), { recursive: true, force: true });
    const folders = await Promise.all(Array.from({ length: 8 }, () => cached(cache, program)));
    assert.equal(new Set(folders).size, 1);
    assert.equal(await damage(folders[0] ?? '', program), null);
    assert.deepEqual(await readdir(cache), ['kafka-1.2.3']); // no temporary folder stays
  });

  test('refuses a download without its main file and leaves nothing behind', async () => {
    const empty = { ...program, name: 'kafka-4.5.6', download: async () => undefined };
    await assert.rejects(cached(cache, empty), /holds no kafka\.jar/);
    assert.deepEqual(await readdir(cache), ['kafka-1.2.3']);
  });

  test('is where the environment says', () => {
    assert.equal(cacheFolder({ KAFKA_CUTOVER_CACHE: '/a', XDG_CACHE_HOME: '/b' }), '/a');
    assert.equal(cacheFolder({ XDG_CACHE_HOME: '/b' }), '/b/kafka-cutover');
    assert.match(cacheFolder({}), /\/\.cache\/kafka-cutover$/);
  });
});
