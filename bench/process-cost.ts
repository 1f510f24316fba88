/** What a process has cost so far, from Linux's /proc: the same clock for Node and for a JVM. */
import { readFileSync } from 'node:fs';

/** USER_HZ: 100 on every Linux that Node and Java run on (`getconf CLK_TCK`). */
const ticksPerSecond = 100;

export interface ProcessCost {
  /** User and system, all threads. */
  readonly cpuSeconds: number;
  /** Resident now. */
  readonly rssMB: number;
  /** Resident at most so far. */
  readonly rssMaxMB: number;
}

/** @throws Error when the process is gone */
export function costOf(pid: number): ProcessCost {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command name (field 2) may hold spaces and brackets: count from the last bracket on.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const megabytes = (name: string) => {
    const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1];
    // A process that has ended and is still listed has no memory left to tell of.
    if (kilobytes === undefined) throw new Error(`process ${pid} has ended`);
    return (Number(kilobytes) * 1_024) / 1e6;
  };
  return { cpuSeconds, rssMB: megabytes('VmRSS'), rssMaxMB: megabytes('VmHWM') };
}
