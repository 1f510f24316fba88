/**
 * Apache's own Java tools against a local cluster: the second reader that judges what we wrote. For tests
 * and benchmarks; needs a JDK.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cacheFolder } from './cache.ts';
import type { LocalCluster } from './cluster.ts';

const defaultTimeoutMs = 60_000;
const compileTimeoutMs = 120_000;
/** Records one `readWithJava` returns at most, unless told otherwise: they are all held in memory. */
const recordsMax = 5_000_000;

export interface JavaToolOptions {
  /** Written to the tool's standard input, which is then closed. */
  readonly stdin?: string | Buffer;
  /** The tool is killed after this; 60,000 by default. */
  readonly timeoutMs?: number;
}

export interface JavaToolResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Null when it was killed at the time limit. */
  readonly code: number | null;
}

/**
 * Runs a class of Apache Kafka's, `org.apache.kafka.tools.TopicCommand` for example, with the cluster's own
 * version. Logging in takes a client.properties: `withClientProperties` writes one.
 */
export async function runJavaTool(
  cluster: Pick<LocalCluster, 'java' | 'classpath'>,
  mainClass: string,
  args: readonly string[],
  { stdin, timeoutMs = defaultTimeoutMs }: JavaToolOptions = {},
): Promise<JavaToolResult> {
  const stdout: string[] = [];
  const { stderr, code } = await java(cluster, [mainClass, ...args], timeoutMs, stdin, (line) => stdout.push(line));
  return { stdout: stdout.map((line) => `${line}\n`).join(''), stderr, code };
}

/** Calls `use` with the path of a client.properties for `user`, which is deleted afterwards. */
export async function withClientProperties<Result>(
  cluster: Pick<LocalCluster, 'clientProperties' | 'bootstrap'>,
  user: string,
  use: (path: string) => Promise<Result>,
): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-client-'));
  try {
    const path = join(folder, 'client.properties');
    const contents = `bootstrap.servers=${cluster.bootstrap}\n${cluster.clientProperties(user)}`;
    writeFileSync(path, contents, { mode: 0o600 });
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface JavaRecord {
  readonly partition: number;
  readonly offset: bigint;
  /** Milliseconds since 1970, as stored. */
  readonly timestamp: bigint;
  readonly timestampType: 'CreateTime' | 'LogAppendTime' | 'NoTimestampType';
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [key: string, value: Buffer | null])[];
}

export interface JavaPartition {
  readonly partition: number;
  /** Log start. */
  readonly beginning: bigint;
  /** High watermark, or last stable offset under read_committed, when reading began. */
  readonly end: bigint;
  /** Where the consumer stood at the end: behind `end` only when maxMessages stopped it. */
  readonly position: bigint;
}

export interface ReadOptions {
  /** All by default. */
  readonly partition?: number;
  /** read_committed by default. */
  readonly isolation?: 'read_committed' | 'read_uncommitted';
  /** Of every partition that is read; the log start by default. */
  readonly fromOffset?: bigint;
  readonly maxMessages?: number;
  /** Without progress; 30,000 by default. */
  readonly stalledMs?: number;
  /** All in all; 120,000 by default. */
  readonly timeoutMs?: number;
}

/**
 * What Apache's KafkaConsumer reads from a topic (`judge/DumpLog.java`), by partition and offset in the order
 * of its polls: offsets ascend within a partition. Reads to the ends seen at its beginning. Rejects with the
 * consumer's own message when it is refused, stalls or runs out of time.
 */
export async function readWithJava(
  cluster: LocalCluster,
  user: string,
  topic: string,
  options: ReadOptions = {},
): Promise<{ records: JavaRecord[]; partitions: JavaPartition[] }> {
  const records: JavaRecord[] = [];
  const partitions = await dump(cluster, user, topic, options, (record) => records.push(record));
  return { records, partitions };
}

/** `readWithJava` of many topics by one consumer, whose start is most of the time. @returns by topic; without those that hold nothing */
export async function readAllWithJava(
  cluster: LocalCluster,
  user: string,
  topics: readonly string[],
  options: ReadOptions = {},
): Promise<Map<string, JavaRecord[]>> {
  const found = new Map<string, JavaRecord[]>();
  await dump(cluster, user, topics.join(','), options, (record, topic) => {
    const known = found.get(topic);
    if (known) known.push(record);
    else found.set(topic, [record]);
  });
  return found;
}

/** @param topics with commas between them */
async function dump(
  cluster: LocalCluster,
  user: string,
  topics: string,
  options: ReadOptions,
  onRecord: (record: JavaRecord, topic: string) => void,
): Promise<JavaPartition[]> {
  const { partition, isolation = 'read_committed', fromOffset, maxMessages = 0 } = options;
  const { stalledMs = 30_000, timeoutMs = 120_000 } = options;
  let records = 0;
  let partitions: JavaPartition[] | undefined;
  const judge = await compiledJudge(cluster, fileURLToPath(new URL('./judge/DumpLog.java', import.meta.url)));
  const judging = { java: cluster.java, classpath: [judge, cluster.classpath].join(delimiter) };
  const { stderr, code } = await withClientProperties(cluster, user, (properties) =>
    java(
      judging,
      [
        'DumpLog',
        properties,
        topics,
        String(partition ?? 'all'),
        isolation,
        String(fromOffset ?? 'beginning'),
        String(maxMessages),
        String(stalledMs),
      ],
      timeoutMs,
      undefined,
      (line) => {
        const parsed = JSON.parse(line) as DumpedRecord | DumpedSummary;
        if ('partitions' in parsed) partitions = parsed.partitions.map(toPartition);
        else onRecord(toRecord(parsed), parsed.topic);
        if (++records > recordsMax) throw new Error(`more than ${recordsMax} records in ${topics}`);
      },
    ),
  );
  if (!partitions || code !== 0) {
    throw new Error(`Apache's consumer could not read ${topics} as ${user} (exit ${code}): ${stderr.trim()}`);
  }
  return partitions;
}

interface DumpedRecord {
  topic: string;
  partition: number;
  offset: string;
  timestamp: string;
  timestampType: JavaRecord['timestampType'];
  key: string | null;
  value: string | null;
  headers: [string, string | null][];
}

interface DumpedSummary {
  partitions: { partition: number; beginning: string; end: string; position: string }[];
}

function toRecord(dumped: DumpedRecord): JavaRecord {
  const bytes = (text: string | null) => (text === null ? null : Buffer.from(text, 'base64'));
  return {
    partition: dumped.partition,
    offset: BigInt(dumped.offset),
    timestamp: BigInt(dumped.timestamp),
    timestampType: dumped.timestampType,
    key: bytes(dumped.key),
    value: bytes(dumped.value),
    headers: dumped.headers.map(([key, value]) => [Buffer.from(key, 'base64').toString('utf8'), bytes(value)]),
  };
}

function toPartition({ partition, beginning, end, position }: DumpedSummary['partitions'][number]): JavaPartition {
  return { partition, beginning: BigInt(beginning), end: BigInt(end), position: BigInt(position) };
}

/** By source and jars, what is being compiled or was. */
const compiling = new Map<string, Promise<string>>();

/**
 * The folder of a compiled judge, made once per machine: run from its source, each of hundreds of short runs would compile it again, which
 * took half of their time.
 */
function compiledJudge(cluster: Pick<LocalCluster, 'java' | 'classpath'>, source: string): Promise<string> {
  const digest = createHash('sha256').update(readFileSync(source)).update(cluster.java).update(cluster.classpath);
  const folder = join(cacheFolder(process.env), `judge-${digest.digest('hex').slice(0, 16)}`);
  const known = compiling.get(folder);
  if (known) return known;
  const made = compileJudge(cluster, source, folder);
  compiling.set(folder, made);
  return made;
}

async function compileJudge(
  cluster: Pick<LocalCluster, 'java' | 'classpath'>,
  source: string,
  folder: string,
): Promise<string> {
  if (existsSync(folder)) return folder;
  mkdirSync(dirname(folder), { recursive: true });
  const making = mkdtempSync(`${folder}-`);
  try {
    const jars = cluster.classpath.split(delimiter).flatMap(jarsOf).join(delimiter);
    const compiler = ['-m', 'jdk.compiler/com.sun.tools.javac.Main', '-d', making, '-cp', jars, source];
    await promisify(execFile)(cluster.java, compiler, { timeout: compileTimeoutMs });
    renameSync(making, folder);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // otherwise another process was faster
  }
  return folder;
}

/** `folder/*` is the launcher's own word for all jars in it, which the compiler does not know. */
function jarsOf(entry: string): string[] {
  return entry.endsWith('*') ? globSync(`${entry}.jar`) : [entry];
}

async function java(
  cluster: Pick<LocalCluster, 'java' | 'classpath'>,
  args: readonly string[],
  timeoutMs: number,
  stdin: string | Buffer | undefined,
  onLine: (line: string) => void,
): Promise<{ stderr: string; code: number | null }> {
  const logging = mkdtempSync(join(tmpdir(), `kafka-cutover-java-${randomUUID()}-`));
  // Both log4js complain on stdout without a configuration; warnings belong on stderr.
  writeFileSync(
    join(logging, 'log4j.properties'),
    `log4j.rootLogger=ERROR, err
log4j.appender.err=org.apache.log4j.ConsoleAppender
log4j.appender.err.target=System.err
log4j.appender.err.layout=org.apache.log4j.PatternLayout
log4j.appender.err.layout.ConversionPattern=%p %m%n
`,
  );
  writeFileSync(
    join(logging, 'log4j2.properties'),
    `rootLogger.level=error
rootLogger.appenderRef.err.ref=err
appender.err.type=Console
appender.err.name=err
appender.err.target=SYSTEM_ERR
appender.err.layout.type=PatternLayout
appender.err.layout.pattern=%p %m%n
`,
  );
  try {
    const child = spawn(
      cluster.java,
      [
        '-Xmx256m',
        '-XX:+UseSerialGC',
        '-XX:TieredStopAtLevel=1',
        `-Dlog4j.configuration=file:${logging}/log4j.properties`,
        `-Dlog4j2.configurationFile=${logging}/log4j2.properties`,
        '-cp',
        cluster.classpath,
        ...args,
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const exited = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    exited.catch(() => undefined); // awaited below, after the output
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    child.stdin.on('error', () => undefined); // it may have ended without reading
    child.stdin.end(stdin);
    try {
      for await (const line of createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY })) {
        onLine(line);
      }
      const code = await exited; // before stderr is read: it is complete only then
      return { stderr, code };
    } finally {
      clearTimeout(timer);
      child.kill('SIGKILL'); // a reader that threw; no effect on one that has ended
    }
  } finally {
    rmSync(logging, { recursive: true, force: true });
  }
}
