/**
 * Logs of all shapes in random mixtures, written by Apache's own producers, carried by a mirror that is stopped and killed on the way,
 * and judged by Apache's own consumer and slot by slot. KAFKA_CUTOVER_TEST_SEED repeats a run, KAFKA_CUTOVER_TEST_CASES says how many logs.
 */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import * as fc from 'fast-check';
import { seedOf } from '../../e2e/support/random.ts';
import { ownStack } from '../../support/stack.ts';
import { createTopics, keepsAborted, openClusters } from './clusters.ts';
import { interruptions, mirrorInterrupted } from './interruptions.ts';
import { Judge } from './judge.ts';
import { LogWriter, quickCleaner } from './log-writer.ts';
import { randomLog } from './random-log.ts';

const cases = Number(process.env.KAFKA_CUTOVER_TEST_CASES ?? 10);
const seed = seedOf(process.env.KAFKA_CUTOVER_TEST_SEED);

const brokerConfig = { source: quickCleaner, target: keepsAborted };
const { stack } = await ownStack({ parts: ['source', 'target'], brokerConfig });
const clusters = await openClusters(stack);
const writer = new LogWriter(clusters);
const judge = new Judge(clusters);
after(async () => {
  writer.stop();
  judge.stop();
  await clusters[Symbol.asyncDispose]();
});

it('carries random logs exactly, however often it is interrupted', async (t) => {
  t.diagnostic(`seed ${seed}, ${cases} logs`);
  const total = { records: 0, aborted: 0, markers: 0, holes: 0 };
  const property = fc.asyncProperty(
    randomLog(),
    fc.boolean(),
    interruptions({ max: 3, killsMax: 1 }),
    async (log, keepAborted, planned) => {
      const { partitions, producers } = log;
      const mirrored = await createTopics(clusters, { partitions, keepAborted });
      const rules = { aborted: keepAborted ? ('keep' as const) : ('drop' as const) };
      const written = writer.log(mirrored.topic, partitions, producers);

      await written.write(log.steps);
      await mirrorInterrupted(clusters, mirrored, planned);
      const first = await judge.judge({ topic: mirrored.topic, partitions }, rules);
      assert.deepEqual(first.differences, []);

      const writing = written.write(log.tail).then(() => written.endAll());
      await Promise.all([writing, mirrorInterrupted(clusters, mirrored, planned)]);
      await mirrorInterrupted(clusters, mirrored, []);
      const { differences, slots, heldBack } = await judge.judge({ topic: mirrored.topic, partitions }, rules);
      assert.deepEqual(differences, []);
      assert.equal(heldBack, 0, 'nothing is left open on the target once the source is decided');
      for (const kind of ['records', 'aborted', 'markers', 'holes'] as const) total[kind] += slots[kind];
    },
  );
  // A smaller case takes as long as a large one to find: the seed repeats this one.
  await fc.assert(property, { seed, numRuns: cases, endOnFailure: true });
  t.diagnostic(`slots: ${JSON.stringify(total)}`);
  assert.ok(total.records > 0 && total.markers > 0, 'there was something to carry');
});
