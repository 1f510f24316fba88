/** Encrypted payloads: what Temporal stores of a whole migration, keys that are replaced, and who cannot read. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import proto from '@temporalio/proto';
import { startCodecServer } from '../../client/codec-server.ts';
import { CutoverClient } from '../../client/cutover-client.ts';
import { parsePlan } from '../../contract/plan.ts';
import { EncryptionCodec, readCodec } from '../../worker/codec.ts';
import { folder, run } from '../client/command-line.ts';
import { Bench } from '../workflows/support/bench.ts';
import { failure } from '../workflows/support/scenario.ts';

const first = randomBytes(32);
const second = randomBytes(32);
const env = { FIRST: first.toString('base64'), SECOND: second.toString('base64'), SHORT: 'AAAA' };
const payload = (value: unknown) => defaultPayloadConverter.toPayload(value) as Payload;

let files = 0;
/** A keys' file, as KAFKA_CUTOVER_CODEC names it. */
function keysFile(document: object): string {
  const path = join(folder, `codec-${files++}.yaml`);
  writeFileSync(path, JSON.stringify(document));
  return path;
}
const codecOf = (document: object) => readCodec({ ...env, KAFKA_CUTOVER_CODEC: keysFile(document) }) as EncryptionCodec;
const oldKeys = { current: 'k1', keys: { k1: { env: 'FIRST' } } };
const newKeys = { current: 'k2', keys: { k1: { env: 'FIRST' }, k2: { env: 'SECOND' } } };

describe('a codec', () => {
  it('encrypts each payload anew, and opens what an older key has sealed', async () => {
    const values = ['planted', { topic: 'planted' }, null, undefined, new Uint8Array([1, 2])];
    const old = codecOf(oldKeys);
    const sealed = await old.encode(values.map(payload));
    const again = await old.encode(values.map(payload));
    for (const [index, one] of sealed.entries()) {
      assert.ok(!Buffer.from(one.data ?? []).includes('planted'));
      assert.notDeepEqual(one.data, again[index]?.data, 'the same text twice is not the same twice');
    }
    const rotated = codecOf(newKeys);
    const opened = await rotated.decode(sealed);
    assert.deepEqual(
      opened.map((one) => defaultPayloadConverter.fromPayload(one)),
      values,
    );
    const [newest] = await rotated.encode([payload('x')]);
    assert.equal(Buffer.from(newest?.metadata?.['encryption-key-id'] ?? []).toString(), 'k2');
    await assert.rejects(
      old.decode([newest as Payload]),
      /PAYLOAD_UNREADABLE: .*found encrypted with key k2, wanted one of the keys k1/,
    );
    const plain = payload('as people send it');
    assert.deepEqual(await old.decode([plain]), [plain]);
  });

  it('opens nothing that was changed, or that another key of the same name has sealed', async () => {
    const [sealed] = await codecOf(oldKeys).encode([payload('x')]);
    assert.ok(sealed?.data);
    const changed = Buffer.from(sealed.data);
    changed[14] = (changed[14] ?? 0) ^ 1;
    const other = new EncryptionCodec('k1', new Map([['k1', second]]));
    const refused = /PAYLOAD_UNREADABLE: .*found key k1 does not open it/;
    await assert.rejects(codecOf(oldKeys).decode([{ ...sealed, data: changed }]), refused);
    await assert.rejects(codecOf(oldKeys).decode([{ ...sealed, data: changed.subarray(0, 20) }]), refused);
    await assert.rejects(other.decode([sealed]), refused);
  });

  it('without usable keys is refused with the place, and without a key', () => {
    const cases: [object, RegExp][] = [
      [{ current: 'k2', keys: oldKeys.keys }, / at current\): found k2, wanted k1/],
      [{ current: 'k1', keys: { k1: { env: 'SHORT' } } }, / at keys\.k1\): found 3 bytes, wanted 32 bytes in base64/],
      [{ current: 'k1', keys: { k1: { env: 'UNSET' } } }, /the environment variable is not set .* at keys\.k1\)/],
      [{ current: 'k1', keys: { k1: env.FIRST } }, / at keys\.k1\)/],
    ];
    for (const [document, message] of cases) {
      assert.throws(
        () => codecOf(document),
        (error: Error) => {
          assert.match(error.message, /^CODEC_INVALID: /);
          assert.match(error.message, message);
          assert.ok(!error.message.includes(env.FIRST));
          return true;
        },
      );
    }
    assert.equal(readCodec({}), null);
  });
});

describe('a migration with encrypted payloads', () => {
  const planted = /planted/i;
  let bench: Bench;
  let withKeys: NodeJS.ProcessEnv;
  before(async () => {
    bench = await Bench.start(codecOf(oldKeys));
    withKeys = { ...env, TEMPORAL_ADDRESS: bench.env.address, KAFKA_CUTOVER_CODEC: keysFile(oldKeys) };
  });
  after(() => bench[Symbol.asyncDispose]());

  it('leaves no plain text in its history, and is read with the keys, old ones included, and with no others', async () => {
    const scenario = bench.prepare();
    const { name } = scenario;
    scenario.difference = ['planted difference'];
    scenario.next('verify', () => {
      throw failure('PARITY_FAILED', false, 'planted-in-a-failure');
    });
    const input = {
      name,
      source: 'legacy',
      target: 'next',
      topics: { include: ['planted-topic'] },
      producers: { switch: 'webhook' as const, webhook: 'planted-webhook' },
      consumers: { switch: 'webhook' as const, webhook: 'planted-webhook' },
      gates: { cutover: { approvals: 1, approvers: ['planted-approver'] }, finalize: { approvals: 0 } },
      rollback: { window: '0s' },
      startedBy: 'planted-starter',
    };
    await using client = await CutoverClient.connect(withKeys);
    await client.start(input, parsePlan(input));
    const migration = bench.migration(scenario);
    await migration.gate('cutover');
    assert.equal((await client.plan(name)).topics.include[0], 'planted-topic');

    const status = (more: NodeJS.ProcessEnv) => run(['status', name, '--json'], { ...withKeys, ...more });
    const [readable, rotated, without, wrong] = await Promise.all([
      status({}),
      status({ KAFKA_CUTOVER_CODEC: keysFile(newKeys) }),
      status({ KAFKA_CUTOVER_CODEC: '' }),
      status({ KAFKA_CUTOVER_CODEC: keysFile({ current: 'k1', keys: { k1: { env: 'SECOND' } } }) }),
    ]);
    for (const ran of [readable, rotated]) assert.match(ran.stdout, /planted-approver/, ran.stderr);
    for (const ran of [without, wrong]) {
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, /PAYLOAD_UNREADABLE: [\s\S]*Next: Set KAFKA_CUTOVER_CODEC/);
    }
    const approve = ['approve', name, 'cutover', '--by', 'planted-approver', '--reason', 'planted-reason'];
    assert.equal((await run(approve, withKeys)).exitCode, 0);
    const failed = await migration.failed('verify');
    assert.match(failed.failedStep?.message ?? '', /planted-in-a-failure/);
    await migration.send('decide', { step: 'verify', choice: 'retry', by: 'planted-approver' });
    assert.equal(((await migration.handle.result()) as { outcome: string }).outcome, 'completed');

    const { workflowService } = bench.env.connection;
    const execution = { workflowId: `cutover/${name}` };
    const { history } = await workflowService.getWorkflowExecutionHistory({ namespace: 'default', execution });
    assert.ok((history?.events?.length ?? 0) > 100);
    const bytes = Buffer.from(proto.temporal.api.history.v1.History.encode(history ?? {}).finish()).toString('latin1');
    assert.doesNotMatch(bytes, planted);
    const described = await workflowService.describeWorkflowExecution({ namespace: 'default', execution });
    assert.doesNotMatch(JSON.stringify(described), planted);
    assert.match(bytes, /binary\/encrypted/);
  });

  it("is shown to Temporal's UI by the codec server, to its own pages alone", async () => {
    const origin = 'http://localhost:8233';
    const codec = codecOf(newKeys);
    await using server = await startCodecServer({ codec, origin, place: { host: '127.0.0.1', port: 0 } });
    const asked = async (path: string, body: unknown, from: string = origin) => {
      const headers = { origin: from, 'content-type': 'application/json' };
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
        method: 'POST',
        headers,
        body: JSON.stringify(body),
      });
      return { response, json: (await response.json()) as { payloads: Sent[]; error: string } };
    };
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    const plain = { metadata: { encoding: base64('json/plain') }, data: base64('{"by":"planted"}') };
    const sealed = await asked('/encode', { payloads: [plain] });
    assert.equal(sealed.response.headers.get('access-control-allow-origin'), origin);
    assert.doesNotMatch(Buffer.from(sealed.json.payloads[0]?.data ?? '', 'base64').toString('latin1'), planted);
    assert.deepEqual((await asked('/decode', sealed.json)).json.payloads, [plain]);

    const preflight = await fetch(`http://127.0.0.1:${server.port}/decode`, { method: 'OPTIONS', headers: { origin } });
    assert.equal(preflight.status, 204);
    assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /x-namespace/);
    const elsewhere = await asked('/decode', sealed.json, 'https://evil.example');
    assert.equal(elsewhere.response.status, 403);
    assert.equal(elsewhere.response.headers.get('access-control-allow-origin'), null);
    const [foreign] = await new EncryptionCodec('k3', new Map([['k3', second]])).encode([payload('x')]);
    const unreadable = {
      metadata: { encoding: base64('binary/encrypted'), 'encryption-key-id': base64('k3') },
      data: Buffer.from(foreign?.data ?? []).toString('base64'),
    };
    const refused = await asked('/decode', { payloads: [unreadable] });
    assert.equal(refused.response.status, 400);
    assert.match(refused.json.error, /PAYLOAD_UNREADABLE/);
    assert.equal((await asked('/decode', 'garbage')).response.status, 400);
  });
});

interface Sent {
  readonly metadata: Record<string, string>;
  readonly data: string;
}
