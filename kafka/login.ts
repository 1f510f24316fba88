/**
 * Opening one connection to one broker: TLS, login, and the proof that both were taken.
 *
 * `@platformatic/kafka` speaks the mechanisms; what is added here: tokens, sessions that are renewed under load
 * (KIP-368), and reasons. A connection that was refused says why in one of many ways, some of them only later, so the
 * reason is looked for where it shows (`login-failures.ts`).
 */
import { isIP } from 'node:net';
import { Connection, type ConnectionOptions, metadataV12 } from '@platformatic/kafka';
import { type ClusterConfig, type ConnectAs, type Credentials, credentialsFor } from './clusters.ts';
import { isTlsRecord, loginFailure } from './login-failures.ts';
import { obtainToken } from './tokens.ts';
import { inTheirVersion } from './versions.ts';

export interface LoginOptions {
  /** Under whose credentials; `own` by default. */
  readonly as?: ConnectAs;
  readonly clientId?: string;
  /** How long one request may take; 15 s by default. */
  readonly requestTimeoutMs?: number;
  /** How long connecting to one broker may take, login included; 5 s by default. */
  readonly connectTimeoutMs?: number;
}

/** Requests in flight on one connection. More wait in the client. */
export const requestsInFlightMax = 64;
export const requestTimeoutMsDefault = 15_000;
export const clientIdDefault = 'kafka-cutover';

/**
 * Connects and logs in; the caller closes.
 *
 * @throws CutoverError CLUSTER_AUTH_FAILED, CLUSTER_UNREACHABLE, CLUSTERS_INVALID
 */
export async function openConnection(
  config: ClusterConfig,
  options: LoginOptions,
  host: string,
  port: number,
): Promise<SteadyConnection> {
  const credentials = credentialsFor(config, options.as ?? 'own');
  const where = `cluster ${config.name}, broker ${host}:${port}`;
  // Before the connection's clock starts: an issuer may take longer than a broker, and its errors have their own codes.
  if (credentials.token) await obtainToken(credentials.token, where);
  const connection = new SteadyConnection(options.clientId ?? clientIdDefault, {
    connectTimeout: options.connectTimeoutMs ?? 5_000,
    requestTimeout: options.requestTimeoutMs ?? requestTimeoutMsDefault,
    maxInflights: requestsInFlightMax,
    ...tlsOptions(credentials, host),
    ...saslOptions(credentials, where),
  });
  let event: Error | undefined;
  let answeredInTls = false;
  // Failures reach the callers of pending requests; without a listener the event itself would end the process.
  connection.on('error', (error) => {
    event ??= error;
  });
  try {
    const connecting = connection.connect(host, port);
    if (!credentials.tls) {
      connection.socket.once('data', (chunk: Buffer) => {
        answeredInTls = isTlsRecord(chunk);
      });
    }
    await connecting;
    // Without SASL a refusal comes late: in TLS 1.3 a client is through before the broker looks at its certificate, and
    // a broker that wants a login closes at the first request that is none.
    if (!credentials.sasl && !credentials.token) {
      await (await inTheirVersion(connection, metadataV12.api)).async(connection, [], false, false);
    }
  } catch (error) {
    await connection.close().catch(() => {});
    throw loginFailure(error, event, { credentials, host, where, answeredInTls });
  }
  return connection;
}

function tlsOptions({ tls }: Credentials, host: string): ConnectionOptions {
  if (!tls) return {};
  const { ca, cert, key, keyPassphrase: passphrase, serverName } = tls;
  // RFC 6066: no server name for an address. The certificate is checked against it all the same.
  return { tls: { ca, cert, key, passphrase }, tlsServerName: serverName ?? isIP(host) === 0 };
}

function saslOptions({ sasl, token }: Credentials, where: string): ConnectionOptions {
  if (sasl) {
    const mechanism = sasl.mechanism.toUpperCase() as 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
    return { sasl: { mechanism, username: sasl.username, password: sasl.password } };
  }
  if (!token) return {};
  return {
    sasl: {
      mechanism: 'OAUTHBEARER',
      // Asked again whenever the session is renewed.
      token: () => obtainToken(token, where),
      ...(token.extensions && { oauthBearerExtensions: { ...token.extensions } }),
      // RFC 7628, section 3.2.3: a refusal is a successful answer that holds an error; the broker waits for one message more.
      authBytesValidator: (answer, callback) =>
        answer.length === 0 ? callback(null, answer) : callback(new TokenRefused(answer)),
    },
  };
}

/** The broker's answer to a token that it does not take. */
export class TokenRefused extends Error {
  /** `invalid_token`, ... */
  readonly status: string;

  constructor(answer: Buffer) {
    super('the broker does not take the token');
    const status = /"status"\s*:\s*"([A-Za-z0-9_-]{1,64})"/.exec(answer.toString('latin1'))?.[1];
    this.status = status ?? 'no reason given';
  }
}

/** SaslHandshake and SaslAuthenticate. */
const saslAuthenticate = 36;
const loginApis: ReadonlySet<number> = new Set([17, saslAuthenticate]);

/**
 * A connection that other requests do not disturb while its session is renewed. Brokers end sessions after
 * `connections.max.reauth.ms` or with the token, and the library logs in again at four fifths of that. Between its
 * handshake and its answer a broker takes nothing else (KIP-368): a produce request in between would end the connection.
 */
export class SteadyConnection extends Connection {
  /** The broker ends the session some time after the login, unless it is renewed. */
  sessionExpires = false;
  /** Null when no renewal is going on. */
  #held: (() => void)[] | null = null;

  constructor(clientId: string, options: ConnectionOptions) {
    super(clientId, options);
    this.on('sasl:authentication:extended', () => this.#release());
    this.on('error', () => this.#release());
    // Closing a closed connection only stops the clock of its next renewal, which would keep the process alive.
    this.on('close', () => {
      this.#release();
      this.close().catch(() => {});
    });
  }

  override isConnected(): boolean {
    return super.isConnected() || this.#held !== null;
  }

  override reauthenticate(): void {
    if (!super.isConnected()) return;
    this.#held = [];
    super.reauthenticate();
  }

  override send: Connection['send'] = (apiKey, ...request) => {
    if (apiKey === saslAuthenticate) {
      const callback = request[5];
      request[5] = (error, answer) => {
        const { sessionLifetimeMs } = (answer ?? {}) as { sessionLifetimeMs?: bigint };
        if (sessionLifetimeMs !== undefined && sessionLifetimeMs > 0n) this.sessionExpires = true;
        callback(error, answer);
      };
    }
    if (this.#held === null || loginApis.has(apiKey)) super.send(apiKey, ...request);
    else this.#held.push(() => super.send(apiKey, ...request));
  };

  #release(): void {
    const held = this.#held;
    this.#held = null;
    for (const send of held ?? []) send();
  }
}
