/**
 * The note that a fence is held by others than the brokers: by a system that is called, or by people. Rules stand on a cluster for everybody to
 * see; of these fences nothing shows, so what is known of one is stored before anybody is told to stop.
 */
import { CutoverError } from '../../contract/errors.ts';
import type { Side } from '../change.ts';
import { getJson, putJson, type Storage } from '../storage.ts';

export interface HeldFence {
  /** Milliseconds since 1970; what the fence is known by. */
  readonly deadlineMs: number;
  /** When it was first noted, ISO 8601. */
  readonly at: string;
  /** Nothing is opened under it any more, or what it kept closed was opened. */
  readonly lifted: boolean;
}

interface Place {
  readonly migration: string;
  readonly wave: string;
  readonly storage: Storage;
}

/** Said twice, it is one fence. @throws CutoverError FENCE_EXPIRED where this very fence was lifted meanwhile */
export async function noteHeld(place: Place, side: Side, deadlineMs: number): Promise<void> {
  const known = await getJson<HeldFence>(place.storage, nameOf(place, side));
  if (known?.deadlineMs === deadlineMs) {
    if (!known.lifted) return;
    throw new CutoverError('FENCE_EXPIRED', {
      what: 'this fence was lifted, so nobody is stopped for it any more',
      where: `migration ${place.migration}, wave ${place.wave}, ${side}`,
    });
  }
  const at = new Date().toISOString();
  await putJson(place.storage, nameOf(place, side), { deadlineMs, at, lifted: false } satisfies HeldFence);
}

/** The one that stands, or null. */
export async function heldFence(place: Place, side: Side): Promise<HeldFence | null> {
  const known = await getJson<HeldFence>(place.storage, nameOf(place, side));
  return known?.lifted === false ? known : null;
}

export async function liftHeld(place: Place, side: Side): Promise<void> {
  const held = await heldFence(place, side);
  if (!held) return;
  await putJson(place.storage, nameOf(place, side), { ...held, lifted: true } satisfies HeldFence, { on: 'any' });
}

const nameOf = ({ migration, wave }: Place, side: Side): string => `${migration}/fence/${wave}/${side}`;
