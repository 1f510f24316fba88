/**
 * Migrations that are struck at a named point of every step, there and back; `npm run test:crash` strikes at every point in every way. The
 * worker is killed, frozen for longer than the fence may last, or cut off from both clusters, while applications try to write to both
 * clusters all the time.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type Path, runCell } from '../crash/cell.ts';
import { Lane } from '../crash/lane.ts';
import type { Fault, FaultKind } from '../crash/points.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

const maxHoldMs = 12_000;
/** Longer than a worker may be silent within the fence. */
const cutMs = 6_000;
/** Applications share their clusters with the tests that run meanwhile. */
const everyMs = 25;

const { stack } = await sharedStack();
const lane = await Lane.open(stack, { name: uniqueName('points') });
after(() => lane[Symbol.asyncDispose]());

async function struck(path: Path, points: Readonly<Record<string, FaultKind>>): Promise<void> {
  const faults = Object.entries(points).map(([point, kind]): Fault => {
    return { point, occurrence: 1, kind, lastsMs: kind === 'freeze' ? maxHoldMs + 1_000 : cutMs };
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
      'drainToBoundary forward boundary@next sent': 'cut',
      'moveGroups forward offset-commit@next answered': 'freeze',
      'openWrites forward delete-acls@next sent': 'kill',
      'openGroups forward delete-acls@next answered': 'kill',
      'verify forward before-complete': 'kill',
      'finalizeWave forward delete-acls@legacy sent': 'cut',
    }));

  it('at each step on the way back does the same', () =>
    struck('reverse', {
      'closeWrites reverse create-acls@next sent': 'cut',
      'drainToBoundary reverse boundary before-journal': 'kill',
      'moveGroups reverse offset-commit@legacy sent': 'kill',
      'openWrites reverse delete-acls@legacy answered': 'kill',
      'openGroups reverse delete-acls@legacy sent': 'cut',
      'verify reverse before-complete': 'kill',
      'settleRollback forward delete-acls@next answered': 'kill',
    }));

  it('while it gives up within the fence does so all the same', () =>
    struck('abort', {
      'unfence forward delete-acls@legacy sent': 'kill',
      'undoAll forward delete-acls@next answered': 'kill',
    }));
});
