/**
 * Processes that outlive their starter: launched detached, found again by pid and start time,
 * ended by pid. Nothing is ever killed by name.
 *
 * A pid alone is not proof: after a reboot or a wrap-around it belongs to a stranger. The start time
 * is what makes it ours, so both are written down and both must match before a signal is sent.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessIdentity {
  readonly pid: number;
  /** Boot id and start tick (Linux) or start date (elsewhere): equal only for the same process. */
  readonly started: string;
}

/** How often the end of a process that may not be our child is looked for. */
const exitPollMs = 20;
/** How long a process may take to go after SIGKILL (uninterruptible disk waits) before we say so. */
const killWaitMs = 10_000;

/** The start identity of a live process; null when there is none, or only a zombie. */
export function startIdentity(pid: number): string | null {
  if (process.platform === 'linux') {
    try {
      // The command name (field 2) may hold spaces and brackets: count from the last bracket on.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields[0] === 'Z' || fields[0] === 'X') return null;
      return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${fields[19]}`;
    } catch {
      return null;
    }
  }
  try {
    const line = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return line === '' || line.startsWith('Z') ? null : line.replace(/^\S+\s+/, '');
  } catch {
    return null;
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return startIdentity(identity.pid) === identity.started;
}

export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Record<string, string | undefined>;
  readonly logFile: string;
}

/**
 * Starts a process that lives on when its starter exits, with its output appended to a log file, and
 * writes its identity to `pidFile` before anything else can happen.
 */
export function launch(pidFile: string, { command, args, cwd, env, logFile }: Launch): ProcessIdentity {
  const log = openSync(logFile, 'a', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(command, args, { cwd, env: env ?? process.env, detached: true, stdio: ['ignore', log, log] });
  } finally {
    closeSync(log);
  }
  child.on('error', () => undefined); // the missing pid below tells the story
  child.unref();
  const started = child.pid === undefined ? null : startIdentity(child.pid);
  if (child.pid === undefined || started === null) throw new Error(`${command} could not be started`);
  const identity: ProcessIdentity = { pid: child.pid, started };
  writeFileAtomically(pidFile, JSON.stringify(identity));
  return identity;
}

export function readIdentity(pidFile: string): ProcessIdentity | null {
  try {
    const { pid, started } = JSON.parse(readFileSync(pidFile, 'utf8')) as Partial<ProcessIdentity>;
    return typeof pid === 'number' && typeof started === 'string' ? { pid, started } : null;
  } catch {
    return null;
  }
}

/** The pid files in a folder, by process name. */
export function identitiesIn(folder: string): Map<string, ProcessIdentity> {
  const found = new Map<string, ProcessIdentity>();
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    return found;
  }
  for (const name of names) {
    const identity = name.endsWith('.json') ? readIdentity(join(folder, name)) : null;
    if (identity) found.set(name.slice(0, -'.json'.length), identity);
  }
  return found;
}

/** Sends a signal to exactly this process; false when it is gone already. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** True once the process is gone; false when `timeoutMs` passed first. */
export async function waitForExit(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (isAlive(identity)) {
    if (performance.now() > deadline) return false;
    await sleep(exitPollMs);
  }
  return true;
}

/** SIGTERM, and SIGKILL when `graceMs` was not enough. Returns when the process is gone. */
export async function endProcess(identity: ProcessIdentity, graceMs: number): Promise<void> {
  if (graceMs > 0 && signalProcess(identity, 'SIGTERM')) {
    signalProcess(identity, 'SIGCONT'); // one stopped by SIGSTOP would never see the SIGTERM
    if (await waitForExit(identity, graceMs)) return;
  }
  signalProcess(identity, 'SIGKILL');
  if (!(await waitForExit(identity, killWaitMs))) {
    throw new Error(`process ${identity.pid} is still there ${killWaitMs} ms after SIGKILL`);
  }
}

const excerptErrors = 5;
const excerptLines = 5;
const excerptLineLength = 300;

/**
 * What a program's output says about its end, for an error message: its last errors, and its last lines.
 * The last lines alone would not do: a broker that fails shuts a hundred things down, and logs each.
 */
export function excerpt(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !/^\s+at |^\s+\.\.\. \d+ more/.test(line));
  const wrong = /\b(ERROR|FATAL)\b|^Error|^Caused by|^(Exception in .*)?[\w.$]+(Exception|Error)\b/;
  const errors = lines.filter((line) => wrong.test(line)).slice(-excerptErrors);
  const shown = new Set([...errors, ...lines.slice(-excerptLines)]);
  return [...shown].map((line) => `  ${line.slice(0, excerptLineLength)}`).join('\n') || '  (nothing)';
}

export function logExcerpt(logFile: string): string {
  try {
    return excerpt(readFileSync(logFile, 'utf8'));
  } catch {
    return '  (no log)';
  }
}

/** Readers see the earlier contents or the new ones, never half of them. */
export function writeFileAtomically(path: string, contents: string): void {
  const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  mkdirSync(join(path, '..'), { recursive: true });
  try {
    writeFileSync(temporary, contents, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
