/** The Slack app: buttons, windows and the slash command, over Socket Mode or HTTP. Every request is acknowledged at once, then acted upon. */
import { App, HTTPReceiver, LogLevel, type Logger as SlackLogger, SocketModeReceiver, type webApi } from '@slack/bolt';
import type { Logger } from 'pino';
import { CutoverError } from '../../contract/errors.ts';
import type { CutoverClient } from '../cutover-client.ts';
import { Answers, readAsked, readShown, readShownFailure, type Steering } from './answers.ts';
import {
  actions,
  choiceActions,
  cut,
  detailsView,
  plain,
  reasonInput,
  reasonView,
  reasonWindow,
  statusText,
  textMax,
} from './blocks.ts';
import { Board } from './board.ts';
import type { SlackPolicy } from './policy.ts';
import { Watch } from './watch.ts';

export const command = '/cutover';
/** Slack gives a request three seconds; ours to Slack get more. */
const requestTimeoutMs = 10_000;
/** Slack's own requests are a few kilobytes. */
const bodyMax = '256kb';
export const requestsPath = '/slack/events';
export const healthPath = '/healthz';

export interface RunningApp extends AsyncDisposable {
  /** Of HTTP mode. */
  readonly port: number | null;
  /** Ends with `signal`. */
  readonly ended: Promise<void>;
}

/**
 * Connects to Slack and follows every migration until `signal`.
 *
 * @throws CutoverError SLACK_UNREACHABLE
 */
export async function startSlackApp(options: {
  readonly policy: SlackPolicy;
  readonly client: CutoverClient;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Makes the page of a migration that has ended, for its thread. */
  readonly report?: (migration: string) => Promise<string>;
}): Promise<RunningApp> {
  const { policy, client, log, signal, report = null } = options;
  const { requests } = policy;
  const logger = slackLogger(log);
  const clientOptions: webApi.WebClientOptions = {
    ...(policy.api && { slackApiUrl: policy.api }),
    timeout: requestTimeoutMs,
    logger,
    // A message that may have arrived is looked for before it is sent again (`Board`).
    retryConfig: { retries: 0 },
  };
  const receiver =
    requests.by === 'socket'
      ? new SocketModeReceiver({
          appToken: requests.appToken,
          logger,
          installerOptions: { clientOptions: { ...clientOptions, retryConfig: { retries: 100, factor: 1.3 } } },
        })
      : new HTTPReceiver({
          signingSecret: requests.signingSecret,
          endpoints: requestsPath,
          bodyLimit: bodyMax,
          logger,
          customRoutes: [{ path: healthPath, method: 'GET', handler: (_request, response) => response.end('ok') }],
        });
  const app = new App({
    token: policy.botToken,
    receiver,
    logger,
    clientOptions,
    convoStore: false,
    // Else it looks whether the token is good where nobody can catch that it is not: the process ends with Slack's whole answer.
    deferInitialization: true,
  });
  const board = new Board({ slack: app.client, channel: policy.channel, log });
  const watch = new Watch({ client, board, log, report });
  listen(app, new Answers(client, policy), watch, policy.channel, log);

  let port: number | null = null;
  try {
    await app.init();
    if (requests.by === 'http') {
      const server = await app.start({ port: requests.port, host: requests.host });
      const address = (server as import('node:http').Server).address();
      port = typeof address === 'object' && address ? address.port : requests.port;
    } else {
      await app.start();
    }
    // What cannot be read back could be posted twice: better known now.
    await watch.recall();
  } catch (cause) {
    await app.stop().catch(() => {});
    throw new CutoverError('SLACK_UNREACHABLE', {
      what: 'the Slack app cannot start',
      where: `channel ${policy.channel}`,
      found: (cause as Error).message,
    });
  }
  log.info({ channel: policy.channel, by: requests.by, port }, 'Slack app is ready');
  const ended = watch.run(signal).then(() => app.stop().then(() => {}));
  return { port, ended, [Symbol.asyncDispose]: () => ended };
}

function listen(app: App, answers: Answers, watch: Watch, channel: string, log: Logger): void {
  /** Does it, and tells the person alone what came of a refusal. */
  const forPerson = async (
    user: string,
    slack: webApi.WebClient,
    work: () => Promise<string | null>,
  ): Promise<void> => {
    let said: string | null;
    try {
      said = await work();
    } catch (error) {
      said = refusalText(error);
      log.warn({ user, text: (error as Error).message }, 'refused in Slack');
    }
    if (said === null) return;
    await slack.chat.postEphemeral({ channel, user, text: cut(said, textMax) }).catch((error: Error) => {
      log.warn({ user, text: error.message }, 'a person in Slack could not be told');
    });
  };

  app.action({ type: 'block_actions', action_id: actions.approve }, async ({ ack, body, action, client }) => {
    await ack();
    await forPerson(body.user.id, client, async () => {
      const { value, action_ts: clickedAt } = action as { value?: string; action_ts: string };
      const shown = readShown(value);
      await answers.answer('approve', shown, body.user.id, Number(clickedAt) * 1_000);
      await watch.look(shown.migration);
      return null;
    });
  });

  app.action({ type: 'block_actions', action_id: actions.reject }, async ({ ack, body, action, client }) => {
    await ack();
    await forPerson(body.user.id, client, async () => {
      const shown = readShown((action as { value?: string }).value);
      await client.views.open({ trigger_id: body.trigger_id, view: reasonView({ message: 'reject', ...shown }) });
      return null;
    });
  });

  app.action({ type: 'block_actions', action_id: actions.details }, async ({ ack, body, action, client }) => {
    await ack();
    await forPerson(body.user.id, client, async () => {
      const { look, gate } = await answers.look(readShown((action as { value?: string }).value));
      await client.views.open({ trigger_id: body.trigger_id, view: detailsView(look.status, gate) });
      return null;
    });
  });

  app.action({ type: 'block_actions', action_id: choiceActions.retry }, async ({ ack, body, action, client }) => {
    await ack();
    await forPerson(body.user.id, client, async () => {
      const failure = readShownFailure((action as { value?: string }).value);
      await answers.decide(failure, body.user.id);
      await watch.look(failure.migration);
      return null;
    });
  });

  // What cannot be taken back asks why, and so once more.
  for (const action_id of [choiceActions.skip, choiceActions.rollback]) {
    app.action({ type: 'block_actions', action_id }, async ({ ack, body, action, client }) => {
      await ack();
      await forPerson(body.user.id, client, async () => {
        const failure = readShownFailure((action as { value?: string }).value);
        await client.views.open({ trigger_id: body.trigger_id, view: reasonView({ message: 'decide', ...failure }) });
        return null;
      });
    });
  }

  app.view(reasonWindow, async ({ ack, body, view, client }) => {
    await ack();
    await forPerson(body.user.id, client, async () => {
      const asked = readAsked(view.private_metadata);
      const reason = view.state.values[reasonInput.block]?.[reasonInput.action]?.value ?? '';
      if (asked.message === 'reject') {
        // A window has no time of its own: its first opening counts, which its hash begins with.
        await answers.answer('reject', asked, body.user.id, openedAtMs(view.hash), reason);
        await watch.look(asked.migration);
        return null;
      }
      if (asked.message === 'decide') {
        await answers.decide(asked, body.user.id, reason);
        await watch.look(asked.migration);
        return null;
      }
      const said = await answers.steer('rollback', asked, body.user.id, view.id, reason);
      await watch.look(asked.migration);
      return `${asked.migration}: ${plain(said)}`;
    });
  });

  app.command(command, async ({ ack, body, respond, client }) => {
    await ack();
    const [what = 'status', name, ...reason] = body.text.trim().split(/\s+/).filter(Boolean);
    try {
      const look = await answers.named(name);
      const { firstRunId: run, status } = look;
      const migration = status.name;
      if (what === 'status') {
        await respond({ response_type: 'ephemeral', text: statusText(status) });
      } else if (what === 'pause' || what === 'resume') {
        const steering: Steering = what;
        const said = await answers.steer(steering, { migration, run }, body.user_id, body.trigger_id, reason.join(' '));
        await respond({ response_type: 'ephemeral', text: `${migration}: ${plain(said)}` });
        await watch.look(migration);
      } else if (what === 'rollback') {
        await client.views.open({
          trigger_id: body.trigger_id,
          view: reasonView({ message: 'rollback', migration, run }),
        });
      } else {
        throw new CutoverError('USAGE', { what: 'no such command', found: what, wanted: usage });
      }
    } catch (error) {
      log.warn({ user: body.user_id, text: (error as Error).message }, 'refused in Slack');
      await respond({ response_type: 'ephemeral', text: cut(refusalText(error), textMax) });
    }
  });

  app.error(async (error) => log.error({ text: error.message }, 'a request of Slack could not be handled'));
}

const usage = `${command} status|pause|resume|rollback [NAME] [REASON]`;

/** `1700000000.abcdef`. */
function openedAtMs(hash: string): number {
  const seconds = Number(hash.split('.')[0]);
  return Number.isFinite(seconds) ? seconds * 1_000 : Date.now();
}

function refusalText(error: unknown): string {
  if (!(error instanceof CutoverError))
    return ':warning: this did not work; the log of the Slack app says why. Try again.';
  return `:no_entry: ${plain(error.message)}`;
}

/** Slack's libraries log requests, tokens and what people wrote at level debug: that is left out. */
function slackLogger(log: Logger): SlackLogger {
  const said = (parts: unknown[]) =>
    parts.map((part) => (part instanceof Error ? part.message : String(part))).join(' ');
  return {
    debug: () => {},
    info: (...parts) => log.debug(said(parts)),
    warn: (...parts) => log.warn(said(parts)),
    error: (...parts) => log.error(said(parts)),
    setLevel: () => {},
    getLevel: () => LogLevel.INFO,
    setName: () => {},
  };
}
