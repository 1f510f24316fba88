import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Acl, aclKey, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { deleteScramUser, describeScramUsers, upsertScramUser } from '../../kafka/scram.ts';
import { deleteTopic, topicConfigs } from '../../kafka/topics.ts';
import type { Change } from '../../migration/change.ts';
import { openJournal } from '../../migration/journal.ts';
import { ensureProducerIds } from '../../migration/producer-ids.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, disconnected, freshStorage, write } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);

const deny = (resourceName: string, principal = 'User:a'): Acl => ({
  resourceType: 'topic',
  patternType: 'literal',
  resourceName,
  principal,
  host: '*',
  operation: 'write',
  permission: 'deny',
});
const add = (cluster: 'source' | 'target', ...acls: Acl[]): Change => ({ kind: 'create-acls', cluster, acls });
const rulesOn = async (cluster: 'source' | 'target', name: string) =>
  (await describeAcls(clusters[cluster])).filter((acl) => acl.resourceName === name).map(aclKey);
const open = (migration: string) => openJournal(freshStorage(clusters), clusters, migration);

describe('the journal', () => {
  it('stands on both clusters before the change is sent', async () => {
    const topic = uniqueName('t');
    const migration = uniqueName('m');
    let seen: unknown[] = [];
    const alone = { source: clusters.source, target: await disconnected(file, 'next') };
    let look: Promise<void> = Promise.resolve();

    await open(migration).make('all', 'fence-source', [add('source', deny(topic))], {
      beforeEach: () => {
        look = (async () => {
          seen = (await openJournal(freshStorage({ ...alone }), clusters, migration).entries()).map((e) => e.inverse);
        })();
      },
    });

    await look;
    assert.deepEqual(seen, [{ kind: 'delete-acls', cluster: 'source', acls: [deny(topic)] }]);
    await open(migration).undo('all', 'all');
  });

  it('keeps a carried rule for as long as any migration relies on it', async () => {
    const [topic, a, b] = [uniqueName('t'), uniqueName('m'), uniqueName('m')];
    const carried = add('target', { ...deny(topic, 'User:app'), permission: 'allow' });
    await open(a).make('all', 'acl', [carried]);
    await open(b).make('all', 'acl', [carried]);

    await open(a).undo('all', 'all');
    assert.equal((await rulesOn('target', topic)).length, 1);

    await open(b).undo('all', 'all');
    assert.equal((await rulesOn('target', topic)).length, 0);
  });

  it('creates a SCRAM user that is missing, never touches one that is there, and deletes it with the last migration that relies on it', async () => {
    const [made, there, a, b] = [uniqueName('user'), uniqueName('user'), uniqueName('m'), uniqueName('m')];
    const mechanism = 'scram-sha-256' as const;
    const secret = 'planted-password';
    const scramUsers = new Map([made, there].map((user) => [user, { mechanism, password: secret }]));
    await using target = await Cluster.connect({ ...file.cluster('next'), scramUsers });
    await upsertScramUser(target, there, 'its own');
    const journalOf = (migration: string) => openJournal(freshStorage(clusters), { ...clusters, target }, migration);
    const users = [made, there].map((user) => ({ user, mechanism }));
    const create: Change = { kind: 'create-scram-users', cluster: 'target', users };
    const known = async () => {
      const all = await describeScramUsers(target);
      return [made, there].map((user) =>
        all
          .get(user)
          ?.map((credential) => credential.mechanism)
          .join(),
      );
    };

    for (const migration of [a, b]) await journalOf(migration).make('all', 'scram-user', [create]);
    assert.deepEqual(await known(), [mechanism, 'scram-sha-512']);
    const entries = await journalOf(a).entries();
    assert.deepEqual(entries[0]?.inverse, {
      ...create,
      kind: 'delete-scram-users',
      users: [{ user: made, mechanism }],
    });
    assert.ok(!JSON.stringify(entries).includes(secret));

    await journalOf(a).undo('all', 'all');
    assert.deepEqual(await known(), [mechanism, 'scram-sha-512']);
    await journalOf(b).undo('all', 'all');
    assert.deepEqual(await known(), [undefined, 'scram-sha-512']);
    await deleteScramUser(target, there, 'scram-sha-512');
  });

  it('of a finalized migration is left alone by a later run of the same name', async () => {
    const topic = uniqueName('t');
    const migration = uniqueName('m');
    const fence = add('source', deny(topic));
    await open(migration).make('all', 'fence-source', [fence]);
    await open(migration).keep('all');

    await open(migration).make('all', 'fence-source', [fence]);
    const report = await open(migration).undo('all', 'all');

    assert.deepEqual(report, { undone: 0, notUndone: [], notNoted: [] });
    assert.deepEqual(await rulesOn('source', topic), [aclKey(deny(topic))]);
    await deleteAcls(clusters.source, [deny(topic)]);
  });

  it('sends nothing for an attempt that was overtaken, neither changes nor inverses', async () => {
    const topic = uniqueName('t');
    const migration = uniqueName('m');
    await open(migration).make('all', 'fence-source', [add('source', deny(topic, 'User:a'))]);
    const overtaken = openJournal(freshStorage(clusters), clusters, migration, () => {
      throw new Error('overtaken');
    });

    await assert.rejects(overtaken.make('all', 'fence-source', [add('source', deny(topic, 'User:b'))]), /overtaken/);
    await assert.rejects(overtaken.undo('all', 'all'), /overtaken/);

    assert.deepEqual(await rulesOn('source', topic), [aclKey(deny(topic, 'User:a'))]);
    await open(migration).undo('all', 'all');
  });

  it('leaves the user rule that was there before, on making and on undoing', async () => {
    const topic = uniqueName('t');
    await createAcls(clusters.source, [deny(topic, 'User:theirs')]);
    const journal = open(uniqueName('m'));

    await journal.make('all', 'fence-source', [add('source', deny(topic, 'User:theirs'), deny(topic, 'User:ours'))]);
    assert.equal((await rulesOn('source', topic)).length, 2);
    const report = await journal.undo('all', ['fence-source']);

    assert.deepEqual(report, { undone: 1, notUndone: [], notNoted: [] });
    assert.deepEqual(await rulesOn('source', topic), [aclKey(deny(topic, 'User:theirs'))]);
    await deleteAcls(clusters.source, [deny(topic, 'User:theirs')]);
  });

  it('records nothing when all of it holds already', async () => {
    const topic = uniqueName('t');
    await createAcls(clusters.source, [deny(topic)]);
    const journal = open(uniqueName('m'));
    assert.equal(await journal.make('all', 'fence-source', [add('source', deny(topic))]), 0);
    assert.deepEqual(await journal.entries(), []);
    await deleteAcls(clusters.source, [deny(topic)]);
  });

  it('stops where the deadline does, and what was made by then is undone', async () => {
    const topic = uniqueName('t');
    const journal = open(uniqueName('m'));
    let left = 2;
    const late = new Error('late');
    const making = journal.make(
      'all',
      'fence-source',
      ['User:a', 'User:b', 'User:c'].map((p) => add('source', deny(topic, p))),
      {
        beforeEach: () => {
          if (left-- === 0) throw late;
        },
      },
    );
    await assert.rejects(making, late);
    assert.equal((await rulesOn('source', topic)).length, 2);
    assert.deepEqual(
      (await journal.entries()).map((e) => e.state),
      ['made', 'made', 'intended'],
    );

    assert.deepEqual(await journal.undo('all', 'all'), { undone: 3, notUndone: [], notNoted: [] });
    assert.deepEqual(await rulesOn('source', topic), []);
  });

  it('keeps the inverse of the first attempt when a crash comes between act and note', async () => {
    const topic = uniqueName('t');
    await createOnBoth(clusters, topic);
    const migration = uniqueName('m');
    const change: Change = {
      kind: 'alter-topic-configs',
      cluster: 'target',
      topic,
      set: { 'retention.ms': '-1', 'cleanup.policy': 'delete' },
      unset: [],
    };
    await assert.rejects(
      openJournal(failingAfter(1), clusters, migration).make('all', 'target-settings', [change]),
      /storage is gone/,
    );
    assert.equal((await settings(topic))['retention.ms'], '-1');

    await open(migration).make('all', 'target-settings', [change]);
    await open(migration).undo('all', ['target-settings']);

    assert.deepEqual(await settings(topic), {});
  });

  it('puts back exactly the settings that it replaced, also when settings were changed twice', async () => {
    const topic = uniqueName('t');
    await createOnBoth(clusters, topic);
    const journal = open(uniqueName('m'));
    const alter = (set: Record<string, string>, unset: string[] = []): Change => ({
      kind: 'alter-topic-configs',
      cluster: 'target',
      topic,
      set,
      unset,
    });
    await journal.make('all', 'target-settings', [alter({ 'max.message.bytes': '2000000', 'retention.ms': '7' })]);
    await journal.make('all', 'source-settings', [alter({ 'retention.ms': '-1' }, ['max.message.bytes'])]);
    assert.deepEqual(await settings(topic), { 'retention.ms': '-1' });

    await journal.undo('all', ['source-settings']);
    assert.deepEqual(await settings(topic), { 'max.message.bytes': '2000000', 'retention.ms': '7' });
    await journal.undo('all', 'all');
    assert.deepEqual(await settings(topic), {});
  });

  it('makes again what was undone', async () => {
    const topic = uniqueName('t');
    const journal = open(uniqueName('m'));
    for (let round = 0; round < 2; round++) {
      await journal.make('all', 'fence-source', [add('source', deny(topic))]);
      assert.equal((await rulesOn('source', topic)).length, 1);
      assert.equal((await journal.undo('all', 'all')).undone, 1);
      assert.deepEqual(await rulesOn('source', topic), []);
    }
    assert.equal((await journal.undo('all', 'all')).undone, 0);
  });

  it('undoes only the purposes and the wave that were named', async () => {
    const topic = uniqueName('t');
    const journal = open(uniqueName('m'));
    await journal.make('one', 'fence-source', [add('source', deny(topic, 'User:a'))]);
    await journal.make('one', 'protection', [add('source', deny(topic, 'User:b'))]);
    await journal.make('two', 'fence-source', [add('source', deny(topic, 'User:c'))]);

    await journal.undo('one', 'all', { except: ['protection'] });

    assert.deepEqual(
      await rulesOn('source', topic),
      ['User:b', 'User:c'].map((p) => aclKey(deny(topic, p))),
    );
    await journal.undo('one', 'all');
    await journal.undo('two', 'all');
    assert.deepEqual(await rulesOn('source', topic), []);
  });

  it('keeps a rule that two waves need until the second one is rolled back', async () => {
    const topic = uniqueName('t');
    const journal = open(uniqueName('m'));
    await journal.make('one', 'mirror-access', [add('source', deny(topic))]);
    await journal.make('two', 'mirror-access', [add('source', deny(topic))]);

    await journal.undo('one', 'all');
    assert.equal((await rulesOn('source', topic)).length, 1);
    await journal.undo('two', 'all');
    assert.equal((await rulesOn('source', topic)).length, 0);
  });

  it('undoes on the cluster that lives what it can, and names what it could not', async () => {
    const topic = uniqueName('t');
    const migration = uniqueName('m');
    await open(migration).make('all', 'fence-source', [add('source', deny(topic))]);
    await open(migration).make('all', 'protection', [add('target', deny(topic))]);
    const half = { source: clusters.source, target: await disconnected(file, 'next') };

    const report = await openJournal(freshStorage(half), half, migration).undo('all', 'all');

    assert.equal(report.undone, 1);
    assert.equal(report.notUndone.length, 1);
    assert.match(report.notUndone[0] ?? '', /^target: delete 1 access rules: deny write topic .*: not done: /);
    assert.deepEqual(await rulesOn('source', topic), []);
    assert.deepEqual(await open(migration).undo('all', 'all'), { undone: 1, notUndone: [], notNoted: [] });
    assert.deepEqual(await rulesOn('target', topic), []);
  });
});

describe('topics that the journal created', () => {
  const creation = (name: string): Change => ({
    kind: 'create-topic',
    cluster: 'target',
    topic: { name, partitions: 1, replicationFactor: 1, configs: {} },
  });
  const exists = async (name: string) => (await clusters.target.metadata([name])).topics.has(name);

  it('stay unless their removal is asked for, and then go', async () => {
    const [a, b] = [uniqueName('t'), uniqueName('t')];
    const migration = uniqueName('m');
    const journal = open(migration);
    await journal.make('all', 'topic', [creation(a), creation(b)]);
    const ids = await ensureProducerIds(
      { storage: freshStorage(clusters), migration, wave: 'all' },
      'forward',
      clusters.target,
      [{ topic: a, partition: 0 }],
    );
    await write(clusters.target, a, 5, { producerId: ids.get(`${a}/0`) ?? -1n, baseSequence: 0 });

    const kept = await journal.undo('all', 'all');
    assert.deepEqual([kept.undone, kept.notUndone.length, await exists(a), await exists(b)], [0, 2, true, true]);
    const removed = await journal.undo('all', 'all', { removeTopics: true });

    assert.deepEqual(removed, { undone: 2, notUndone: [], notNoted: [] });
    assert.deepEqual([await exists(a), await exists(b)], [false, false]);
  });

  it('stay when somebody else wrote to them, and the report says who and where', async () => {
    const topic = uniqueName('t');
    const migration = uniqueName('m');
    const journal = open(migration);
    await journal.make('all', 'topic', [creation(topic)]);
    const ids = await ensureProducerIds(
      { storage: freshStorage(clusters), migration, wave: 'all' },
      'forward',
      clusters.target,
      [{ topic, partition: 0 }],
    );
    await write(clusters.target, topic, 5, { producerId: ids.get(`${topic}/0`) ?? -1n, baseSequence: 0 });
    await write(clusters.target, topic, 1);

    const { undone, notUndone } = await journal.undo('all', 'all', { removeTopics: true });

    assert.equal(undone, 0);
    assert.match(notUndone[0] ?? '', /holds records from offset 5 on that a producer without an id wrote/);
    assert.ok(await exists(topic));
    await deleteTopic(clusters.target, topic);
  });

  it('are not ours when they existed before', async () => {
    const topic = uniqueName('t');
    await createOnBoth(clusters, topic);
    const journal = open(uniqueName('m'));
    await journal.make('all', 'topic', [creation(topic)]);
    assert.deepEqual(await journal.undo('all', 'all', { removeTopics: true }), {
      undone: 0,
      notUndone: [],
      notNoted: [],
    });
    assert.ok(await exists(topic));
  });

  it('can never be deleted by a change', async () => {
    const change: Change = { kind: 'delete-topic', cluster: 'target', topic: 'x' };
    await assert.rejects(open(uniqueName('m')).make('all', 'topic', [change]), { code: 'INTERNAL' });
  });
});

/** Storage that dies after so many writes, as a process does between two of them. */
function failingAfter(writes: number) {
  const storage = freshStorage(clusters);
  let left = writes;
  const spend = () => {
    if (left-- <= 0) throw new Error('storage is gone');
  };
  const { get, list, getAll } = storage;
  return {
    degraded: null,
    get: get.bind(storage),
    list: list.bind(storage),
    getAll: getAll.bind(storage),
    put: async (...args: Parameters<typeof storage.put>) => {
      spend();
      return storage.put(...args);
    },
    putAll: async (...args: Parameters<typeof storage.putAll>) => {
      spend();
      return storage.putAll(...args);
    },
  };
}

async function settings(topic: string): Promise<Record<string, string | null>> {
  const found = (await topicConfigs(clusters.target, [topic])).get(topic) ?? new Map();
  return Object.fromEntries(
    [...found].filter(([, entry]) => entry.source === 'topic').map(([name, entry]) => [name, entry.value]),
  );
}
