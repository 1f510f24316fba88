/** An OAuth 2 authorization server over http: a token endpoint for the client-credentials grant, and its keys for brokers. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';

export interface TokenIssuer {
  readonly tokenUrl: string;
  readonly keysUrl: string;
  readonly issuer: string;
  /** What was asked of the token endpoint, oldest first. */
  readonly asked: { readonly authorization: string; readonly form: Record<string, string> }[];
  /** What the next requests are answered; back to tokens when null. */
  answer: { readonly status: number; readonly body: string } | null;
  /** How long the tokens of the endpoint live; an hour at first. */
  lifeSeconds: number;
  /** A signed token (RS256) for `subject`. */
  token(subject: string, claims?: Record<string, unknown>): string;
}

export const audience = 'kafka';

/** Ends with the test file. */
export async function startTokenIssuer(clientId: string, clientSecret: string): Promise<TokenIssuer> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const kid = 'one';
  const server = createServer((request, response) => {
    if (request.url === '/keys') {
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }] }),
      );
      return;
    }
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      const authorization = request.headers.authorization ?? '';
      issuer.asked.push({ authorization, form: Object.fromEntries(new URLSearchParams(body)) });
      response.setHeader('content-type', 'application/json');
      if (issuer.answer) {
        response.statusCode = issuer.answer.status;
        response.end(issuer.answer.body);
      } else if (authorization !== `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`) {
        response.statusCode = 401;
        // As talkative as a real one may be.
        response.end(
          JSON.stringify({ error: 'invalid_client', error_description: `not your secret: ${authorization}` }),
        );
      } else {
        const exp = Math.floor(Date.now() / 1000) + issuer.lifeSeconds;
        const token = issuer.token(clientId, { exp });
        response.end(JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: issuer.lifeSeconds }));
      }
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer: TokenIssuer = {
    tokenUrl: `${origin}/token`,
    keysUrl: `${origin}/keys`,
    issuer: origin,
    asked: [],
    answer: null,
    lifeSeconds: 3600,
    token(subject, claims = {}) {
      const now = Math.floor(Date.now() / 1000);
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
      const signed = `${part({ alg: 'RS256', typ: 'JWT', kid })}.${part({ iss: origin, aud: audience, sub: subject, iat: now, exp: now + 3600, ...claims })}`;
      return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
    },
  };
  return issuer;
}
