/** The bridge on the command line, on real brokers: killed again and again, and every record there once all the same. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { runForegroundBridge } from '../../activities/foreground-bridge.ts';
import { CutoverError } from '../../contract/errors.ts';
import { parsePlan } from '../../contract/plan.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { bridgeTopic, readBridgeMap } from '../../mirror/bridge-log.ts';
import { type JavaRecord, readWithJava } from '../../stack/java-tools.ts';
import { endAll, launch } from '../client/command-line.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Estate } from './support/estate.ts';
import { Operator } from './support/operator.ts';
import { waitFor } from './support/waiting.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack);
after(endAll);

const name = uniqueName('bridged');
const [orders, renamed] = [`${name}.orders`, `${name}.orders.v2`];
const deadLetter = `kafka-cutover.${name}.dead-letter`;
const customers = 7;
const perPartition = 12_000;
const killsMax = 3;
/** The records are years old. */
const kept = { 'retention.ms': '-1' };
const patienceMs = 60_000;

const plan = {
  name,
  source: 'legacy',
  target: 'next',
  topics: { include: [`${name}\\.orders`] },
  replicator: { kind: 'bridge', module: './bridge.mjs', rename: { [orders]: renamed } },
} as const;
const file = operator.plan(plan);
// A number in five is a test order, which is left out; one in a thousand is no order at all.
writeFileSync(
  join(operator.dir, 'bridge.mjs'),
  `export async function transform({ key, value, headers }) {
    const order = JSON.parse(value.toString());
    if (order.number % 5 === 4) return null;
    const { customer, number, from } = order;
    return { key: customer, value: JSON.stringify({ customer, number, from }), headers: [...headers, { key: 'was', value: key }] };
  }`,
);

const isPoison = (number: number) => number % 1_000 === 500;
const isKept = (number: number) => !isPoison(number) && number % 5 !== 4;
const padding = 'x'.repeat(400);

async function writeOrders(partition: number, from: number, until: number): Promise<void> {
  for (let first = from; first < until; first += 500) {
    const records = Array.from({ length: Math.min(500, until - first) }, (_, i) => {
      const number = first + i;
      const order = { customer: `customer-${number % customers}`, number, from: partition, padding };
      return {
        timestamp: 1_700_000_000_000n + BigInt(number),
        key: Buffer.from(`${partition}-${number}`),
        value: Buffer.from(isPoison(number) ? 'no order' : JSON.stringify(order)),
      };
    });
    await estate.append('source', orders, { records }, partition);
  }
}

const read = async (topic: string) => (await readWithJava(estate.local('target'), 'cutover', topic)).records;
const numbers = (from: number, until: number, keep: (number: number) => boolean) =>
  Array.from({ length: until - from }, (_, i) => from + i).filter(keep);
const parsed = ({ value }: JavaRecord) =>
  JSON.parse(value?.toString() ?? '') as { customer: string; number: number; from: number };

before(async () => {
  await estate.createTopic('source', orders, 2, kept);
  for (const partition of [0, 1]) await writeOrders(partition, 0, perPartition);
});

describe('`bridge FILE`', () => {
  it('refuses to begin without the topic that it writes to: its partitions decide where keys go', async () => {
    const ran = await operator.run(['bridge', file, '--json']);
    assert.notEqual(ran.exitCode, 0);
    assert.match(ran.stderr, new RegExp(`TOPIC_MISSING.*${renamed}`, 's'));
    await estate.createTopic('target', renamed, 3, kept);
  });

  it('says with --dry-run what would become of records, and writes nothing', async () => {
    const dry = await operator.answer(['bridge', file, '--dry-run', '--records', '600']);
    assert.deepEqual([dry.read, dry.written, dry.leftOut, dry.poison], [1_200, 958, 240, 2]);
    assert.deepEqual(dry.topics, { [renamed]: 958 });
    assert.match(String(dry.reasons), new RegExp(`${orders}/[01] at 500: .*JSON`));
    assert.deepEqual(await estate.ends('target', renamed), ['0', '0', '0']);
    const { topics } = await estate.target.metadata([deadLetter]);
    assert.equal(topics.size, 0);
  });

  it('is what `advise` recommends where a module changes records', async () => {
    const advice = await operator.answer(['advise', file]);
    assert.equal(advice.recommended, 'bridge');
    assert.match(String(advice.next), /kafka-cutover bridge \S*\.yaml --dry-run/);
  });

  it('carries every record once, in order by key, however often it is killed', async () => {
    const carried = async () => {
      // Before the first one there is no map.
      const map = await readBridgeMap(estate.target, name, new AbortController().signal).catch(() => null);
      return [...(map?.positions.values() ?? [])].reduce((sum, position) => sum + position, 0n);
    };
    for (let kills = 0; kills < killsMax; kills++) {
      const from = await carried();
      const { child, ended } = launch(['bridge', file], operator.env);
      await waitFor('a transaction of this one', patienceMs, async () => (await carried()) > from, { everyMs: 1 });
      child.kill('SIGKILL');
      assert.equal((await ended).signal, 'SIGKILL');
    }
    const { read: rest } = await operator.answer(['bridge', file, '--until-caught-up']);
    // Else nobody was killed in the middle of it.
    assert.ok(Number(rest) > 0 && Number(rest) < 2 * perPartition - 1_000, `${rest} records left`);

    const records = await read(renamed);
    const wanted = numbers(0, perPartition, isKept);
    for (const from of [0, 1]) {
      const found = records.filter((record) => parsed(record).from === from).map((record) => parsed(record).number);
      assert.deepEqual(
        found.toSorted((a, b) => a - b),
        wanted,
        'each once',
      );
      for (let customer = 0; customer < customers; customer++) {
        const own = records
          .map(parsed)
          .filter((order) => order.from === from && order.customer === `customer-${customer}`);
        assert.deepEqual(
          own.map(({ number }) => number),
          wanted.filter((number) => number % customers === customer),
        );
      }
    }
    const partitionsOf = Map.groupBy(records, (record) => parsed(record).customer);
    for (const [customer, of] of partitionsOf) {
      assert.equal(new Set(of.map(({ partition }) => partition)).size, 1, `${customer} lies in one partition`);
      assert.equal(
        of.every(({ key }) => key?.toString() === customer),
        true,
      );
    }
    const poison = await read(deadLetter);
    assert.equal(poison.length, 2 * numbers(0, perPartition, isPoison).length);
    assert.equal(
      poison.every(({ value }) => value?.toString() === 'no order'),
      true,
    );
  });

  it('goes on where it was, and has nothing to do where it was done', async () => {
    assert.equal((await operator.answer(['bridge', file, '--until-caught-up'])).read, 0);
    await writeOrders(0, perPartition, perPartition + 10);
    const { read: count, written, leftOut } = await operator.answer(['bridge', file, '--until-caught-up']);
    assert.deepEqual([count, written, leftOut], [10, 8, 2]);
  });

  it('knows which record became which, and where a group goes on', async () => {
    const map = await readBridgeMap(estate.target, name, new AbortController().signal);
    const records = new Map(
      (await read(renamed)).map((record) => [`${record.partition}@${record.offset}`, parsed(record)]),
    );
    for (const from of [0, 1]) {
      const [poison, carried] = [deadLetter, renamed].map((topic) =>
        map.stretchesOf(orders, from).filter((stretch) => stretch.topic === topic),
      );
      const dead = poison?.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => Number(first) + i));
      assert.deepEqual(dead, numbers(0, perPartition, isPoison));
      const mapped = carried?.flatMap(({ first, count, partition, at }) => {
        return Array.from({ length: count }, (_, i) => {
          // Source offsets are the numbers here.
          assert.equal(records.get(`${partition}@${at + BigInt(i)}`)?.number, Number(first) + i);
          return Number(first) + i;
        });
      });
      const until = from === 0 ? perPartition + 10 : perPartition;
      assert.deepEqual(
        mapped?.toSorted((a, b) => a - b),
        numbers(0, until, isKept),
      );
    }
  });

  it('leads groups to the first record that they have not read, over there and back', async () => {
    const [group, ahead] = [`${name}-half`, `${name}-ahead`];
    const place = (partition: number, offset: number) => ({ topic: orders, partition, offset: BigInt(offset) });
    // Of partition 1 it has not read anything; and 1,500 records of partition 0, one of them no order.
    await commitOffsets(estate.source, group, [place(0, perPartition - 1_490)]);
    await commitOffsets(estate.source, ahead, [place(0, perPartition + 10), place(1, perPartition)]);
    const ran = await operator.run(['positions', file, '--commit', '--json']);
    const found = JSON.parse(ran.stdout) as {
      deadLetters: Record<string, number>;
      positions: { group: string; partition: number; written: string; replays: number; class: string }[];
    };
    assert.deepEqual(found.deadLetters, { [group]: perPartition / 1_000 + 1 });
    const records = (await read(renamed)).map((record) => ({ ...parsed(record), ...record }));
    const unreadOf = (one: { from: number; number: number }) => one.from === 1 || one.number >= perPartition - 1_490;
    for (const partition of [0, 1, 2]) {
      const here = records.filter((one) => one.partition === partition);
      const first = here.find(unreadOf);
      const at = found.positions.find((one) => one.group === group && one.partition === partition);
      const again = here.filter((one) => first && one.offset > first.offset && !unreadOf(one)).length;
      assert.deepEqual(
        [at?.written, at?.replays, at?.class],
        [String(first?.offset ?? 0), again, again > 0 ? 'replays' : 'exact'],
      );
    }
    assert.ok(found.positions.every((one) => one.group === group || one.class === 'exact'));
    assert.equal(
      ran.exitCode === 0,
      found.positions.every((one) => one.class === 'exact'),
    );
    const written = await fetchOffsets(estate.target, [group, ahead], { requireStable: true });
    for (const one of found.positions) {
      assert.equal(String(written.get(one.group)?.get(`${renamed}/${one.partition}`)?.offset), one.written);
    }
    const left = records.filter(
      (one) => one.offset >= Number(written.get(ahead)?.get(`${renamed}/${one.partition}`)?.offset),
    );
    assert.deepEqual(left, [], 'who has read all has nothing left');

    const back = await operator.answer(['positions', file, '--back']);
    const returned = (back.positions as { group: string; topic: string; partition: number; written: string }[]).filter(
      (one) => one.group === ahead,
    );
    assert.deepEqual(returned.map(({ topic, partition, written }) => `${topic}/${partition} ${written}`).sort(), [
      `${orders}/0 ${perPartition + 10}`,
      `${orders}/1 ${perPartition}`,
    ]);
  });

  it('gives a partition up to the bridge that comes later, and writes nothing of its own any more', async () => {
    const ending = new AbortController();
    const parsedPlan = parsePlan(plan);
    const run = (signal: AbortSignal) =>
      runForegroundBridge(parsedPlan, clusters, {
        module: join(operator.dir, 'bridge.mjs'),
        signal,
        untilCaughtUp: false,
      });
    after(() => ending.abort());
    const first = run(AbortSignal.any([ending.signal]));
    first.catch(() => {});
    const begun = (await listOffsets(estate.target, [{ topic: bridgeTopic, partition: 0 }], 'logEnd')).get(
      `${bridgeTopic}/0`,
    );
    await writeOrders(1, perPartition, perPartition + 5);
    await waitFor('the first to carry', patienceMs, async () => {
      const now = await listOffsets(estate.target, [{ topic: bridgeTopic, partition: 0 }], 'lastStable');
      return (now.get(`${bridgeTopic}/0`) ?? 0n) > (begun ?? 0n);
    });
    const second = run(ending.signal);
    let failed: unknown;
    second.catch((error) => {
      failed = error;
    });
    let number = perPartition + 5;
    const overtaken = assert.rejects(
      first,
      (error) => error instanceof CutoverError && error.code === 'BRIDGE_OVERTAKEN',
    );
    let over = false;
    overtaken
      .finally(() => {
        over = true;
      })
      .catch(() => {});
    await waitFor('the first to give up', patienceMs, async () => {
      if (!over) await writeOrders(1, number, ++number);
      return over;
    });
    await overtaken;
    const wanted = numbers(0, number, isKept);
    await waitFor('the second to carry all', patienceMs, async () => {
      if (failed) throw failed;
      const found = (await read(renamed)).map(parsed).filter(({ from }) => from === 1);
      return found.length >= wanted.length;
    });
    ending.abort();
    await second;
    const found = (await read(renamed)).map(parsed).filter(({ from }) => from === 1);
    assert.deepEqual(
      found.map((order) => order.number).toSorted((a, b) => a - b),
      wanted,
    );
  });
});
