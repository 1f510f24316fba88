import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePorts } from '../../stack/ports.ts';
import {
  endProcess,
  excerpt,
  identitiesIn,
  isAlive,
  launch,
  logExcerpt,
  readIdentity,
  signalProcess,
  startIdentity,
  waitForExit,
} from '../../stack/processes.ts';

describe('the stack’s processes', () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kafka-cutover-processes-'));
  });
  after(() => rm(folder, { recursive: true }));

  const start = (name: string, script: string) =>
    launch(join(folder, 'pids', `${name}.json`), {
      command: process.execPath,
      args: ['-e', script],
      cwd: folder,
      logFile: join(folder, `${name}.log`),
    });

  test('are found again by another process through their pid file', async () => {
    const identity = start('found', 'setTimeout(() => {}, 60_000)');
    assert.deepEqual(readIdentity(join(folder, 'pids', 'found.json')), identity);
    assert.deepEqual(identitiesIn(join(folder, 'pids')).get('found'), identity);
    assert.ok(isAlive(identity));
    await endProcess(identity, 5000);
    assert.ok(!isAlive(identity));
  });

  test('are killed when they do not end by themselves', async () => {
    const identity = start(
      'deaf',
      `process.on('SIGTERM', () => {}); console.log('deaf'); setTimeout(() => {}, 60_000)`,
    );
    while (!logExcerpt(join(folder, 'deaf.log')).includes('deaf'))
      await new Promise((resolve) => setTimeout(resolve, 20));
    await endProcess(identity, 200);
    assert.ok(!isAlive(identity));
  });

  test('end although they were stopped by SIGSTOP', async () => {
    const identity = start('stopped', 'setTimeout(() => {}, 60_000)');
    assert.ok(signalProcess(identity, 'SIGSTOP'));
    await endProcess(identity, 5000);
    assert.ok(!isAlive(identity));
  });

  test('are never confused with a stranger that has the same pid', async () => {
    const stranger = start('stranger', 'setTimeout(() => {}, 60_000)');
    const stale = { pid: stranger.pid, started: 'an earlier boot/1' };
    assert.ok(!isAlive(stale));
    await endProcess(stale, 1000);
    assert.ok(isAlive(stranger));
    await endProcess(stranger, 5000);
  });

  test('say when a program cannot be started, and what a dead one logged last', async () => {
    const launchNothing = () =>
      launch(join(folder, 'nothing.json'), {
        command: join(folder, 'no-such-program'),
        args: [],
        cwd: folder,
        logFile: join(folder, 'nothing.log'),
      });
    assert.throws(launchNothing, /could not be started/);
    const identity = start('dying', `console.log('one'); console.error('two'); process.exit(1)`);
    assert.ok(await waitForExit(identity, 10_000));
    assert.equal(logExcerpt(join(folder, 'dying.log')), '  one\n  two');
  });

  test('are quoted by their errors first, without stack traces', () => {
    const shutdown = Array.from({ length: 50 }, (_, index) => `INFO shut down ${index}`);
    const log = ['INFO up', 'ERROR it broke', 'java.net.BindException: in use', '\tat a.b.C(D.java:1)', ...shutdown];
    const lines = excerpt(log.join('\n')).split('\n');
    assert.deepEqual(lines.slice(0, 2), ['  ERROR it broke', '  java.net.BindException: in use']);
    assert.equal(lines.at(-1), '  INFO shut down 49');
    assert.equal(lines.length, 7);
  });

  test('have an identity only while they live', () => {
    assert.ok(startIdentity(process.pid));
    assert.equal(startIdentity(2 ** 22 + 1), null);
  });

  test('get ports below the ephemeral range, never the same twice', async () => {
    const ports = (await Promise.all(Array.from({ length: 10 }, () => freePorts(6)))).flat();
    assert.equal(new Set(ports).size, 60);
    assert.ok(ports.every((port) => port >= 21_000 && port < 30_000));
  });
});
