/** Logs as people on call read them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { toFailure } from '../../activities/failures.ts';
import { CutoverError } from '../../contract/errors.ts';
import { namesIn } from '../../worker/activity-names.ts';
import { openLog, temporalLogger } from '../../worker/logging.ts';

function lines(env: NodeJS.ProcessEnv = {}) {
  const written: Record<string, unknown>[] = [];
  const log = openLog(env, { write: (line: string) => written.push(JSON.parse(line) as Record<string, unknown>) });
  return { log, written };
}

describe('a log', () => {
  it('says the time and the level in words, from the level on that was asked for', () => {
    const { log, written } = lines({ KAFKA_CUTOVER_LOG_LEVEL: 'warn' });
    log.info('not this');
    log.warn({ migration: 'orders' }, 'this');
    assert.equal(written.length, 1);
    assert.partialDeepStrictEqual(written[0], { level: 'warn', migration: 'orders', msg: 'this' });
    assert.ok(Date.parse(String(written[0]?.time)) > 0);
    assert.throws(() => openLog({ KAFKA_CUTOVER_LOG_LEVEL: 'loud' }), { code: 'USAGE', message: /loud.*trace, debug/ });
  });

  it('leaves out what a field that should hold no secret says of one', () => {
    const { log, written } = lines();
    const password = 'planted';
    log.info(
      { password, sasl: { password }, config: { sasl: { password }, headers: { authorization: password } } },
      'x',
    );
    assert.doesNotMatch(JSON.stringify(written), /planted/);
    assert.match(JSON.stringify(written), /"config":\{"sasl":\{"password":"\*\*\*"\}/);
  });

  it('says a failure with a code in a line, and any other with where it came from', () => {
    const { log, written } = lines();
    const { warn } = temporalLogger(log);
    const coded = new CutoverError('CLUSTER_UNREACHABLE', { what: 'no answer', where: 'cluster next' });
    warn('Activity failed', { error: toFailure(coded), durationMs: 5n });
    warn('Activity failed', { error: new TypeError('a defect'), taskToken: 'of hundreds of characters' });
    warn('Workflow failed', { error: new Error(coded.message) });
    warn('No workflows registered, not polling for workflow tasks');
    assert.partialDeepStrictEqual(written[0], { code: 'CLUSTER_UNREACHABLE', text: coded.message, durationMs: '5' });
    assert.doesNotMatch(JSON.stringify(written[0]), /stack| at /);
    assert.match(JSON.stringify(written[1]), /"err":.*a defect.*logging\.test\.ts/);
    assert.doesNotMatch(JSON.stringify(written), /hundreds/);
    assert.deepEqual([written[2]?.code, written[2]?.err], ['CLUSTER_UNREACHABLE', undefined]);
    assert.equal(written.length, 3, 'what is said at each start is no warning');
  });

  it('names what an activity is about, and nothing of its plan but the name', () => {
    const scope = { plan: { name: 'orders', source: 'legacy' }, wave: 'all', inventory: 'i', direction: 'forward' };
    assert.deepEqual(namesIn({ ...scope, shard: 1 }), {
      migration: 'orders',
      wave: 'all',
      direction: 'forward',
      shard: 1,
    });
    assert.deepEqual(namesIn('a text'), {});
  });
});
