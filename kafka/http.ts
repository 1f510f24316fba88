/** One request over HTTP and its whole answer: what requests to a registry, to Kubernetes or to a replicator's control API need, and nothing more. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface HttpRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body?: string | undefined;
  /** PEM each. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly timeoutMs: number;
  /** Of the answer. */
  readonly bytesMax: number;
  readonly signal?: AbortSignal | undefined;
}

/** What the header `authorization` says. */
export function basicLogin({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/**
 * Rejects with what Node says where there is no answer. Redirects are not followed. The text of a refusal is without the login that was sent: some proxies
 * repeat a request, and people are shown what was refused.
 */
export function exchange(url: URL, request: HttpRequest): Promise<{ status: number; text: string }> {
  const { method, body, ca, cert, key, timeoutMs, bytesMax, signal } = request;
  const timeout = AbortSignal.timeout(timeoutMs);
  const headers = { ...request.headers, ...(body && { 'content-length': Buffer.byteLength(body) }) };
  const options = { method, headers, signal: signal ? AbortSignal.any([timeout, signal]) : timeout };
  return new Promise((resolve, reject) => {
    const answered = (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > bytesMax) response.destroy(new Error(`an answer of more than ${bytesMax} bytes`));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({
          status,
          text: status < 400 ? text : withoutLogin(text, String(request.headers.authorization ?? '')),
        });
      });
    };
    const asking =
      url.protocol === 'https:'
        ? httpsRequest(url, { ...options, ...(ca && { ca }), ...(cert && { cert, key }) }, answered)
        : httpRequest(url, options, answered);
    asking.on('error', (error) => reject(timeout.aborted ? new Error(`no answer within ${timeoutMs} ms`) : error));
    asking.end(body);
  });
}

/** @param authorization the header's value: `Bearer TOKEN`, `Basic ...` or another scheme */
function withoutLogin(text: string, authorization: string): string {
  const [scheme = '', ...rest] = authorization.split(' ');
  const sent = rest.join(' ');
  const secrets = [sent];
  if (scheme.toLowerCase() === 'basic') {
    const login = Buffer.from(sent, 'base64').toString();
    secrets.push(login.slice(login.indexOf(':') + 1));
  }
  return secrets
    .filter((secret) => secret !== '')
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)])
    .reduce((all, secret) => all.replaceAll(secret, '***'), text);
}
