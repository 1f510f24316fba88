/** What `plan` shows of a large estate. */
import assert from 'node:assert/strict';
import { it, mock } from 'node:test';
import { findingLines, withSteps } from '../../client/commands/plan.ts';
import { noPaint } from '../../client/terminal.ts';
import { finding } from '../../contract/errors.ts';

it('findings of one code stand together with a few places and one remedy; waived ones apart', () => {
  const taken = Array.from({ length: 1_000 }, (_, i) =>
    finding('TARGET_TOPIC_HAS_RECORDS', `target, topic t${i}`, 'holds 3 records'),
  );
  const waived = { ...finding('ACL_OPEN_ENDED', 'source', 'everybody'), waived: { by: 'sam', reason: 'a test' } };
  const lines = findingLines(
    [finding('NO_TOPICS', 'source', 'none'), finding('COPY_ESTIMATE', 'source', '5 MB'), ...taken, waived],
    noPaint,
  );
  assert.deepEqual(lines, [
    'blocker  NO_TOPICS                 source        none',
    '    next: Correct topics.include and topics.exclude.',
    'blocker  TARGET_TOPIC_HAS_RECORDS  1,000 places',
    '    target, topic t0: holds 3 records',
    '    target, topic t1: holds 3 records',
    '    target, topic t2: holds 3 records',
    '    and 997 more with --json',
    '    next: Move or delete that topic on the target, or leave it out of the plan.',
    'waived   ACL_OPEN_ENDED            source        everybody',
    '    waived by sam: a test',
    'info     COPY_ESTIMATE             source        5 MB',
  ]);
});

it('says what it is at once that takes longer than two seconds, and then no more', async () => {
  mock.timers.enable({ apis: ['setInterval'] });
  const said: string[] = [];
  const { promise, resolve } = Promise.withResolvers<number>();
  const result = withSteps(
    (line) => said.push(line.replace(/\(.*\)/, '(...)')),
    (onStep) => {
      onStep('listing topics');
      return promise;
    },
  );
  mock.timers.tick(1_999);
  assert.deepEqual(said, []);
  mock.timers.tick(1);
  resolve(7);
  assert.equal(await result, 7);
  mock.timers.tick(10_000);
  assert.deepEqual(said, ['listing topics (...)']);
});
