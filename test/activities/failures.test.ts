/** How plain functions become activities: codes, retryability, heartbeats, cancellation. No cluster is needed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { asActivities, cancellation, heartbeatDetails, refuseOvertaken } from '../../activities/failures.ts';
import { type Code, CutoverError, codes } from '../../contract/errors.ts';
import { environment } from './environment.ts';

/** Far more than the second between two heartbeats. */
const heartbeatTimeoutMs = 15_000;

async function failureOf(thrown: unknown): Promise<ApplicationFailure> {
  const { fail } = asActivities({
    fail: async () => {
      throw thrown;
    },
  });
  const error = await environment()
    .run(fail)
    .then(
      () => assert.fail('it did not fail'),
      (failed: unknown) => failed,
    );
  assert.ok(error instanceof ApplicationFailure, String(error));
  return error;
}

/** Endless work as the mirrors do it: returns when it is told to stop. */
const untilStopped = async () => {
  const signal = cancellation();
  while (!signal.aborted) await sleep(10_000, undefined, { signal }).catch(() => {});
};

describe('a failure of an activity', () => {
  it('keeps its code as the type, its message and its detail', async () => {
    const detail = { what: 'no broker answers', where: 'cluster next', found: 'ECONNREFUSED' };
    const failure = await failureOf(new CutoverError('CLUSTER_UNREACHABLE', detail));
    assert.equal(failure.type, 'CLUSTER_UNREACHABLE');
    assert.match(failure.message, /^CLUSTER_UNREACHABLE: no broker answers \(cluster next\): found ECONNREFUSED/);
    assert.deepEqual(failure.details, [detail]);
  });

  it('is tried again exactly when the list of codes says so', async () => {
    for (const code of Object.keys(codes) as Code[]) {
      const { nonRetryable } = await failureOf(new CutoverError(code, { what: 'x' }));
      assert.equal(nonRetryable, !codes[code].retryable, code);
    }
  });

  it('without a code is a defect: it stays as it is, and Temporal tries again', async () => {
    const defect = new TypeError('undefined is not a function');
    const { fail } = asActivities({
      fail: async () => {
        throw defect;
      },
    });
    await assert.rejects(environment().run(fail), (error) => error === defect);
  });
});

describe('an attempt', () => {
  /** Keeps the process as still as SIGSTOP would: no timer runs, so no heartbeat leaves. */
  const stopFor = (ms: number) => {
    const until = Date.now() + ms;
    while (Date.now() < until);
  };
  const change = (silentMs: number) =>
    asActivities({
      change: async () => {
        stopFor(silentMs);
        refuseOvertaken();
      },
    }).change;

  it('that slept for as long as its heartbeat timeout may have been replaced, and changes nothing', async () => {
    const failed = environment({ heartbeatTimeoutMs: 1_200 }).run(change(400));
    await assert.rejects(failed, { type: 'ATTEMPT_OVERTAKEN' });
  });

  it('that was silent for less goes on', async () => {
    await environment({ heartbeatTimeoutMs: 5_000 }).run(change(400));
  });

  it('stays overtaken after it has beaten again', async () => {
    const { late } = asActivities({
      late: async () => {
        stopFor(400);
        await sleep(600);
        refuseOvertaken();
      },
    });
    await assert.rejects(environment({ heartbeatTimeoutMs: 1_200 }).run(late), { type: 'ATTEMPT_OVERTAKEN' });
  });
});

describe('a heartbeat', () => {
  it('is there at once, goes on by itself, and carries the latest details', async () => {
    const worker = environment();
    const beats: unknown[] = [];
    const third = new Promise<void>((done) => {
      worker.on('heartbeat', (details: unknown) => {
        beats.push(details);
        if (beats.length === 3) done();
      });
    });
    const { work } = asActivities({
      work: async () => {
        heartbeatDetails({ position: 1 });
        heartbeatDetails({ position: 2 });
        await untilStopped();
      },
    });
    const running = worker.run(work);
    await Promise.race([
      third,
      sleep(heartbeatTimeoutMs, undefined, { ref: false }).then(() => assert.fail(`only ${beats.length} heartbeats`)),
    ]);
    worker.cancel();
    await running;
    assert.deepEqual(beats.slice(0, 3), [undefined, { position: 2 }, { position: 2 }]);
  });

  it('of one activity never carries what another one on the same worker says', async () => {
    const work = asActivities({
      work: async (position: number) => {
        heartbeatDetails(position);
        await untilStopped();
      },
    }).work as (position: number) => Promise<void>;
    const seen = [1, 2].map((position) => {
      const worker = environment();
      const beats = new Set<unknown>();
      const beaten = new Promise<void>((done) => {
        worker.on('heartbeat', (details: unknown) => {
          if (details === undefined) return;
          beats.add(details);
          done();
        });
      });
      return { worker, beats, beaten, running: worker.run(work, position) };
    });
    await Promise.all(seen.map(({ beaten }) => beaten));
    for (const { worker } of seen) worker.cancel();
    await Promise.all(seen.map(({ running }) => running));
    assert.deepEqual(
      seen.map(({ beats }) => [...beats]),
      [[1], [2]],
    );
  });

  it('ends with the activity', async () => {
    const worker = environment();
    let beats = 0;
    worker.on('heartbeat', () => beats++);
    await worker.run(asActivities({ work: async () => 'done' }).work);
    const then = beats;
    await sleep(1_500);
    assert.equal(beats, then);
  });
});

describe('an activity that is cancelled', () => {
  it('ends as cancelled where it is endless, though its work returned', async () => {
    const worker = environment();
    const { work } = asActivities({ work: untilStopped }, { endless: true });
    const running = worker.run(work);
    worker.cancel();
    await assert.rejects(running, CancelledFailure);
  });

  it('ends as cancelled rather than with the error that the cancellation caused', async () => {
    const worker = environment();
    const { work } = asActivities({
      work: async () => {
        await sleep(60_000, undefined, { signal: cancellation() });
      },
    });
    const running = worker.run(work);
    worker.cancel();
    await assert.rejects(running, CancelledFailure);
  });

  it('counts as done where it came through before it noticed', async () => {
    const worker = environment();
    const { work } = asActivities({ work: async () => 'made' });
    worker.cancel();
    assert.equal(await worker.run(work), 'made');
  });
});
