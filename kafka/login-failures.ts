/** Why a broker and we did not come together, out of the many ways in which TLS, SASL and sockets say it. */
import { CutoverError, type Detail } from '../contract/errors.ts';
import type { Credentials } from './clusters.ts';
import { kafkaErrorName, toCutoverError } from './kafka-errors.ts';

export interface LoginContext {
  readonly credentials: Credentials;
  readonly host: string;
  readonly where: string;
  /** We spoke plainly, and the broker answered with a TLS record. */
  readonly answeredInTls: boolean;
}

/** One error of a chain, with the fields that the libraries put on theirs. */
interface Link {
  readonly code?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly apiCode?: number;
  readonly serverErrorMessage?: string | null;
  readonly response?: { readonly mechanisms?: readonly string[] };
  readonly status?: string;
}

const unsupportedMechanism = 33;
const illegalSaslState = 34;
const authenticationFailed = 58;

/** Node's codes for a certificate that no authority we trust vouches for. */
const untrusted: ReadonlySet<string> = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'INVALID_CA',
  'INVALID_PURPOSE',
]);

/** Change cipher spec, alert, handshake or application data, in any version that begins with 3 (RFC 8446, section 5.1). */
export function isTlsRecord(bytes: Buffer): boolean {
  const [type = 0, major = 0, minor = 0] = bytes;
  return type >= 0x14 && type <= 0x17 && major === 3 && minor <= 4;
}

/**
 * CLUSTER_AUTH_FAILED where trying again changes nothing, CLUSTER_UNREACHABLE where it may.
 *
 * @param event what the connection emitted, which may say more than what its request was answered
 */
export function loginFailure(error: unknown, event: unknown, context: LoginContext): CutoverError {
  const links = [...chain(error), ...chain(event)];
  const ours = links.find((link) => link instanceof CutoverError);
  if (ours instanceof CutoverError) return ours;
  const hopeless = tlsFailure(links, context) ?? saslFailure(links, context);
  if (hopeless) return new CutoverError('CLUSTER_AUTH_FAILED', { where: context.where, ...hopeless }, { cause: error });
  const broken = brokenConnection(links, context);
  if (broken) return new CutoverError('CLUSTER_UNREACHABLE', { where: context.where, ...broken }, { cause: error });
  return toCutoverError(error, context.where);
}

function tlsFailure(links: readonly Link[], { credentials, host, answeredInTls }: LoginContext): Detail | null {
  const { tls } = credentials;
  if (answeredInTls) {
    return {
      what: 'the broker speaks TLS on this port, and was spoken to without',
      wanted: 'TLS',
      next: 'Add `tls: {}` to the cluster in clusters.yaml (with `ca` where the authority is your own), or name a port without TLS.',
    };
  }
  if (!tls) return null;
  const trust = tls.ca ? 'the authority in `tls.ca`' : "one of the system's authorities";
  for (const { code = '', message = '', reason } of links) {
    if (untrusted.has(code)) {
      return {
        what: "the broker's certificate is not trusted",
        found: `${code} (${message})`,
        wanted: `a certificate that ${trust} has signed`,
        next: tls.ca
          ? 'Put the authority that signed the certificates of this cluster into the file that `tls.ca` names.'
          : 'Name the authority of this cluster in clusters.yaml: `tls: { ca: { file: ca.pem } }`.',
      };
    }
    if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
      return {
        what: `the broker's certificate ${code === 'CERT_HAS_EXPIRED' ? 'has expired' : 'is not valid yet'}`,
        found: code,
        wanted: `one that is valid at ${new Date().toISOString()}`,
        next: 'Renew the certificate on the broker, or mend the clock of this machine.',
      };
    }
    if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
      return {
        what: "the broker's certificate is for another host",
        found: reason ?? message,
        wanted: `a certificate for ${tls.serverName ?? host}`,
        next: 'Use the name that the certificate is for in `bootstrap` and in advertised.listeners, or say it as `tls.serverName`.',
      };
    }
    const alert = /_ALERT_(.+)$/.exec(code)?.[1];
    if (alert) {
      const sent = tls.cert ? 'the one in `tls.cert`' : 'none, since clusters.yaml names none';
      return {
        what: 'the broker ended the TLS handshake, which mostly means that it does not take our certificate',
        found: `alert ${alert}; our certificate: ${sent}`,
        wanted:
          'a client certificate that an authority in the truststore of the broker has signed, and that has not expired',
        next: 'Give `tls.cert` and `tls.key` in clusters.yaml, or add their authority to the truststore of the broker.',
      };
    }
  }
  return null;
}

function saslFailure(links: readonly Link[], { credentials }: LoginContext): Detail | null {
  const mechanism = credentials.sasl?.mechanism.toUpperCase() ?? (credentials.token ? 'OAUTHBEARER' : null);
  if (mechanism === null) return null;
  const status = links.find((link) => link.status !== undefined && link.code === undefined)?.status;
  if (status !== undefined) {
    return {
      what: 'the cluster does not take the token',
      found: status,
      wanted: 'a token with the issuer, audience, scope, signature and expiry that the broker checks',
      next: 'Compare the claims of the token with the sasl.oauthbearer.* settings of the broker; its log names the claim.',
    };
  }
  const codes = links.map((link) => link.apiCode);
  if (codes.includes(unsupportedMechanism)) {
    const enabled = links.find((link) => link.response?.mechanisms)?.response?.mechanisms ?? [];
    return {
      what: `the listener does not offer ${mechanism}`,
      found: enabled.length > 0 ? enabled.join(', ') : 'no mechanism that it names',
      wanted: mechanism,
      next: 'Set `sasl.mechanism` to one that the listener offers, or enable this one in its sasl.enabled.mechanisms.',
    };
  }
  if (codes.includes(illegalSaslState)) {
    return {
      what: 'the listener takes no login',
      found: kafkaErrorName(illegalSaslState),
      wanted: `a listener with SASL and ${mechanism}`,
      next: 'Leave `sasl` out of clusters.yaml, or name the port of the listener that has it.',
    };
  }
  if (codes.includes(authenticationFailed)) {
    const said = links.find((link) => link.serverErrorMessage)?.serverErrorMessage;
    return {
      what: 'login refused',
      found: `${kafkaErrorName(authenticationFailed)}${said ? `: ${said}` : ''}`,
      wanted: `a login by ${mechanism}${credentials.sasl ? ` as ${credentials.sasl.username}` : ''}`,
      next: credentials.sasl
        ? 'Check the user name and password that clusters.yaml refers to, and that the user has a password for this mechanism.'
        : 'Check the token that clusters.yaml refers to; the log of the broker says what it misses.',
    };
  }
  return null;
}

/** The other side went away without a word, or did not answer: also what a restarting broker looks like. */
function brokenConnection(links: readonly Link[], { credentials }: LoginContext): Detail | null {
  const system = links.find((link) => /^E[A-Z]+$/.test(link.code ?? ''))?.code;
  const closed = links.some((link) => /closed|secure TLS connection|socket hang up/i.test(link.message ?? ''));
  if (system !== undefined && system !== 'ECONNRESET' && system !== 'EPIPE' && system !== 'EPROTO') return null;
  if (system === undefined && !closed) return null;
  const login = credentials.sasl ?? credentials.token;
  return {
    what: 'the broker closed the connection before we were in',
    found: system ?? 'closed',
    wanted: `${credentials.tls ? 'TLS' : 'no TLS'}, ${login ? 'SASL' : 'no SASL'}${credentials.tls?.cert ? ', a client certificate' : ''}: what clusters.yaml says`,
    next: credentials.tls
      ? 'If the broker runs, its port may be one without TLS, or want a client certificate (`tls.cert`, `tls.key`) or `sasl`.'
      : 'If the broker runs, its port may be one with TLS (`tls: {}`), or want `sasl`.',
  };
}

function* chain(error: unknown, depth = 0): Generator<Link> {
  if (typeof error !== 'object' || error === null || depth > 8) return;
  yield error as Link;
  const { cause, errors } = error as { cause?: unknown; errors?: unknown };
  if (Array.isArray(errors)) for (const inner of errors) yield* chain(inner, depth + 1);
  yield* chain(cause, depth + 1);
}
