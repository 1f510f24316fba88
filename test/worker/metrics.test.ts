/** What a worker's Prometheus endpoint shows of a migration; and that dashboard and alert rules ask for nothing else. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse as parseYaml } from 'yaml';
import { asActivities, cancellation } from '../../activities/failures.ts';
import { reminderActivities } from '../../activities/gates.ts';
import { MirrorMetrics } from '../../activities/metrics.ts';
import { askHealth } from '../../client/worker-health.ts';
import type { PartitionProgress } from '../../mirror/mirror.ts';
import { freePorts } from '../../stack/ports.ts';
import { metricsTelemetry } from '../../worker/metrics.ts';
import { Bench } from '../workflows/support/bench.ts';

const example = (name: string) => readFileSync(new URL(`../../examples/monitoring/${name}`, import.meta.url), 'utf8');
const awaitMaxMs = 20_000;

let bench: Bench;
let address: string;
before(async () => {
  const [port = 0] = await freePorts(1);
  address = `127.0.0.1:${port}`;
  bench = await Bench.start(null, address);
});
after(() => bench[Symbol.asyncDispose]());

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
  };

  it('follow a migration, and are all that dashboard and alerts ask for', async () => {
    const scenario = bench.prepare();
    const tags = { migration: scenario.name, wave: 'all', direction: 'forward' } as const;
    const mirror = asActivities({
      mirror: async () => {
        using metrics = new MirrorMetrics(tags);
        const startedAt = Date.now();
        metrics.observe([{ ...progress, position: 100n, records: 30, bytes: 3_000 }], startedAt - 7_000);
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
});
