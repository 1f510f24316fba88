/** A certificate authority of our own, in Node alone: X.509 v3 on P-256 (RFC 5280), as much of it as TLS looks at. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

export interface Certificate {
  /** PEM each. */
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Certificate {
  issue(subject: Subject): Certificate;
}

export interface Subject {
  readonly commonName: string;
  readonly hosts?: readonly string[];
  /** IPv4. */
  readonly addresses?: readonly string[];
  readonly validFrom?: Date;
  readonly validUntil?: Date;
}

const dayMs = 86_400_000;

export function makeAuthority(commonName: string): Authority {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const basicConstraints = sequence(oid(0x55, 0x1d, 0x13), der(0x01, 0xff), der(0x04, sequence(der(0x01, 0xff))));
  const self = certificate({ commonName }, commonName, pair, pair.privateKey, [basicConstraints]);
  return {
    ...self,
    issue(subject) {
      const names = [
        ...(subject.hosts ?? []).map((host) => der(0x82, Buffer.from(host))),
        ...(subject.addresses ?? []).map((address) => der(0x87, ...address.split('.').map(Number))),
      ];
      const alternatives = sequence(oid(0x55, 0x1d, 0x11), der(0x04, sequence(...names)));
      const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      return certificate(subject, commonName, own, pair.privateKey, names.length > 0 ? [alternatives] : []);
    },
  };
}

function certificate(
  { commonName, validFrom = new Date(Date.now() - dayMs), validUntil = new Date(Date.now() + 30 * dayMs) }: Subject,
  issuer: string,
  pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject },
  signedWith: KeyObject,
  extensions: readonly Buffer[],
): Certificate {
  const ecdsaWithSha256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
  const serial = randomBytes(16);
  serial[0] = 0x01; // positive, and no leading zero
  const body = sequence(
    der(0xa0, der(0x02, 2)),
    der(0x02, serial),
    ecdsaWithSha256,
    nameOf(issuer),
    sequence(time(validFrom), time(validUntil)),
    nameOf(commonName),
    pair.publicKey.export({ format: 'der', type: 'spki' }),
    ...(extensions.length > 0 ? [der(0xa3, sequence(...extensions))] : []),
  );
  const signature = sign('sha256', body, signedWith);
  const whole = sequence(body, ecdsaWithSha256, der(0x03, 0, signature)).toString('base64');
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${whole.match(/.{1,64}/g)?.join('\n')}\n-----END CERTIFICATE-----\n`,
    key: pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}

const nameOf = (commonName: string) =>
  sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(commonName)))));
const time = (at: Date) => der(0x17, Buffer.from(`${at.toISOString().replace(/\D/g, '').slice(2, 14)}Z`));
const sequence = (...parts: Buffer[]) => der(0x30, ...parts);
const oid = (...bytes: number[]) => der(0x06, ...bytes);

/** Tag, length, value; bytes may be given as numbers. */
function der(tag: number, ...parts: (Buffer | number)[]): Buffer {
  const value = Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.from([part]) : part)));
  const { length } = value;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), value]);
}
