/** What the Slack app shows and reads, without Slack: within its limits, and from files that people write. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  cardOf,
  closedFailure,
  closedGate,
  cut,
  detailsView,
  failedStep,
  openGate,
  plain,
  reasonView,
  statusText,
  textMax,
} from '../../client/slack/blocks.ts';
import { readSlackPolicy } from '../../client/slack/policy.ts';
import { entriesOf } from '../../client/slack/thread.ts';
import { statusAnswer } from '../../client/temporal-answers.ts';
import { written } from '../client/command-line.ts';
import { wrongBlocks, wrongView } from './block-kit.ts';
import { manifest } from './stand-in.ts';

const example = (name: string) => readFileSync(new URL(`../../examples/slack/${name}`, import.meta.url), 'utf8');

describe('messages', () => {
  const evil = '<!channel> <@U0ANA> <https://evil.example|approve> & \u202e*_~`\u0007';
  const long = evil.repeat(1_000);
  const gate = {
    gate: 'cutover',
    wave: `w${'a'.repeat(62)}`,
    needed: 20,
    approvers: Array.from({ length: 200 }, (_, index) => `${evil} ${index}`),
    given: Array.from({ length: 19 }, (_, index) => ({
      by: `${evil} ${index}`,
      at: 'T',
      how: 'claimed',
      channel: 'signal',
    })),
    digest: 'd'.repeat(64),
    deadline: '2026-11-23T00:00:00Z',
    openedAt: '2026-11-22T00:00:00Z',
    facts: Array.from({ length: 50 }, () => long),
  };
  const finding = { code: 'FENCE_ON_TRUST', severity: 'warning', where: long, message: long };
  const status = statusAnswer.parse({
    name: 'n'.repeat(63),
    step: 'fence',
    state: 'waiting',
    source: long,
    target: long,
    awaiting: gate,
    gates: Array.from({ length: 50 }, () => gate),
    lagRecords: 5,
    failedStep: {
      step: 'verify',
      code: 'PARITY_FAILED',
      message: long,
      choices: ['retry', 'skip', 'rollback'],
      at: 'T',
    },
    wave: `w${'a'.repeat(62)}`,
    decisions: [`T1 ${long}`],
    findings: [{ ...finding, waived: { by: long, reason: long } }, ...Array.from({ length: 49 }, () => finding)],
    refused: [{ message: 'approve', by: long, at: 'T', code: 'NOT_AN_APPROVER', text: long }],
    steps: Array.from({ length: 50 }, () => ({ step: 'fence', startedAt: 'T', summary: long })),
    notUndone: [long],
    next: long,
  });
  const [shown] = status.gates;
  assert.ok(shown);
  const answered = { ...gate, outcome: 'rejected', by: [{ by: long, how: 'claimed' }], at: 'T', reason: long };

  it('stay within what Slack takes and call nobody, whatever a plan or a person has written', () => {
    const contents = [
      cardOf(status, { note: long, outcome: null }),
      cardOf(status, { note: null, outcome: 'failed' }),
      openGate(status, shown, 'run'),
      closedGate(status.name, gate, answered),
      closedGate(status.name, gate, null),
      failedStep(status, 'run') ?? assert.fail(),
      closedFailure(status, { step: 'verify', wave: null, at: 'T' }),
    ];
    for (const { text, blocks } of contents) {
      assert.deepEqual(wrongBlocks(blocks), []);
      assert.ok(text.length > 0 && text.length <= textMax);
      assert.doesNotMatch(text, /<[!@h]/);
    }
    const about = {
      migration: status.name,
      run: 'run',
      gate: 'cutover',
      wave: gate.wave,
      openedAt: 'T',
      digest: gate.digest,
    };
    for (const view of [
      detailsView(status, shown),
      reasonView({ message: 'reject', ...about }),
      reasonView({ message: 'rollback', migration: status.name, run: 'run' }),
      ...(['retry', 'skip', 'rollback'] as const).map((choice) =>
        reasonView({ message: 'decide', ...about, step: 'prepare-target', failedAt: 'T', choice }),
      ),
    ]) {
      assert.deepEqual(wrongView(view as unknown as Record<string, unknown>), []);
    }
    const ending = { outcome: 'failed', code: 'INTERNAL', message: long, evidence: null };
    for (const { text } of entriesOf(status, ending)) {
      assert.doesNotMatch(text, /<[!@h]/);
      assert.ok(!text.includes('\u202e') && !text.includes('\u0007'));
    }
    assert.doesNotMatch(statusText(status), /<[!@h]/);
  });

  it('are cut between characters that belong together', () => {
    assert.equal(cut(plain('abc<'), 7), 'abc&lt;');
    assert.equal(cut(plain('abc<d'), 7), 'abc…');
    assert.equal(cut(plain('abc<d'), 8), 'abc&lt;d');
  });

  it('no window asks to reject the gate that waits until a fence is lifted', () => {
    const texts = JSON.stringify(openGate(status, { ...shown, gate: 'unfence' }, 'run').blocks);
    assert.match(texts, /Approve/);
    assert.doesNotMatch(texts, /Reject/);
  });
});

describe('slack.yaml', () => {
  const env = {
    SLACK_BOT_TOKEN: 'planted-bot',
    SLACK_APP_TOKEN: 'planted-app',
    SLACK_SIGNING_SECRET: 'planted-signing',
  };
  const text = example('slack.yaml');

  it('as in the example, by socket and by HTTP', () => {
    const policy = readSlackPolicy(written(text), env);
    assert.deepEqual(policy.requests, { by: 'socket', appToken: 'planted-app' });
    assert.deepEqual(policy.users.get('U0AAAAAAA01'), 'kafka-owner');
    const http = text.replace(/^appToken:.*$/m, '').replace('# http:', 'http:');
    const requests = { by: 'http', host: '0.0.0.0', port: 3_000, signingSecret: 'planted-signing' };
    assert.deepEqual(readSlackPolicy(written(http), env).requests, requests);
  });

  it('is refused with the place of what is wrong, and without its secrets', () => {
    const cases: [string, RegExp][] = [
      [text.replace('C0123456789', '#cutovers'), / at channel\)/],
      [text.replace('U0AAAAAAA01', 'ana'), / at users\.ana\)/],
      [text.replace('# http:', 'http:'), /wanted one of `appToken` \(Socket Mode\) and `http`/],
      [text.replace('{ env: SLACK_BOT_TOKEN }', 'xoxb-planted'), / at botToken\)/],
      [text.replace('SLACK_BOT_TOKEN', 'NOT_SET'), /the environment variable is not set .* at botToken\)/],
      [text.replace('# key: { file: slack.pem }', 'key: { env: SLACK_BOT_TOKEN }'), /no Ed25519 private key/],
      [`${text}\nuser: {}`, /Unrecognized key: "user"/],
    ];
    for (const [wrong, message] of cases) {
      assert.throws(
        () => readSlackPolicy(written(wrong), env),
        (error: Error) => {
          assert.match(error.message, /^SLACK_INVALID: /);
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /planted/);
          return true;
        },
      );
    }
  });
});

describe("the app's manifest", () => {
  it('is the one in docs/slack.md, and so is the policy', () => {
    const document = readFileSync(new URL('../../docs/slack.md', import.meta.url), 'utf8');
    for (const name of ['manifest.yaml', 'slack.yaml']) {
      assert.ok(document.includes(`\`\`\`yaml\n${example(name)}\`\`\``), `${name} in docs/slack.md`);
    }
    assert.equal(manifest.settings.socket_mode_enabled, true);
  });
});
