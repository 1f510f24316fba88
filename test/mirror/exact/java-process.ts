/** A Java program from `stack/judge/` that lives on and answers commands, one JSON line each: a JVM costs seconds, a command milliseconds. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LocalCluster } from '../../../stack/cluster.ts';

/** A command that takes longer has hung: the JVM is ended. */
const commandTimeoutMs = 180_000;
const stderrKept = 4_000;

interface Waiting {
  readonly onLine: ((line: string) => void) | undefined;
  readonly resolve: (answer: Record<string, unknown>) => void;
  readonly reject: (error: Error) => void;
}

export class JavaProcess {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #program: string;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #stderr = '';
  #ended = false;

  /** `clusters`: whose client.properties (as the super user) the program is given, in that order. Runs with the first one's jars. */
  constructor(program: 'WriteLog' | 'DigestLog', clusters: readonly [LocalCluster, ...LocalCluster[]]) {
    this.#program = program;
    this.#folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-java-'));
    const files = clusters.map((cluster) => {
      const file = join(this.#folder, `${cluster.name}.properties`);
      const contents = `bootstrap.servers=${cluster.bootstrap}\n${cluster.clientProperties('cutover')}`;
      writeFileSync(file, contents, { mode: 0o600 });
      return file;
    });
    const source = fileURLToPath(new URL(`../../../stack/judge/${program}.java`, import.meta.url));
    const settings = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const { java, classpath } = clusters[0];
    this.#child = spawn(java, [...settings, '-cp', classpath, source, ...files], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdin?.on('error', () => undefined); // its end is told below
    this.#child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stderr = (this.#stderr + chunk).slice(-stderrKept);
    });
    this.#child.on('error', (error) => this.#fail(error));
    this.#child.on('close', (code) => this.#fail(new Error(`ended with ${code}`)));
    const output = this.#child.stdout;
    if (output) createInterface({ input: output }).on('line', (line) => this.#onLine(line));
  }

  /** Answers come in the order of the commands. `onLine` gets the lines before the answer. Rejects with the program's own error. */
  ask(command: object, onLine?: (line: string) => void): Promise<Record<string, unknown>> {
    if (this.#ended) return Promise.reject(new Error(`${this.#program} has ended: ${this.#stderr}`));
    const id = this.#nextId++;
    const answered = new Promise<Record<string, unknown>>((resolve, reject) => {
      this.#waiting.set(id, { onLine, resolve, reject });
    });
    this.#child.stdin?.write(`${JSON.stringify({ id, ...command })}\n`);
    const timer = setTimeout(() => {
      this.#fail(new Error(`no answer after ${commandTimeoutMs} ms to ${JSON.stringify(command).slice(0, 200)}`));
      this.#child.kill('SIGKILL');
    }, commandTimeoutMs);
    return answered.finally(() => clearTimeout(timer));
  }

  stop(): void {
    this.#ended = true;
    this.#child.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #onLine(line: string): void {
    // Commands run one after the other, so what comes belongs to the oldest.
    const [id, waiting] = this.#waiting.entries().next().value ?? [];
    if (id === undefined || !waiting) return;
    if (!line.startsWith('{')) {
      waiting.onLine?.(line);
      return;
    }
    this.#waiting.delete(id);
    const answer = JSON.parse(line) as Record<string, unknown>;
    if (answer.error === undefined) waiting.resolve(answer);
    else waiting.reject(new Error(`${this.#program}: ${String(answer.error)}`));
  }

  #fail(error: Error): void {
    this.#ended = true;
    for (const { reject } of this.#waiting.values()) {
      reject(new Error(`${this.#program}: ${error.message}\n${this.#stderr}`));
    }
    this.#waiting.clear();
  }
}
