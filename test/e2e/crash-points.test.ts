/**
 * Migrations that are struck at a named point of every step, there and back; `npm run test:crash` strikes at every point in every way. The
 * worker is killed or cut off from both clusters, while applications try to write to both all the time.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type Path, runCell } from '../crash/cell.ts';
import { Lane } from '../crash/lane.ts';
import type { Fault, FaultKind } from '../crash/points.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

/** Somebody who dies within the fence is missed after 5 s. */
const maxHoldMs = 25_000;
const cutMs = 3_000;
/** Applications share their clusters with the tests that run meanwhile. */
const everyMs = 60;

const { stack } = await sharedStack();
const lane = await Lane.open(stack, { name: uniqueName('points'), workers: 2 });
after(() => lane[Symbol.asyncDispose]());

async function struck(path: Path, points: Readonly<Record<string, FaultKind>>): Promise<void> {
  const faults = Object.entries(points).map(([point, kind]): Fault => {
    return { point, leg: path === 'reverse' ? 'opened' : 'begin', occurrence: 1, kind, lastsMs: cutMs };
  });
  const result = await runCell(lane, { name: uniqueName(path), path, faults, everyMs, maxHoldMs });
  await lane.settle();
  lane.scene.say(
    `${path}: ${result.seconds} s, ${result.accepted} records, ${result.refused} refused, waited ${result.waits}`,
  );
  assert.deepEqual(result.faults, []);
  const missed = faults.filter((_, index) => !result.reached[index]).map(({ point }) => point);
  assert.deepEqual(missed, [], 'every point was reached');
}

describe('a migration that is struck', () => {
  it('at each step on the way there is finished by itself or waits with a code, and loses, repeats and reorders nothing', () =>
    struck('forward', {
      'prepareTarget forward create-acls@next sent': 'kill',
      'closeWrites forward create-acls@legacy after-journal': 'kill',
      'moveGroups forward offset-commit@next answered': 'cut',
      'openWrites forward delete-acls@next sent': 'kill',
      'openWrites forward before-complete': 'kill',
      'finalizeWave forward delete-acls@legacy sent': 'kill',
    }));

  it('at each step on the way back does the same', () =>
    struck('reverse', {
      'closeWrites reverse create-acls@next sent': 'kill',
      'drainToBoundary reverse boundary before-journal': 'cut',
      'moveGroups reverse offset-commit@legacy sent': 'kill',
      'openWrites reverse delete-acls@legacy answered': 'kill',
      'openWrites reverse before-complete': 'kill',
      'settleRollback forward delete-acls@next answered': 'kill',
    }));
});
