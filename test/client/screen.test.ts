import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { LiveView, type ShardSample } from '../../client/live.ts';
import { LiveScreen } from '../../client/live-screen.ts';
import { percent, progressBar } from '../../client/progress-bar.ts';
import { sparkline } from '../../client/sparkline.ts';
import { plainStyle, type Shown, statusLines } from '../../client/status-screen.ts';
import { statusAnswer } from '../../client/temporal-answers.ts';
import { printable, toJson } from '../../client/terminal.ts';
import { bytes, count, duration, roughly } from '../../client/units.ts';

const ascii = { width: 10, unicode: false };
const now = Date.parse('2026-11-22T12:00:00Z');

describe('a progress bar', () => {
  it('fills with the position', () => {
    assert.equal(progressBar(0, 100, ascii), '[----------]');
    assert.equal(progressBar(50, 100, ascii), '[#####-----]');
    assert.equal(progressBar(100, 100, ascii), '[##########]');
    assert.equal(progressBar(25, 100, { width: 10, unicode: true }), '▕██▌       ▏');
  });

  it('is full only when nothing is missing', () => {
    assert.equal(progressBar(999_999_999, 1_000_000_000, ascii), '[#########-]');
    assert.equal(percent(999_999_999, 1_000_000_000), ' 99.9%');
    assert.equal(percent(1_000_000_000, 1_000_000_000), '100.0%');
  });

  it('is full for an empty log, and never too long', () => {
    assert.equal(progressBar(0, 0, ascii), '[##########]');
    assert.equal(progressBar(120, 100, ascii), '[##########]');
    assert.equal(progressBar(-5, 100, ascii), '[----------]');
    for (let position = 0; position <= 1_000; position++) {
      assert.equal([...progressBar(position, 1_000, { width: 17, unicode: true })].length, 19);
    }
  });
});

describe('a curve in one line', () => {
  it('rises with its values, and shows a little as more than nothing', () => {
    assert.equal(sparkline([0, 1, 50, 100, 700, 350, 0]), '▁▂▂▂█▅▁');
    assert.equal(sparkline([0, 0]), '▁▁');
  });
});

describe('numbers for people', () => {
  it('are short and rounded down', () => {
    assert.deepEqual([0, 999, 4_290, 61_000, 5 * 3_600_000, 90_000_000, -1].map(duration), [
      '0 ms',
      '999 ms',
      '4.2 s',
      '1m 01s',
      '5h 00m',
      '1d 1h',
      '-',
    ]);
    assert.deepEqual([0, 999, 45_290, 1_999_999].map(roughly), ['0', '999', '45.2k', '1.9M']);
    assert.deepEqual([0, 22_150_000].map(bytes), ['0 B', '22.1 MB']);
    assert.equal(count(1_204_551), '1,204,551');
  });

  it('are decimal strings in JSON where they are bigint', () => {
    assert.equal(toJson({ offset: 9007199254740993n }), '{"offset":"9007199254740993"}');
  });
});

describe('live progress', () => {
  const sample = (id: string, at: number, position: number, more: Partial<ShardSample['progress']> = {}) => ({
    activityId: id,
    heartbeatAtMs: at,
    progress: {
      kind: 'mirror' as const,
      direction: 'forward' as const,
      wave: 'all',
      topics: { orders: { position, end: 1_000, records: position, bytes: position * 10 } },
      ...more,
    },
  });

  it('adds up the shards of a topic, and takes the rate over the time between two heartbeats', () => {
    const view = new LiveView();
    const first = view.update([sample('1', 1_000, 100), sample('2', 1_000, 0)]).orders;
    assert.deepEqual([first?.position, first?.end, first?.lag, first?.rate], [100, 2_000, 1_900, null]);

    const second = view.update([sample('1', 3_000, 300), sample('2', 2_000, 50)]).orders;
    assert.equal(second?.position, 350);
    assert.equal(second?.rate, 150); // 100/s and 50/s
    assert.equal(second?.bytesPerSecond, 1_500);
    assert.equal(second?.etaMs, 11_000); // 1,650 to go
    assert.equal(second?.asOf, new Date(2_000).toISOString());
  });

  it('keeps the rate while the same heartbeat is seen again, and survives a restarted shard', () => {
    const view = new LiveView();
    view.update([sample('1', 1_000, 100)]);
    view.update([sample('1', 2_000, 200)]);
    assert.equal(view.update([sample('1', 2_000, 200)]).orders?.rate, 100);
    const restarted = sample('1', 3_000, 200);
    restarted.progress.topics = { orders: { position: 200, end: 1_000, records: 0, bytes: 0 } };
    assert.equal(view.update([restarted]).orders?.rate, 0);
  });

  it('shows where the audit is, and the way back once there is one', () => {
    const view = new LiveView();
    const audit = sample('9', 1_000, 80, { kind: 'audit' });
    assert.equal(view.update([sample('1', 1_000, 100), audit]).orders?.audited, 80);
    const back = sample('2', 1_000, 7, { direction: 'reverse' });
    const live = view.update([sample('1', 1_000, 100), back]).orders;
    assert.deepEqual([live?.direction, live?.position, live?.audited], ['reverse', 7, null]);
  });
});

describe('the status for people', () => {
  const status = (extra: object) =>
    statusAnswer.parse({ name: 'orders', step: 'fence', state: 'waiting', source: 'legacy', target: 'next', ...extra });
  const shown = (extra: object): Shown => ({
    status: status(extra),
    note: null,
    retrying: [],
    ending: null,
    live: {},
    awaySince: null,
  });
  const text = (extra: object) => statusLines(shown(extra), plainStyle(now)).join('\n');
  const gate = {
    gate: 'cutover',
    wave: 'eu',
    needed: 2,
    approvers: ['Kafka-Owner', 'orders-owner'],
    given: [{ by: 'kafka-owner', at: '2026-11-22T11:59:00Z', how: 'claimed', channel: 'signal' }],
    digest: 'abc',
    deadline: '2026-11-23T11:00:00Z',
    openedAt: '2026-11-22T11:58:00Z',
    facts: ['lag 3 records'],
  };

  it('draws how lag went below the topics, where the terminal can', () => {
    const look = { ...shown({}), lags: [7_000, 3_500, 0] };
    const drawn = statusLines(look, { ...plainStyle(now), unicode: true });
    assert.ok(drawn.includes('  lag █▅▁ 0, most 7.0k in 3 looks'), drawn.join('\n'));
    assert.ok(!statusLines(look, plainStyle(now)).some((line) => line.includes('looks')));
  });

  it('says who has approved, who is awaited until when, and what to type', () => {
    const lines = text({ gates: [gate] });
    assert.match(lines, /gate cutover \(wave eu\) waits for 1 approval\n/);
    assert.match(lines, /given +kafka-owner \(claimed, signal, 2026-11-22T11:59:00Z\)/);
    assert.match(lines, /awaited +1 of 2 from: orders-owner\n/);
    assert.match(lines, /deadline +2026-11-23T11:00:00Z \(in 23h 00m\), then rejects/);
    assert.match(lines, /to know +lag 3 records/);
    assert.ok(lines.includes('kafka-cutover approve orders cutover --wave eu --by WHO'));
    assert.ok(lines.includes(`--name approve --input '{"gate":"cutover","wave":"eu","by":"WHO"}'`));
  });

  it("says the mirror's limit and shards, and what was tuned and waits", () => {
    const inForce = { maxBytesPerSecond: 0, shards: 2 };
    assert.match(text({ mirror: { ...inForce, tuned: null } }), /^mirror: no limit, 2 shards$/m);
    const tuned = { maxBytesPerSecond: 20_000_000, shards: 1 };
    assert.match(
      text({ mirror: { ...inForce, tuned } }),
      /mirror: no limit, 2 shards; once applications write again: at most 20\.0 MB\/s, 1 shard$/m,
    );
    assert.doesNotMatch(text({ mirror: { maxBytesPerSecond: 0, shards: 1, tuned: null } }), /mirror:/);
  });

  it('says that a gate without approvals goes on by itself', () => {
    const lines = text({ gates: [{ ...gate, gate: 'finalize', needed: 0, given: [] }] });
    assert.match(lines, /gate finalize \(wave eu\) is open\n/);
    assert.match(lines, /then goes on by itself/);
    assert.doesNotMatch(lines, /awaited/);
  });

  it('lists what can be decided after a failure, and what could not be undone', () => {
    const failedStep = {
      step: 'verify',
      code: 'PARITY_FAILED',
      message: 'PARITY_FAILED: orders/3',
      choices: ['retry'],
    };
    const lines = text({ failedStep, notUndone: ['topic orders on next: delete it by hand'] });
    assert.match(
      lines,
      /verify failed: PARITY_FAILED: orders\/3\n {2}kafka-cutover decide orders verify retry --by WHO/,
    );
    assert.match(lines, /not undone: topic orders on next/);
  });

  it('shows steps done, running and to come', () => {
    const step = (name: string, endedAt: string | null) => ({
      step: name,
      wave: 'all',
      startedAt: '2026-11-22T11:50:00Z',
      endedAt,
      summary: endedAt ? 'did it' : '',
    });
    const lines = text({ state: 'running', steps: [step('preflight', '2026-11-22T11:50:04Z'), step('mirror', null)] });
    assert.match(lines, /x preflight +4\.0 s {2}did it/);
    assert.match(lines, /> mirror +10m 00s/);
    assert.match(lines, /\n {4}drain-lag\n[\s\S]*\n {4}finalize/);
  });

  it('shows every wave: where it stands, and which cluster may be written since when and on what proof', () => {
    const waves = [
      { wave: 'eu', step: 'finalize', state: 'waiting', sourceOfTruth: 'target', since: 'T1', proof: 'legacy closed' },
      { wave: 'us', step: 'drain-lag', state: 'running', sourceOfTruth: 'source', since: null, proof: '' },
      { wave: 'asia', step: null, state: null, sourceOfTruth: 'source', since: null, proof: '' },
    ];
    const steps = [
      { step: 'finalize', wave: 'eu', startedAt: '2026-11-22T11:50:00Z', endedAt: null },
      { step: 'drain-lag', wave: 'us', startedAt: '2026-11-22T11:50:00Z', endedAt: null },
    ];
    const lines = text({ state: 'waiting', waves, steps, gates: [{ ...gate, gate: 'finalize', wave: 'eu' }] });
    assert.match(lines, /\n {2}eu +waiting at finalize +source of truth: target +since T1 \(legacy closed\)\n/);
    assert.match(lines, /\n {2}us +running at drain-lag +source of truth: source/);
    assert.match(lines, /\n {2}asia +not begun +source of truth: source/);
    assert.match(lines, /= finalize eu +10m 00s +waits at gate finalize\n/);
    assert.match(lines, /> drain-lag us /);
  });

  it('reads what an older build answers, and keeps what a newer one adds', () => {
    const read = statusAnswer.parse({ name: 'a', step: 'mirror', state: 'running', shiny: 1 });
    assert.deepEqual(read.gates, []);
    assert.equal(read.shiny, 1);
  });

  it('does not let names and reasons from outside write to the screen', () => {
    const lines = text({ gates: [{ ...gate, given: [{ by: '\x1b[2Jroot\u202e', at: '' }] }] });
    assert.ok(!lines.includes('\x1b'));
    assert.ok(lines.includes('?[2Jroot?'));
    assert.equal(printable('a\nb', '\n'), 'a\nb');
  });
});

describe('the live screen', () => {
  /** Enough of a terminal: it wraps, scrolls, moves up and clears to the end. */
  class FakeTerminal {
    rows: string[] = [''];
    readonly #columns: number;
    readonly #height: number;
    constructor(columns: number, height: number) {
      this.#columns = columns;
      this.#height = height;
    }
    write(text: string): void {
      const up = /\[(\d+)A/.exec(text)?.[1];
      if (up) {
        assert.ok(Number(up) < this.#height, 'what has scrolled off cannot be reached');
        this.rows.splice(this.rows.length - 1 - Number(up));
        this.rows.push('');
      }
      for (const character of stripVTControlCharacters(text).replaceAll('\r', '')) {
        if (character === '\n') this.rows.push('');
        else if ((this.rows.at(-1)?.length ?? 0) === this.#columns) this.rows.push(character);
        else this.rows[this.rows.length - 1] += character;
      }
    }
    columns = () => this.#columns;
    height = () => this.#height;
  }
  const on = (terminal: FakeTerminal) =>
    new LiveScreen({ write: (text) => terminal.write(text), columns: terminal.columns, rows: terminal.height });

  it('draws over itself, also where lines wrap', () => {
    const terminal = new FakeTerminal(10, 20);
    using screen = on(terminal);
    screen.draw(['first', 'a line that wraps']);
    screen.draw(['second']);
    screen.draw(['third', '0123456789', 'end']);
    assert.deepEqual(terminal.rows, ['third', '0123456789', 'end', '']);
  });

  it('never grows beyond the screen', () => {
    const terminal = new FakeTerminal(20, 10);
    using screen = on(terminal);
    const lines = Array.from({ length: 50 }, (_, index) => `line ${index}`);
    for (let round = 0; round < 5; round++) screen.draw(lines);
    assert.ok(terminal.rows.length <= 10);
    assert.equal(terminal.rows[0], 'line 0');
    assert.equal(terminal.rows.at(-2), 'line 49');
    assert.ok(terminal.rows.some((row) => /more lines/.test(row)));
  });
});
