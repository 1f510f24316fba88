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

/** Rejects with what Node says where there is no answer. Redirects are not followed. */
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
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      );
    };
    const asking =
      url.protocol === 'https:'
        ? httpsRequest(url, { ...options, ...(ca && { ca }), ...(cert && { cert, key }) }, answered)
        : httpRequest(url, options, answered);
    asking.on('error', (error) => reject(timeout.aborted ? new Error(`no answer within ${timeoutMs} ms`) : error));
    asking.end(body);
  });
}
