/**
 * Free ports on 127.0.0.1 for servers that bind them seconds later and again after a restart.
 *
 * They come from below the ephemeral range (Linux 32768-60999, macOS and Windows from 49152). Port 0
 * would hand out ephemeral ones, and those bite: while a broker is down, a client that keeps retrying
 * 127.0.0.1:<port> may be given that very port as its own end, connects to itself, and the broker can
 * never bind it again.
 */
import { mkdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { CutoverError } from '../contract/errors.ts';

const firstPort = 21_000;
const lastPort = 29_999;
const attemptsMax = 500;
/** A reservation covers the time until the server has bound the port. */
const reservationMs = 60_000;

/** `count` distinct ports that nobody listens on, and that no other stack was given in the last minute. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let attempt = 0; ports.length < count; attempt++) {
    if (attempt === attemptsMax) {
      throw new CutoverError('STACK_UNAVAILABLE', {
        what: 'no free ports',
        where: `127.0.0.1:${firstPort}-${lastPort}`,
        found: `${ports.length} after ${attemptsMax} attempts`,
        wanted: `${count}`,
        next: 'Stop what listens there (`kafka-cutover stack down` for stacks of ours).',
      });
    }
    const port = firstPort + Math.floor(Math.random() * (lastPort - firstPort + 1));
    if (reserve(port) && (await canListen(port))) ports.push(port);
  }
  return ports;
}

/** Two stacks that start at once must not choose the same port: the marker file is created by one only. */
function reserve(port: number): boolean {
  const folder = join(tmpdir(), `kafka-cutover-ports-${userInfo().uid}`);
  mkdirSync(folder, { recursive: true });
  const marker = join(folder, String(port));
  try {
    writeFileSync(marker, '', { flag: 'wx' });
    return true;
  } catch {
    const now = Date.now();
    try {
      if (now - statSync(marker).mtimeMs < reservationMs) return false;
      utimesSync(marker, now / 1000, now / 1000);
      return true;
    } catch {
      return false;
    }
  }
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
