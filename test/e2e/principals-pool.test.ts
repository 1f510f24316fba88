/**
 * A target with one replica a topic, where a mirror owns its markers through a pool of principals, and a migration in three shards: one of them
 * carries all that needs the pool, so nobody denies anybody in turn.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, describe, it } from 'node:test';
import { parse, stringify } from 'yaml';
import type { Finding } from '../../contract/errors.ts';
import { describeAcls } from '../../kafka/acls.ts';
import { writeTxnMarkers } from '../../kafka/markers.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { upsertScramUser } from '../../kafka/scram.ts';
import { raiseTerms } from '../../kafka/terms.ts';
import { ownershipPrefix } from '../../mirror/ownership.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate } from './support/estate.ts';
import { Operator } from './support/operator.ts';

// Its own: the turn of principals is a thing of the whole cluster.
const { stack, clusters } = await ownStack();
const estate = await Estate.of(stack, clusters);
const clustersFile = join(dirname(stack.clustersFile), 'clusters-with-pool.yaml');
const operator = await Operator.at(stack, { clustersFile, env: { POOL_PASSWORD: randomBytes(12).toString('hex') } });
const users = [1, 2, 3].map((number) => `pool-${number}`);
const principals = users.map((user) => `User:${user}`);

const name = uniqueName('pool');
const topics = [`${name}.created`, `${name}.paid`];
const partitions = 4;
const rounds = 12;
/** What the turns begin with, a take-over by each kind of activity and one more. */
const turnsMax = 4;
const free = { approvals: 0 };
const plan = {
  name,
  source: 'legacy',
  target: 'next',
  topics: { include: topics.map((topic) => topic.replaceAll('.', '\\.')) },
  groups: { include: ['no-group'] },
  mirror: { shards: 3 },
  gates: { cutover: free, producers: free, consumers: free, finalize: free },
  verify: { producersWait: '1s' },
  rollback: { window: '0s', reverseMirror: false },
  waivers: [{ code: 'ROLLBACK_IMPOSSIBLE', by: 'ana', reason: 'the pool is what is tested' }],
};
const file = operator.plan(plan);

/** How often the turn has passed on since it was asked last. */
let turn = 0;
async function turnsPassed(): Promise<number> {
  const id = `${ownershipPrefix}principal`;
  const epoch = (await raiseTerms(estate.target, [id])).get(id)?.epoch ?? 0;
  const passed = epoch - turn - 1;
  turn = epoch;
  return passed;
}

before(async () => {
  const { POOL_PASSWORD: password = '' } = operator.env;
  for (const user of users) await upsertScramUser(estate.target, user, password);
  const sasl = (username: string) => ({ mechanism: 'scram-sha-512', username, password: { env: 'POOL_PASSWORD' } });
  const text = parse(readFileSync(stack.clustersFile, 'utf8'));
  text.next.mirrorPrincipals = users.map((user) => ({ sasl: sasl(user) }));
  writeFileSync(clustersFile, stringify(text), { mode: 0o600 });
  const producerId = await allocateProducerId(estate.source);
  const [broker] = estate.source.brokers;
  for (const topic of topics) {
    await estate.createTopic('source', topic, partitions);
    await estate.letIn('source', topic, 'app-writer-1');
    for (let partition = 0; partition < partitions; partition++) {
      const marker = { topic, partition, producerId, producerEpoch: 0, coordinatorEpoch: 0 };
      for (let round = 0; round < rounds; round++) {
        await estate.append('source', topic, batchOf([`${topic}-${partition}-${round}`]), partition);
        const markers = [{ ...marker, commit: round % 2 === 0, count: 1 + (round % 3) }];
        await estate.source.call({ broker: broker?.id ?? -1 }, writeTxnMarkers, markers);
      }
    }
  }
  await turnsPassed();
});

describe('a pool of mirror principals at replication factor 1', () => {
  it('serves a migration in several shards from start to end, in few turns', async () => {
    const { findings } = await operator.answer(['plan', file]);
    const codes = (findings as Finding[]).map(({ code }) => code);
    assert.ok(!codes.includes('MARKER_OWNERSHIP_WEAK'), codes.join());
    await operator.startWorker();
    await operator.answer(['start', file]);
    await operator.state(name, 'completed');

    const turns = await turnsPassed();
    assert.ok(turns > 0, 'the pool was used');
    assert.ok(turns <= turnsMax, `${turns} turns: shards deny each other`);
    for (const topic of topics) {
      assert.deepEqual(await estate.ends('target', topic), await estate.ends('source', topic));
      const read = async (side: 'source' | 'target') => {
        const { records } = await readWithJava(estate.local(side), 'cutover', topic, { isolation: 'read_committed' });
        return records.map((r) => `${r.partition}/${r.offset} ${r.timestamp} ${r.value}`).sort();
      };
      const [here, there] = await Promise.all([read('source'), read('target')]);
      assert.equal(here.length, partitions * rounds);
      assert.deepEqual(there, here);
    }
    const left = (await describeAcls(estate.target)).filter(
      (acl) => acl.permission === 'allow' && principals.includes(acl.principal),
    );
    assert.deepEqual(left, [], 'they have no right left');
  });

  it('is not shared: a second migration that needs it is told who has it', async () => {
    const other = uniqueName('pool-other');
    const topic = `${other}.t`;
    await estate.createTopic('source', topic, 1);
    await estate.letIn('source', topic, 'app-writer-1');
    const held = operator.plan({ ...plan, name: other, topics: { include: [topic] } });
    await operator.answer(['mirror', held, '--until-caught-up']);

    const late = operator.plan({ ...plan, name: uniqueName('pool-late') });
    const { findings } = await operator.answer(['plan', late], 3);
    const [shared] = (findings as Finding[]).filter(({ code }) => code === 'MIRROR_PRINCIPALS_SHARED');
    assert.match(shared?.message ?? '', new RegExp(other));

    await operator.answer(['mirror', held, '--end']);
    const { findings: after } = await operator.answer(['plan', late], 3);
    assert.ok(!(after as Finding[]).some(({ code }) => code === 'MIRROR_PRINCIPALS_SHARED'));
  });
});
