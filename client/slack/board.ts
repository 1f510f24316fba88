/**
 * Our messages in the channel. What was posted is read back from Slack, by the metadata that each message carries: a process that starts
 * anew edits what an earlier one posted, and posts what that one had no time for.
 */
import { createHash } from 'node:crypto';
import type { webApi } from '@slack/bolt';
import type { Logger } from 'pino';
import { type Content, cut, plain, textMax } from './blocks.ts';
import type { Entry } from './thread.ts';

/** How far back messages are looked for: so many pages of so many. */
const pagesMax = 20;
const pageSize = 200;
/** Entries of a thread in one message: their keys fit its metadata. */
const entriesMax = 40;

export const eventTypes = {
  card: 'kafka_cutover_card',
  gate: 'kafka_cutover_gate',
  failure: 'kafka_cutover_failure',
  thread: 'kafka_cutover_thread',
} as const;

interface Posted {
  readonly ts: string;
  /** Of what it says: nothing is sent where nothing has changed. */
  readonly hash: string;
}

/** A message as found in the channel. */
export interface Recalled {
  readonly key: string;
  readonly migration: string;
  readonly run: string;
  /** It says how it ended: nothing more will come. */
  readonly over: boolean;
}

export class Board {
  readonly #slack: webApi.WebClient;
  readonly #channel: string;
  readonly #log: Logger;
  readonly #posted = new Map<string, Posted>();
  /** Keys of the entries in the thread of each card, by the card's timestamp. */
  readonly #threads = new Map<string, Set<string>>();
  #recalled = false;
  #bot: { readonly bot_id?: string | undefined; readonly user_id?: string | undefined } | null = null;

  constructor(options: { readonly slack: webApi.WebClient; readonly channel: string; readonly log: Logger }) {
    this.#slack = options.slack;
    this.#channel = options.channel;
    this.#log = options.log;
  }

  /**
   * Reads our messages back, where that has not been done, or one was sent and it is not known whether it arrived.
   *
   * @returns cards and gates that may still change
   */
  async recall(): Promise<readonly Recalled[]> {
    if (this.#recalled) return [];
    this.#bot ??= await this.#slack.auth.test();
    this.#posted.clear();
    this.#threads.clear();
    const found: Recalled[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < pagesMax; page++) {
      const answer = await this.#slack.conversations.history({
        channel: this.#channel,
        include_all_metadata: true,
        limit: pageSize,
        ...(cursor && { cursor }),
      });
      for (const message of answer.messages ?? []) {
        const said = this.#ours(message);
        const key = text(said?.key);
        if (said === null || key === null || !message.ts) continue;
        // The newest comes first; an older one of the same key was posted twice, and stays as it is.
        if (this.#posted.has(key)) continue;
        this.#posted.set(key, { ts: message.ts, hash: text(said.hash) ?? '' });
        found.push({ key, migration: text(said.migration) ?? '', run: text(said.run) ?? '', over: said.over === true });
      }
      cursor = answer.response_metadata?.next_cursor || undefined;
      if (cursor === undefined) break;
    }
    this.#recalled = true;
    this.#log.info({ messages: found.length }, 'messages in Slack found again');
    return found.filter(({ over }) => !over);
  }

  /**
   * Posts the message, or edits the one that is there; nothing where it says so already.
   *
   * @param of what finds it again
   * @returns its timestamp, which is its thread's
   */
  async show(
    type: keyof typeof eventTypes,
    of: { readonly key: string; readonly migration: string; readonly run: string; readonly over: boolean },
    content: Content,
  ): Promise<string> {
    const hash = createHash('sha256')
      .update(JSON.stringify([content, of.over]))
      .digest('hex')
      .slice(0, 16);
    const before = this.#posted.get(of.key);
    if (before?.hash === hash) return before.ts;
    const metadata = { event_type: eventTypes[type], event_payload: { ...of, hash } };
    const message = { channel: this.#channel, ...content, metadata };
    const ts = before?.ts ?? '';
    const sent = await this.#sent<{ ts?: string }>(() =>
      before ? this.#slack.chat.update({ ...message, ts }) : this.#slack.chat.postMessage(message),
    );
    this.#posted.set(of.key, { ts: sent.ts ?? ts, hash });
    return sent.ts ?? ts;
  }

  /** The timestamp of the message of that key, where there is one. */
  posted(key: string): string | null {
    return this.#posted.get(key)?.ts ?? null;
  }

  /** Adds what the thread does not say yet. */
  async follow(card: string, entries: readonly Entry[]): Promise<void> {
    const said = await this.#thread(card);
    const fresh = entries.filter(({ key }) => !said.has(key));
    for (const alarm of fresh.filter((one) => one.alarm)) await this.#reply(card, said, [alarm]);
    let together: Entry[] = [];
    for (const one of fresh.filter((other) => !other.alarm)) {
      const length = together.reduce((sum, { text: line }) => sum + line.length + 1, one.text.length);
      if (together.length === entriesMax || (together.length > 0 && length > textMax)) {
        await this.#reply(card, said, together);
        together = [];
      }
      together.push(one);
    }
    if (together.length > 0) await this.#reply(card, said, together);
  }

  /**
   * Puts a file into the thread, once: it is known by its name.
   *
   * @param make gives what is in it; called only where the thread does not have it
   */
  async attach(
    card: string,
    { name, title, make }: { readonly name: string; readonly title: string; readonly make: () => Promise<string> },
  ): Promise<void> {
    const said = await this.#thread(card);
    if (said.has(fileKey(name))) return;
    const file = Buffer.from(await make());
    const about = { channel_id: this.#channel, thread_ts: card, filename: name, title, initial_comment: plain(title) };
    await this.#sent(() => this.#slack.filesUploadV2({ ...about, file }));
    said.add(fileKey(name));
  }

  async #reply(card: string, said: Set<string>, entries: readonly Entry[]): Promise<void> {
    const keys = entries.map(({ key }) => key);
    const reply = {
      channel: this.#channel,
      thread_ts: card,
      text: cut(entries.map(({ text: line }) => line).join('\n'), textMax),
      metadata: { event_type: eventTypes.thread, event_payload: { keys: keys.join(' ') } },
    };
    await this.#sent(() =>
      this.#slack.chat.postMessage(entries.some(({ alarm }) => alarm) ? { ...reply, reply_broadcast: true } : reply),
    );
    for (const key of keys) said.add(key);
  }

  async #thread(card: string): Promise<Set<string>> {
    const known = this.#threads.get(card);
    if (known) return known;
    const keys = new Set<string>();
    let cursor: string | undefined;
    for (let page = 0; page < pagesMax; page++) {
      const answer = await this.#slack.conversations.replies({
        channel: this.#channel,
        ts: card,
        include_all_metadata: true,
        limit: pageSize,
        ...(cursor && { cursor }),
      });
      for (const message of answer.messages ?? []) {
        for (const key of text(this.#ours(message)?.keys)?.split(' ') ?? []) keys.add(key);
        if (this.#isOurs(message)) for (const { name } of message.files ?? []) keys.add(fileKey(name ?? ''));
      }
      cursor = answer.response_metadata?.next_cursor || undefined;
      if (cursor === undefined) break;
    }
    this.#threads.set(card, keys);
    return keys;
  }

  /** What a message of ours carries; anybody else's metadata says nothing. */
  #ours(message: {
    readonly bot_id?: string;
    readonly user?: string;
    readonly metadata?: unknown;
  }): Record<string, unknown> | null {
    const { event_type, event_payload } = (message.metadata ?? {}) as Record<string, unknown>;
    if (!this.#isOurs(message) || !Object.values<unknown>(eventTypes).includes(event_type)) return null;
    return (event_payload ?? {}) as Record<string, unknown>;
  }

  #isOurs({ bot_id, user }: { readonly bot_id?: string; readonly user?: string }): boolean {
    if (bot_id !== undefined) return bot_id === this.#bot?.bot_id;
    return user !== undefined && user === this.#bot?.user_id;
  }

  /** A message without an answer may have arrived: then all are read back before the next one is sent. */
  async #sent<Sent>(send: () => Promise<Sent>): Promise<Sent> {
    try {
      return await send();
    } catch (error) {
      this.#recalled = false;
      throw error;
    }
  }
}

const fileKey = (name: string): string => `file ${name}`;
const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);
