/** What `plan` shows of a large estate. */
import assert from 'node:assert/strict';
import { it, mock } from 'node:test';
import { findingLines, outlineLines, withSteps } from '../../client/commands/plan.ts';
import { noPaint } from '../../client/terminal.ts';
import { finding } from '../../contract/errors.ts';
import type { Outline } from '../../migration/outline.ts';

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

it('shows the target beside the source: what will be created, changed, left as it is, and not carried', () => {
  const topic = (
    name: string,
    what: 'create' | 'use',
    settings: Outline['topics'][number]['settings'],
    leftOut: string[] = [],
  ) => ({
    topic: name,
    what,
    partitions: 3,
    replicationFactor: { source: 3, target: what === 'use' ? 2 : 3 },
    settings,
    leftOut,
  });
  const outline: Outline = {
    topics: [
      topic(
        'new',
        'create',
        [
          { name: 'cleanup.policy', source: 'compact', now: null, final: 'compact' },
          { name: 'remote.storage.enable', source: 'true', now: null, final: null },
        ],
        ['remote.storage.enable'],
      ),
      topic('other', 'use', [{ name: 'retention.ms', source: '1', now: '2', final: '1' }]),
      topic('same', 'use', []),
    ],
    rules: { wanted: 5, there: 2 },
    quotas: { wanted: 0, there: 0 },
  };
  assert.deepEqual(outlineLines(outline, { source: 'legacy', target: 'next' }, noPaint), [
    '                           legacy                    next',
    '+ new                      3 partitions, 3 replicas  created: 3 partitions, 3 replicas',
    '    cleanup.policy         compact                   compact',
    '    remote.storage.enable  true                      inherited (not carried)',
    '~ other                    3 partitions, 3 replicas  3 partitions, 2 replicas',
    '    retention.ms           1                         2 -> 1',
    '= same                     3 partitions, 3 replicas  3 partitions, 2 replicas',
    '+ 3 access rules to add on next, 2 there already',
    '= no quota to add on next',
  ]);
  const many = { ...outline, topics: Array.from({ length: 100 }, (_, i) => topic(`t${i}`, 'create', [])) };
  assert.ok(outlineLines(many, { source: 'a', target: 'b' }, noPaint).includes('  80 more topics with --json'));
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
