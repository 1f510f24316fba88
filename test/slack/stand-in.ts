/**
 * Slack as the app meets it: the Web API, Socket Mode and signed requests over HTTP. What it sends is of Slack's published types; what it
 * is sent is checked as Slack does, and refused with Slack's words.
 */
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlockAction, ButtonAction, SlashCommand, ViewSubmitAction } from '@slack/bolt';
import { type WebSocket, WebSocketServer } from 'ws';
import { parse as parseYaml } from 'yaml';
import type { SlackPolicy } from '../../client/slack/policy.ts';
import { wrongBlocks, wrongView } from './block-kit.ts';

type Thing = Record<string, unknown>;

export interface Message {
  readonly ts: string;
  readonly thread_ts: string | null;
  text: string;
  blocks: Thing[];
  metadata: { event_type: string; event_payload: Thing } | null;
  readonly bot_id: string;
  readonly broadcast: boolean;
  readonly files?: readonly { readonly id: string; readonly name: string; readonly title: string }[];
  edits: number;
}

export interface View {
  readonly id: string;
  readonly hash: string;
  readonly callback_id: string;
  readonly private_metadata: string;
  readonly title: { text: string };
  readonly blocks: Thing[];
}

/** What the manifest that people install has asked for. */
const manifestFile = new URL('../../examples/slack/manifest.yaml', import.meta.url);
export const manifest = parseYaml(readFileSync(manifestFile, 'utf8')) as {
  readonly features: { readonly slash_commands: readonly { readonly command: string }[] };
  readonly oauth_config: { readonly scopes: { readonly bot: readonly string[] } };
  readonly settings: Readonly<Record<string, unknown>>;
};

/** One of them is wanted (each method's page on docs.slack.dev); of history for public and private channels both. */
const scopesOf: Readonly<Record<string, readonly string[]>> = {
  'auth.test': [],
  'apps.connections.open': [],
  'chat.postMessage': ['chat:write'],
  'chat.update': ['chat:write'],
  'chat.postEphemeral': ['chat:write'],
  'conversations.history': ['channels:history', 'groups:history'],
  'conversations.replies': ['channels:history', 'groups:history'],
  'views.open': [],
  'files.getUploadURLExternal': ['files:write'],
  'files.completeUploadExternal': ['files:write'],
};

const awaitMaxMs = 30_000;
/** Where the app still runs, as in a test that has failed. */
const closeMaxMs = 2_000;
const team = { id: 'T0TEAM', domain: 'team' };
const appId = 'A0APP';
export const signingSecret = 'planted-signing-secret';
const botToken = 'xoxb-planted-bot-token';
const appToken = 'xapp-planted-app-token';

export class SlackStandIn implements AsyncDisposable {
  readonly channel: string;
  readonly messages: Message[] = [];
  readonly views: View[] = [];
  /** What one person alone was told. */
  readonly told: { readonly user: string; readonly text: string }[] = [];
  /** What was refused: empty in a test that is over. */
  readonly refused: string[] = [];
  /** `method`: the next call is taken, and its answer lost. */
  readonly loseAnswerOf = new Set<string>();
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  readonly #acknowledged = new Set<string>();
  /** Files by id: announced, then sent, then shared. */
  readonly uploads = new Map<string, { readonly name: string; readonly length: number; text: string | null }>();
  #clock = 1_700_000_000_000_000;

  private constructor(server: Server, channel: string) {
    this.#server = server;
    this.channel = channel;
    this.#sockets = new WebSocketServer({ server, path: '/link' });
    this.#sockets.on('connection', (socket) => this.#connected(socket));
    server.on('request', (request, response) => void this.#answer(request, response));
  }

  static async start(channel = 'C0CHANNEL'): Promise<SlackStandIn> {
    const server = createServer();
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    return new SlackStandIn(server, channel);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  policy(users: Record<string, string>, more: Partial<SlackPolicy> = {}): SlackPolicy {
    return {
      channel: this.channel,
      botToken,
      requests: { by: 'socket', appToken },
      key: null,
      report: false,
      users: new Map(Object.entries(users)),
      api: `${this.url}/api/`,
      ...more,
    };
  }

  /** The same as a file. */
  policyFile(users: Record<string, string>): { text: string; env: NodeJS.ProcessEnv } {
    const policy = {
      channel: this.channel,
      botToken: { env: 'BOT_TOKEN' },
      appToken: { env: 'APP_TOKEN' },
      users,
      api: `${this.url}/api/`,
    };
    return { text: JSON.stringify(policy), env: { BOT_TOKEN: botToken, APP_TOKEN: appToken } };
  }

  // ---- What people see

  gates(migration: string): Message[] {
    return this.#of('kafka_cutover_gate', migration);
  }

  failures(migration: string): Message[] {
    return this.#of('kafka_cutover_failure', migration);
  }

  cards(migration: string): Message[] {
    return this.#of('kafka_cutover_card', migration);
  }

  thread(card: Message | undefined): string {
    return this.messages
      .filter(({ thread_ts }) => card !== undefined && thread_ts === card.ts)
      .map(({ text }) => text)
      .join('\n');
  }

  #of(type: string, migration: string): Message[] {
    return this.messages.filter(
      ({ metadata }) => metadata?.event_type === type && metadata.event_payload.migration === migration,
    );
  }

  async until<Found>(what: string, look: () => Found | undefined | false | null): Promise<Found> {
    const deadline = Date.now() + awaitMaxMs;
    for (;;) {
      const found = look();
      if (found) return found;
      if (Date.now() > deadline) {
        const seen = this.messages.map(({ text, metadata }) => `${metadata?.event_type}: ${text}`).join('\n');
        throw new Error(
          `waited in vain until ${what}: ${seen}; told ${JSON.stringify(this.told)}; ${this.refused.join('; ')}`,
        );
      }
      await sleep(10);
    }
  }

  /** The message of the gate, open, as it says something. */
  gate(migration: string, gate: string): Promise<Message> {
    return this.until(`gate ${gate} of ${migration} is posted`, () =>
      this.gates(migration).findLast(({ text }) => text.includes(`gate ${gate}`) && text.includes(' is open')),
    );
  }

  // ---- What people do

  click(message: Message, button: string, user: string): BlockAction<ButtonAction> {
    const element = message.blocks
      .flatMap((block) => (block.elements ?? []) as Thing[])
      .find(({ text }) => (text as { text?: string })?.text === button);
    assert.ok(element, `no button ${button} in ${message.text}`);
    const action: ButtonAction = {
      type: 'button',
      block_id: 'b',
      action_id: String(element.action_id),
      action_ts: String(Date.now() / 1_000),
      text: { type: 'plain_text', text: button },
      value: String(element.value),
    };
    return {
      type: 'block_actions',
      actions: [action],
      team,
      user: { id: user, name: user.toLowerCase(), username: user.toLowerCase() },
      channel: { id: this.channel, name: 'cutovers' },
      message: { type: 'message', ts: message.ts, text: message.text },
      token: 'deprecated',
      response_url: `${this.url}/respond/${user}`,
      trigger_id: randomUUID(),
      api_app_id: appId,
      container: { type: 'message', message_ts: message.ts, channel_id: this.channel },
    };
  }

  submit(view: View, reason: string, user: string): ViewSubmitAction {
    const submitted = {
      ...view,
      type: 'modal',
      app_id: appId,
      team_id: team.id,
      app_installed_team_id: team.id,
      bot_id: 'B0BOT',
      root_view_id: view.id,
      previous_view_id: null,
      clear_on_close: false,
      notify_on_close: false,
      close: null,
      submit: null,
      title: { type: 'plain_text', text: view.title.text },
      state: { values: { reason: { text: { type: 'plain_text_input', value: reason } } } },
    } as unknown as ViewSubmitAction['view'];
    return {
      type: 'view_submission',
      team,
      user: { id: user, name: user.toLowerCase() },
      view: submitted,
      api_app_id: appId,
      token: 'deprecated',
      trigger_id: randomUUID(),
    };
  }

  slash(text: string, user: string): SlashCommand {
    return {
      token: 'deprecated',
      command: manifest.features.slash_commands[0]?.command ?? '',
      text,
      response_url: `${this.url}/respond/${user}`,
      trigger_id: randomUUID(),
      user_id: user,
      user_name: user.toLowerCase(),
      team_id: team.id,
      team_domain: team.domain,
      channel_id: this.channel,
      channel_name: 'cutovers',
      api_app_id: appId,
    };
  }

  /** Over Socket Mode; done once it is acknowledged. */
  async send(payload: BlockAction<ButtonAction> | ViewSubmitAction | SlashCommand): Promise<void> {
    const envelope_id = randomUUID();
    const type = 'command' in payload ? 'slash_commands' : 'interactive';
    await this.until('the app is connected', () => [...this.#sockets.clients].length > 0);
    for (const socket of this.#sockets.clients) {
      socket.send(JSON.stringify({ envelope_id, type, payload, accepts_response_payload: true }));
    }
    await this.until('the request is acknowledged', () => this.#acknowledged.has(envelope_id));
  }

  /** Over HTTP, signed as Slack signs. */
  post(
    port: number,
    payload: BlockAction<ButtonAction> | ViewSubmitAction | SlashCommand,
    as: { readonly secret?: string; readonly atMs?: number; readonly sentBody?: (body: string) => string } = {},
  ): Promise<Response> {
    const form = 'command' in payload ? { ...payload } : { payload: JSON.stringify(payload) };
    const body = new URLSearchParams(form as Record<string, string>).toString();
    const timestamp = String(Math.floor((as.atMs ?? Date.now()) / 1_000));
    const mac = createHmac('sha256', as.secret ?? signingSecret)
      .update(`v0:${timestamp}:${body}`)
      .digest('hex');
    return fetch(`http://127.0.0.1:${port}/slack/events`, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        'x-slack-request-timestamp': timestamp,
        'x-slack-signature': `v0=${mac}`,
      },
      body: as.sentBody?.(body) ?? body,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // An app that has ended is closing its connection: cut off, its library would wait half a minute for our side of that.
    const closing = [...this.#sockets.clients].map((socket) => once(socket, 'close'));
    await Promise.race([Promise.all(closing), sleep(closeMaxMs, undefined, { ref: false })]);
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#sockets.close();
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }

  // ---- Slack's side

  #connected(socket: WebSocket): void {
    socket.send(JSON.stringify({ type: 'hello', num_connections: 1, connection_info: { app_id: appId } }));
    socket.on('message', (data) => {
      const { envelope_id: id } = JSON.parse(String(data)) as { envelope_id: string };
      this.#acknowledged.add(id);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    const body = bytes.toString();
    const path = request.url ?? '';
    if (path.startsWith('/respond/')) {
      this.told.push({ user: path.slice('/respond/'.length), text: String((JSON.parse(body) as Thing).text) });
      response.end('ok');
      return;
    }
    if (path.startsWith('/upload/')) {
      const upload = this.uploads.get(path.slice('/upload/'.length));
      const headers = { 'content-type': request.headers['content-type'] ?? '' };
      // One part, whatever its name.
      const [part] = [...(await new Response(bytes, { headers }).formData()).values()];
      const text = part instanceof Blob ? await part.text() : (part ?? '');
      const whole = upload?.length === Buffer.byteLength(text);
      if (upload && whole) upload.text = text;
      else this.refused.push(`${path}: ${Buffer.byteLength(text)} bytes`);
      response.writeHead(whole ? 200 : 400).end(`OK - ${Buffer.byteLength(text)}`);
      return;
    }
    const method = path.replace('/api/', '');
    const args = Object.fromEntries([...new URLSearchParams(body)].map(([key, value]) => [key, parsed(value)]));
    const token = request.headers.authorization?.replace('Bearer ', '') ?? args.token;
    const wanted = method === 'apps.connections.open' ? appToken : botToken;
    const answer = token === wanted ? this.#call(method, args) : { ok: false, error: 'invalid_auth' };
    if (answer.ok !== true)
      this.refused.push(`${method}: ${answer.error} ${JSON.stringify(answer.response_metadata ?? '')}`);
    if (this.loseAnswerOf.delete(method)) {
      response.destroy();
      return;
    }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  }

  #stamp(): string {
    this.#clock += 1_000;
    return (this.#clock / 1_000_000).toFixed(6);
  }

  #call(method: string, args: Thing): Thing {
    const refuse = (error: string, messages: string[] = []) => ({ ok: false, error, response_metadata: { messages } });
    const missing = scopesOf[method]?.filter((scope) => !manifest.oauth_config.scopes.bot.includes(scope)) ?? [];
    if (missing.length > 0) return refuse('missing_scope', missing);
    switch (method) {
      case 'auth.test':
        return { ok: true, bot_id: 'B0BOT', user_id: 'U0BOT', team_id: team.id, url: this.url };
      case 'apps.connections.open':
        return { ok: true, url: `${this.url.replace('http', 'ws')}/link` };
      case 'chat.postMessage':
      case 'chat.update': {
        const { channel, text, blocks = [], metadata = null, ts, thread_ts } = args;
        const wrong = wrongBlocks(blocks);
        if (channel !== this.channel) return refuse('channel_not_found');
        if (wrong.length > 0) return refuse('invalid_blocks', wrong);
        if (typeof text !== 'string' || text === '') return refuse('no_text');
        if (text.length > 4_000) return refuse('msg_too_long');
        if (/<[!@#h]/.test(text)) return refuse('calls_somebody', [text]);
        if (metadata !== null && typeof (metadata as Thing).event_type !== 'string')
          return refuse('invalid_metadata_format');
        const said = { text, blocks: blocks as Thing[], metadata: metadata as Message['metadata'] };
        if (method === 'chat.update') {
          const found = this.messages.find((message) => message.ts === ts);
          if (!found) return refuse('message_not_found');
          Object.assign(found, said, { edits: found.edits + 1 });
          return { ok: true, ts, channel };
        }
        const stamp = this.#stamp();
        const thread = (thread_ts as string | undefined) ?? null;
        const broadcast = args.reply_broadcast === true;
        this.messages.push({ ...said, ts: stamp, thread_ts: thread, bot_id: 'B0BOT', edits: 0, broadcast });
        return { ok: true, ts: stamp, channel };
      }
      case 'files.getUploadURLExternal': {
        const { filename, length } = args;
        if (!filename || !Number(length)) return refuse('invalid_arguments', ['filename and length are wanted']);
        const id = `F${randomUUID()}`;
        this.uploads.set(id, { name: String(filename), length: Number(length), text: null });
        return { ok: true, upload_url: `${this.url}/upload/${id}`, file_id: id };
      }
      case 'files.completeUploadExternal': {
        const { files, channel_id, thread_ts, initial_comment } = args as {
          files: { id: string; title: string }[];
        } & Thing;
        if (channel_id !== this.channel) return refuse('channel_not_found');
        if (!this.messages.some(({ ts }) => ts === thread_ts)) return refuse('invalid_thread_ts');
        if (files.some(({ id }) => !this.uploads.get(id)?.text)) return refuse('file_not_found');
        const shared = files.map(({ id, title }) => ({ id, title, name: this.uploads.get(id)?.name ?? '' }));
        const said = { text: String(initial_comment), blocks: [], metadata: null, bot_id: 'B0BOT', broadcast: false };
        this.messages.push({ ...said, ts: this.#stamp(), thread_ts: String(thread_ts), files: shared, edits: 0 });
        return { ok: true, files: shared };
      }
      case 'chat.postEphemeral':
        this.told.push({ user: String(args.user), text: String(args.text) });
        return { ok: true };
      case 'conversations.history':
      case 'conversations.replies': {
        if (args.include_all_metadata !== true)
          return refuse('the app cannot find its messages without their metadata');
        const inThread = method === 'conversations.replies';
        const all = this.messages
          .filter(({ thread_ts, ts }) => (inThread ? thread_ts === args.ts || ts === args.ts : thread_ts === null))
          .map(({ edits: _, broadcast: __, thread_ts: ___, ...message }) => ({ type: 'message', ...message }));
        // Two at a time, so that there are pages.
        const from = Number(args.cursor ?? 0);
        const next = from + 2 < all.length ? String(from + 2) : '';
        return { ok: true, messages: all.reverse().slice(from, from + 2), response_metadata: { next_cursor: next } };
      }
      case 'views.open': {
        const view = args.view as Thing;
        const wrong = wrongView(view);
        if (wrong.length > 0) return refuse('invalid_arguments', wrong);
        const id = `V${randomUUID()}`;
        this.views.push({ ...(view as unknown as View), id, hash: `${Math.floor(Date.now() / 1_000)}.abcdef` });
        return { ok: true, view: { id } };
      }
      default:
        return refuse('unknown_method');
    }
  }
}

function parsed(value: string): unknown {
  if (value === 'true' || value === 'false') return value === 'true';
  if (!/^[[{]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
