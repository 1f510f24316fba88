/** A real Chromium without a screen, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/). */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const chromium = process.env.KAFKA_CUTOVER_TEST_CHROMIUM ?? '/usr/bin/chromium';
/** For `skip`: why there is none, or false. */
export const withoutChromium = existsSync(chromium)
  ? false
  : `no Chromium at ${chromium}: install Debian's package chromium, or set KAFKA_CUTOVER_TEST_CHROMIUM`;

const startMaxMs = 60_000;
const answerMaxMs = 60_000;

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly sessionId?: string;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

/** One browser; `open` gives pages of it. */
export class Chromium implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #end: () => Promise<void>;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #listeners = new Set<(answer: Answer) => void>();
  #sent = 0;

  private constructor(socket: WebSocket, end: () => Promise<void>) {
    this.#socket = socket;
    this.#end = end;
    socket.addEventListener('message', ({ data }) => {
      const answer = JSON.parse(String(data)) as Answer;
      if (answer.id === undefined) for (const listener of this.#listeners) listener(answer);
      else this.#waiting.get(answer.id)?.(answer);
    });
  }

  static async start(): Promise<Chromium> {
    const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-chromium-'));
    const args = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars'];
    const quiet = ['--no-first-run', '--disable-background-networking', '--disable-component-update'];
    const where = ['--remote-debugging-port=0', `--user-data-dir=${folder}`, 'about:blank'];
    const child = spawn(chromium, [...args, ...quiet, ...where], { stdio: ['ignore', 'ignore', 'pipe'] });
    const closed = new Promise<void>((done) => child.once('close', () => done()));
    const end = async () => {
      child.kill('SIGKILL');
      await closed;
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
    };
    try {
      const address = await inTime(startMaxMs, 'Chromium to say where it listens', addressOf(child.stderr));
      const socket = new WebSocket(address);
      await inTime(startMaxMs, 'Chromium to answer', once(socket, 'open'));
      return new Chromium(socket, end);
    } catch (error) {
      await end();
      throw error;
    }
  }

  async open(url: string, size = { width: 1200, height: 900 }): Promise<Page> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId as string);
    await page.send('Page.enable');
    await page.send('Runtime.enable');
    await page.send('Log.enable');
    await page.send('Emulation.setDeviceMetricsOverride', { ...size, deviceScaleFactor: 1, mobile: false });
    const loaded = this.event(sessionId as string, 'Page.loadEventFired');
    await page.send('Page.navigate', { url });
    await loaded;
    return page;
  }

  async send(method: string, params: object = {}, sessionId?: string): Promise<Record<string, unknown>> {
    const id = ++this.#sent;
    const answered = new Promise<Answer>((done) => {
      this.#waiting.set(id, done);
    });
    this.#socket.send(JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) }));
    const { error, result = {} } = await inTime(answerMaxMs, method, answered).finally(() => this.#waiting.delete(id));
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  listen(listener: (answer: Answer) => void): void {
    this.#listeners.add(listener);
  }

  event(sessionId: string, method: string): Promise<void> {
    return inTime(
      answerMaxMs,
      method,
      new Promise<void>((done) => {
        const listener = (answer: Answer) => {
          if (answer.sessionId !== sessionId || answer.method !== method) return;
          this.#listeners.delete(listener);
          done();
        };
        this.#listeners.add(listener);
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.#end();
  }
}

export class Page {
  /** What went wrong in it: exceptions, and what its policy refused. */
  readonly problems: string[] = [];
  readonly #browser: Chromium;
  readonly #session: string;

  constructor(browser: Chromium, session: string) {
    this.#browser = browser;
    this.#session = session;
    browser.listen(({ sessionId, method, params }) => {
      if (sessionId !== session) return;
      if (method === 'Runtime.exceptionThrown' || method === 'Log.entryAdded')
        this.problems.push(JSON.stringify(params));
    });
  }

  send(method: string, params: object = {}): Promise<Record<string, unknown>> {
    return this.#browser.send(method, params, this.#session);
  }

  /** The value of an expression, awaited where it is a promise. Its policy does not bind what DevTools evaluates. */
  async value<Value>(expression: string): Promise<Value> {
    const { result, exceptionDetails } = (await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as { result?: { value?: Value }; exceptionDetails?: { exception?: { description?: string }; text: string } };
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result?.value as Value;
  }

  /** Awaits that an expression is true, looked at before every frame. */
  until(expression: string): Promise<void> {
    return this.value(
      `new Promise(done => { const look = () => (${expression}) ? done() : setTimeout(look, 20); look(); })`,
    );
  }

  async media(features: { readonly scheme?: 'light' | 'dark'; readonly print?: boolean }): Promise<void> {
    await this.send('Emulation.setEmulatedMedia', {
      media: features.print ? 'print' : 'screen',
      features: features.scheme ? [{ name: 'prefers-color-scheme', value: features.scheme }] : [],
    });
  }

  /** PNG. */
  async screenshot(clip?: { readonly width: number; readonly height: number }): Promise<Buffer> {
    const { data } = await this.send('Page.captureScreenshot', {
      format: 'png',
      ...(clip && { captureBeyondViewport: true, clip: { x: 0, y: 0, scale: 1, ...clip } }),
    });
    return Buffer.from(data as string, 'base64');
  }
}

/** `DevTools listening on ws://127.0.0.1:1234/devtools/browser/...` */
function addressOf(stderr: NodeJS.ReadableStream): Promise<string> {
  return new Promise((done, reject) => {
    const said: string[] = [];
    const lines = createInterface({ input: stderr });
    lines.on('line', (line) => {
      said.push(line);
      const address = /DevTools listening on (ws:\S+)/.exec(line)?.[1];
      if (address) done(address);
    });
    lines.on('close', () => reject(new Error(`Chromium ended: ${said.slice(-5).join('\n')}`)));
  });
}

function once(socket: WebSocket, event: 'open'): Promise<void> {
  return new Promise((done, reject) => {
    socket.addEventListener(event, () => done());
    socket.addEventListener('error', () => reject(new Error('the connection failed')));
  });
}

async function inTime<Value>(ms: number, what: string, value: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  try {
    return await Promise.race([value, late]);
  } finally {
    clearTimeout(timer);
  }
}
