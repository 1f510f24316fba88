/** A failed step and the end of a migration in Slack, against a stand-in of Slack and of what the workflow says. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pino } from 'pino';
import type { CutoverClient, Observation } from '../../client/cutover-client.ts';
import { startSlackApp } from '../../client/slack/app.ts';
import { type StatusAnswer, statusAnswer } from '../../client/temporal-answers.ts';
import type { DecideMessage } from '../../contract/status.ts';
import { SlackStandIn } from './stand-in.ts';

const firstAt = '2026-11-23T00:00:00.000Z';
const secondAt = '2026-11-23T00:00:05.000Z';

/** A workflow whose `verify` fails, fails again when it is retried, and is over once it is skipped. */
class FailingTwice {
  readonly sent: { readonly id: string | undefined; readonly body: DecideMessage }[] = [];
  looks = 0;
  ending: Observation['ending'] = null;
  status: StatusAnswer = this.#failed(firstAt, []);

  client(): CutoverClient {
    const running = async () => {
      this.looks += 1;
      return this.ending ? [] : ['orders'];
    };
    const observe = async () => ({ firstRunId: '0a1b2c3d-run', note: null, ending: this.ending, status: this.status });
    const send = async (
      _name: string,
      _message: string,
      body: DecideMessage,
      _gate: null,
      options: { id?: string },
    ) => {
      const again = this.sent.some(({ id }) => id === options.id);
      this.sent.push({ id: options.id, body });
      if (!again) this.#decided(body);
      return { message: 'decide', by: body.by, at: firstAt, text: 'decided' };
    };
    return { running, observe, send } as unknown as CutoverClient;
  }

  #decided({ choice, by, reason }: DecideMessage): void {
    const line = `2026-11-23T00:00:04.000Z decided ${choice} for verify, by ${by} (claimed, update): ${reason}`;
    if (choice === 'retry') {
      this.status = this.#failed(secondAt, [line]);
      return;
    }
    const later = line.replace('00:04', '00:09');
    const decisions = [...this.status.decisions, later];
    this.status = statusAnswer.parse({ ...this.status, failedStep: null, decisions });
    this.ending = { outcome: 'completed', code: null, message: null, evidence: null };
  }

  #failed(at: string, decisions: readonly string[]): StatusAnswer {
    const choices = ['retry', 'rollback', 'skip'];
    const failedStep = { step: 'verify', code: 'PARITY_FAILED', message: 'PARITY_FAILED: 2 differ', choices, at };
    return statusAnswer.parse({ name: 'orders', step: 'verify', state: 'waiting', wave: 'all', failedStep, decisions });
  }
}

async function connected(report?: (migration: string) => Promise<string>) {
  const slack = await SlackStandIn.start();
  const workflow = new FailingTwice();
  const stop = new AbortController();
  const app = await startSlackApp({
    policy: slack.policy({ U0ANA: 'ana', U0BEN: 'ben' }),
    client: workflow.client(),
    log: pino({ level: 'silent' }),
    signal: stop.signal,
    ...(report && { report }),
  });
  return {
    slack,
    workflow,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await app.ended;
      await slack[Symbol.asyncDispose]();
      assert.deepEqual(slack.refused, []);
    },
  };
}

describe('a failed step in Slack', () => {
  it('has a message with its ways on: one decision a click, for this failure, and why before it is skipped', async () => {
    await using stage = await connected();
    const { slack, workflow } = stage;
    const first = await slack.until('the failure is posted', () => slack.failures('orders')[0]);
    for (const part of ['verify failed', '2 differ', firstAt, 'Retry', 'Skip', 'Roll back']) {
      assert.ok(JSON.stringify(first.blocks).includes(part), `${part} in ${JSON.stringify(first.blocks)}`);
    }
    await slack.send(slack.click(first, 'Retry', 'U0EVE'));
    await slack.until('eve is told', () => slack.told.find(({ text }) => text.includes('NOT_AN_APPROVER')));
    assert.equal(workflow.sent.length, 0);

    const retry = slack.click(first, 'Retry', 'U0ANA');
    await Promise.all([slack.send(retry), slack.send(retry)]);
    const second = await slack.until('it failed again', () => slack.failures('orders')[1]);
    await slack.until('the first says who', () => first.text.includes('decided retry for verify, by ana'));
    assert.ok(!JSON.stringify(first.blocks).includes('actions'));
    await slack.send(slack.click(second, 'Skip', 'U0BEN'));
    const view = await slack.until('a window asks why', () => slack.views[0]);
    await slack.send(slack.submit(view, 'compared by hand', 'U0BEN'));
    await slack.until('the second says why', () => /skip for verify, by ben .*: compared by hand/.test(second.text));

    const said = workflow.sent.map(({ body }) => [body.by, body.choice, body.failedAt]);
    assert.deepEqual(said.at(0), ['ana', 'retry', firstAt]);
    assert.deepEqual(said.at(-1), ['ben', 'skip', secondAt]);
    assert.equal(new Set(workflow.sent.map(({ id }) => id)).size, 2, 'a repeated click goes under the same id');
    assert.equal(slack.failures('orders').length, 2);
  });
});

describe('the report in the thread', () => {
  it('is put there once, also where it cannot be made at first, and where an answer is lost', async () => {
    let asked = 0;
    const report = async (migration: string) => {
      asked += 1;
      if (asked === 1) throw new Error('a cluster does not answer');
      return `<html>${migration} → done</html>`;
    };
    await using stage = await connected(report);
    const { slack, workflow } = stage;
    slack.loseAnswerOf.add('files.completeUploadExternal');
    const failure = await slack.until('the failure is posted', () => slack.failures('orders')[0]);
    await slack.send(slack.click(failure, 'Skip', 'U0ANA'));
    await slack.send(slack.submit(await slack.until('a window asks why', () => slack.views[0]), 'fine', 'U0ANA'));
    await slack.until('the report is there', () => slack.messages.some(({ files }) => files));
    // The answer was lost: with the next look, which is over when another one begins, it is looked for.
    const looks = workflow.looks + 2;
    await slack.until('it was looked for', () => workflow.looks >= looks);
    const shared = slack.messages.filter(({ files }) => files);
    assert.deepEqual([shared.length, slack.uploads.size, asked], [1, 1, 2]);
    const [message] = shared;
    assert.equal(message?.thread_ts, slack.cards('orders')[0]?.ts);
    assert.equal(message?.files?.[0]?.name, 'orders-0a1b2c3d.html');
    assert.equal([...slack.uploads.values()][0]?.text, '<html>orders → done</html>');
  });
});
