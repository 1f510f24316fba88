/** Somebody else writes to the target while it is mirrored into, or while the mirror is away: the mirror must stop, and say so. */
import { setTimeout as sleep } from 'node:timers/promises';
import { append, variedRecords } from '../support.ts';
import { hasCaughtUp } from './catch-up.ts';
import type { ChaosResult, ChaosScene } from './chaos.ts';
import { createTopics } from './clusters.ts';
import { jobOn, MirrorChild } from './mirror-child.ts';
import { liveProducers, liveSteps } from './random-log.ts';

const rounds = 4;
const stepsBefore = 30;
const stepsAfter = 60;
const waitMaxMs = 180_000;
const pollMs = 50;

export async function foreignWriter(scene: ChaosScene): Promise<ChaosResult> {
  const differences: string[] = [];
  let kills = 0;
  for (let round = 0; round < rounds; round++) {
    // By turns: a mirror that is at work, and one that comes back; a log of all kinds, and a plain one.
    const away = round % 2 === 1;
    const ended = await oneRound(scene, { away, transactions: round < 2 });
    if (away) kills++;
    if (ended !== 'TARGET_DIVERGED')
      differences.push(`round ${round}: the mirror ended with ${ended}, not TARGET_DIVERGED`);
  }
  const slots = { records: 0, aborted: 0, markers: 0, holes: 0 };
  const none = { freezes: 0, leaderMoves: 0, brokerKills: 0, brokerFreezes: 0, refusedSteps: 0 };
  return { ...none, kills, mirrors: rounds + kills, slots, differences };
}

async function oneRound(
  { clusters, writer, random }: ChaosScene,
  { away, transactions }: { readonly away: boolean; readonly transactions: boolean },
): Promise<string> {
  const mirrored = await createTopics(clusters, { partitions: 1, keepAborted: true });
  const { topic } = mirrored;
  const log = writer.log(topic, 1, liveProducers);
  const write = async (count: number) => {
    const seed = Math.floor(random() * 2 ** 31);
    await log.write(liveSteps({ seed, partitions: 1, count, transactions, old: false }));
    await log.endAll();
  };
  const start = () => {
    return new MirrorChild(jobOn(mirrored), clusters.stack.env);
  };
  let mirror = start();
  const within = async (what: string, done: () => Promise<boolean> | boolean) => {
    const deadline = performance.now() + waitMaxMs;
    while (!(await done())) {
      if (performance.now() > deadline) throw new Error(`not within ${waitMaxMs} ms: ${what}`);
      await sleep(pollMs);
    }
  };
  try {
    await write(stepsBefore);
    await within('the mirror catches up', () => hasCaughtUp(clusters, mirrored));
    if (away) await mirror.kill();
    await append(clusters.target, topic, 0, { records: variedRecords(1 + Math.floor(random() * 3)) });
    await write(stepsAfter);
    if (away) mirror = start();
    await within('the mirror ends', () => !mirror.running).catch(() => undefined);
    await sleep(pollMs); // for its last line
    return mirror.failed ?? 'nothing';
  } finally {
    await mirror.kill();
  }
}
