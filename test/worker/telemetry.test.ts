/** What a worker's Prometheus endpoint shows of a migration, and that dashboard and alert rules ask for nothing else; and what it sends as traces. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { parse as parseYaml } from 'yaml';
import { asActivities, cancellation } from '../../activities/failures.ts';
import { reminderActivities } from '../../activities/gates.ts';
import { MirrorMetrics } from '../../activities/metrics.ts';
import { askHealth } from '../../client/worker-health.ts';
import type { PartitionProgress } from '../../mirror/mirror.ts';
import { freePorts } from '../../stack/ports.ts';
import { metricsTelemetry, readMetricsBy } from '../../worker/metrics.ts';
import { noTraces, startTraces, type Traces } from '../../worker/traces.ts';
import { Bench } from '../workflows/support/bench.ts';
import { failure } from '../workflows/support/scenario.ts';
import { type Collector, startCollector } from './support/otlp.ts';

const example = (name: string) => readFileSync(new URL(`../../examples/monitoring/${name}`, import.meta.url), 'utf8');
const log = pino({ level: 'silent' });
const awaitMaxMs = 20_000;

let bench: Bench;
let address: string;
let collector: Collector;
let traces: Traces;
before(async () => {
  collector = await startCollector();
  // OpenTelemetry's exporter reads it there.
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = collector.url;
  traces = await startTraces(process.env, log);
  const [port = 0] = await freePorts(1);
  address = `127.0.0.1:${port}`;
  bench = await Bench.start(null, address, traces);
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await collector[Symbol.asyncDispose]();
});

const scrape = async () => (await fetch(`http://${address}/metrics`)).text();

/** The value of the series with these labels, whatever others it has. */
function shown(text: string, name: string, labels: Record<string, string>): number | undefined {
  const line = text
    .split('\n')
    .find(
      (one) =>
        one.startsWith(`${name}{`) && Object.entries(labels).every(([key, value]) => one.includes(`${key}="${value}"`)),
    );
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

async function until(what: string, holds: (text: string) => boolean): Promise<string> {
  const deadline = Date.now() + awaitMaxMs;
  for (;;) {
    const text = await scrape();
    if (holds(text)) return text;
    if (Date.now() > deadline)
      throw new Error(`waited in vain until ${what}:\n${text.match(/^kafka_.*$/gm)?.join('\n')}`);
    await sleep(50);
  }
}

describe('metrics of a worker', () => {
  const progress: PartitionProgress = {
    topic: 'orders',
    partition: 3,
    position: 60n,
    end: 100n,
    stableEnd: 100n,
    keepsAborted: true,
    records: 60,
    bytes: 6_000,
    batches: 6,
    retries: 2,
  };

  it('follow a migration, and are all that dashboard and alerts ask for', async () => {
    const scenario = bench.prepare();
    const tags = { migration: scenario.name, wave: 'all', direction: 'forward' } as const;
    const mirror = asActivities({
      mirror: async () => {
        using metrics = new MirrorMetrics({ ...tags, shard: 0 });
        const startedAt = Date.now();
        const earlier = { position: 100n, records: 30, bytes: 3_000, batches: 3, retries: 0 };
        metrics.observe([{ ...progress, ...earlier }], startedAt - 7_000);
        metrics.observe([progress], startedAt);
        await new Promise((stopped) => cancellation().addEventListener('abort', stopped));
      },
    });
    scenario.next('mirror', mirror.mirror);
    scenario.next('remind', asActivities(reminderActivities()).remind);
    const migration = await bench.start(scenario, { gates: { cutover: { approvals: 1 } } });
    await migration.gate('cutover');
    const partition = { ...tags, topic: 'orders', partition: '3' };
    const open = await until(
      'the gate has an age',
      (text) => (shown(text, 'kafka_cutover_gate_age_seconds', { migration: scenario.name, gate: 'cutover' }) ?? 0) > 0,
    );
    assert.equal(shown(open, 'kafka_cutover_mirror_lag_records', partition), 40);
    assert.equal(shown(open, 'kafka_cutover_mirror_behind_seconds', partition), 7);
    assert.equal(shown(open, 'kafka_cutover_mirror_records_total', { ...tags, topic: 'orders' }), 60);
    assert.equal(shown(open, 'kafka_cutover_mirror_bytes_total', { ...tags, topic: 'orders' }), 6_000);
    assert.equal(shown(open, 'kafka_cutover_mirror_batches_total', { ...tags, topic: 'orders' }), 6);
    assert.equal(shown(open, 'kafka_cutover_mirror_retries_total', { ...tags, topic: 'orders' }), 2);
    const truth = (text: string, cluster: string) =>
      shown(text, 'kafka_cutover_source_of_truth_since_seconds', {
        migration: scenario.name,
        wave: 'all',
        cluster,
      }) ?? 0;
    assert.ok(truth(open, 'source') > 0 && truth(open, 'target') === 0);

    scenario.fail('verify', 'PARITY_FAILED', { retryable: false });
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.failed('verify');
    await migration.send('decide', { step: 'verify', choice: 'retry', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
    const ended = await until(
      'the mirror shows its end',
      (text) => shown(text, 'kafka_cutover_mirror_lag_records', partition) === 0,
    );
    assert.equal(shown(ended, 'kafka_cutover_mirror_behind_seconds', partition), 0);
    assert.equal(shown(ended, 'kafka_cutover_gate_age_seconds', { migration: scenario.name, gate: 'cutover' }), 0);
    assert.ok(truth(ended, 'target') > truth(ended, 'none') && truth(ended, 'none') > truth(ended, 'source'));
    const fenced = shown(ended, 'kafka_cutover_fence_seconds', { migration: scenario.name, wave: 'all' }) ?? -1;
    const held = truth(ended, 'target') - truth(ended, 'none');
    assert.ok(Math.abs(fenced - held) < 0.002, `${fenced} and ${held}`);

    const exported = new Set([...ended.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
    const wanted = (text: string) => new Set(text.match(/\b(?:kafka_cutover|temporal)_[a-z_]+/g));
    const alerts = example('alerts.yaml');
    const { groups } = parseYaml(alerts) as { groups: { rules: { alert: string; expr: string }[] }[] };
    const rules = groups.flatMap((group) => group.rules);
    const dashboard = JSON.parse(example('grafana-dashboard.json')) as { panels: { targets: { expr: string }[] }[] };
    const expressions = [
      ...rules.map(({ expr }) => expr),
      ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    ];
    assert.ok(rules.length >= 6 && dashboard.panels.length >= 8);
    for (const name of wanted(expressions.join('\n'))) assert.ok(exported.has(name), `${name} is not exported`);
    for (const name of exported) {
      if (name?.startsWith('kafka_cutover_'))
        assert.ok(wanted(expressions.join('\n')).has(name), `${name} is shown nowhere`);
    }
    // What people are told to look at is described where they look for it.
    const document = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
    for (const name of exported)
      if (name?.startsWith('kafka_cutover_')) assert.ok(document.includes(`\`${name}\``), name);
  });

  it('tell a health check whether it takes work', async () => {
    assert.ok((await askHealth(address)).pollers > 0);
    await using idle = createServer((_request, response) => response.end('temporal_num_pollers{poller_type="x"} 0\n'));
    idle.listen(0, '127.0.0.1');
    await once(idle, 'listening');
    const { port } = idle.address() as AddressInfo;
    await assert.rejects(askHealth(`0.0.0.0:${port}`), { code: 'WORKER_UNHEALTHY', message: /no poller/ });
    const [nobody = 0] = await freePorts(1);
    await assert.rejects(askHealth(`127.0.0.1:${nobody}`), { code: 'WORKER_UNHEALTHY', message: /ECONNREFUSED/ });
    await assert.rejects(askHealth(undefined), { code: 'USAGE' });
  });

  it('are shown at an address alone', () => {
    assert.throws(() => metricsTelemetry('9464'), { code: 'USAGE' });
    assert.deepEqual(metricsTelemetry(undefined), {});
  });

  it('show lag by topic and shard where partitions are too many, in sums and the longest', async () => {
    assert.equal(readMetricsBy('topic'), 'topic');
    assert.throws(() => readMetricsBy('group'), { code: 'USAGE' });
    const scenario = bench.prepare();
    const tags = { migration: scenario.name, wave: 'all', direction: 'forward' } as const;
    const mirror = asActivities({
      mirror: async () => {
        using metrics = new MirrorMetrics({ ...tags, shard: 2 }, 'topic');
        const startedAt = Date.now();
        const other = { ...progress, partition: 4, position: 95n };
        metrics.observe([progress, { ...other, position: 100n }], startedAt - 9_000);
        metrics.observe([progress, other], startedAt);
        await new Promise((stopped) => cancellation().addEventListener('abort', stopped));
      },
    });
    scenario.next('mirror', mirror.mirror);
    const migration = await bench.start(scenario, { gates: { cutover: { approvals: 1 } } });
    await migration.gate('cutover');
    const shard = { ...tags, topic: 'orders', partition: 'shard 2' };
    const lag = 'kafka_cutover_mirror_lag_records';
    const open = await until('the shard has lag', (text) => (shown(text, lag, shard) ?? 0) > 0);
    assert.equal(shown(open, lag, shard), 45);
    assert.equal(shown(open, 'kafka_cutover_mirror_behind_seconds', shard), 9);
    assert.equal(shown(open, lag, { ...tags, partition: '3' }), undefined);
    await migration.send('abort', { by: 'ana' });
    await migration.ends();
  });
});

describe('traces of a worker', () => {
  const attempts = (name: string) => collector.spans.filter((span) => span.name === `activity ${name}`);

  it('are one for a migration, whichever workers carry it: steps, gates and attempts below the whole', async () => {
    const scenario = bench.prepare();
    scenario.next('prepareTarget', () => {
      throw failure('CLUSTER_UNREACHABLE', true, 'names a broker');
    });
    const migration = await bench.start(scenario, { gates: { cutover: { approvals: 1 } } });
    await migration.gate('cutover');
    await bench.stopWorkers();
    await bench.startWorkers();
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
    await bench.stopWorkers();
    await bench.startWorkers();
    await traces.end();

    const { runId } = await migration.handle.describe();
    const mine = collector.spans.filter(
      ({ attributes }) => attributes['temporal.workflow_id'] === migration.handle.workflowId,
    );
    assert.deepEqual([...new Set(mine.map(({ traceId, service }) => `${traceId} ${service}`))].length, 1, runId);
    const [root, ...others] = mine.filter(({ parentSpanId }) => parentSpanId === '');
    assert.equal(root?.name, `migration ${scenario.name}`);
    assert.equal(root?.attributes.outcome, 'completed');
    assert.deepEqual(others, []);
    assert.ok(mine.every((span) => span === root || span.parentSpanId === root?.spanId));
    assert.ok(mine.every((span) => span === root || (root && span.startMs >= Math.floor(root.startMs))));
    const named = (name: string) => mine.filter((span) => span.name === name);
    for (const step of [
      'preflight',
      'prepare-target',
      'mirror',
      'drain-lag',
      'fence',
      'sync-offsets',
      'verify',
      'finalize',
    ]) {
      assert.ok(named(`step ${step}`).length > 0, step);
    }
    assert.deepEqual(
      named('gate cutover').map(({ attributes: { outcome, wave } }) => [outcome, wave]),
      [['approved', 'all']],
    );
    assert.ok(named('step fence')[0]?.events.includes('close'));
    assert.equal(new Set(mine.map(({ spanId }) => spanId)).size, mine.length);
  });

  it('tell a failed attempt by its code, and of what it was asked the names alone', () => {
    const [failed] = attempts('prepareTarget').filter((span) => span.failure !== null);
    assert.equal(failed?.failure, 'CLUSTER_UNREACHABLE');
    assert.equal(failed?.attributes['error.type'], 'CLUSTER_UNREACHABLE');
    assert.equal(failed?.attributes.attempt, 1);
    assert.equal(failed?.attributes.wave, 'all');
    assert.doesNotMatch(JSON.stringify(collector.spans), /names a broker|"include"/);
  });

  it('are none where nobody asks for them, and refused where they could not be sent', async () => {
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
    assert.equal(await startTraces({}, log), noTraces);
    assert.equal(await startTraces({ ...endpoint, OTEL_SDK_DISABLED: 'true' }, log), noTraces);
    assert.equal(await startTraces({ ...endpoint, OTEL_TRACES_EXPORTER: 'none' }, log), noTraces);
    await assert.rejects(startTraces({ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, log), { code: 'USAGE' });
  });
});
