/**
 * Payloads encrypted before Temporal sees them: AES-256-GCM, with the id of the key beside the cipher text, so that keys can be replaced while
 * histories that were written with an older one can still be read. The keys' file is `KAFKA_CUTOVER_CODEC`; without it nothing is encrypted.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { extname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DataConverter, Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import { z } from 'zod';
import { CutoverError } from '../contract/errors.ts';
import { readFileOfSecrets, reference } from '../kafka/references.ts';

/** As Temporal's own samples have it, so that their codec servers and ours read each other's metadata. */
export const encryptedEncoding = 'binary/encrypted';
const keyIdField = 'encryption-key-id';
const cipher = 'aes-256-gcm';
const keyBytes = 32;
/** Of GCM: 96 bits, random for each payload; 2^32 payloads a key stay far below any chance of a repetition that matters. */
const nonceBytes = 12;
const tagBytes = 16;

const schema = z.strictObject({
  /** The key that encrypts. */
  current: z.string().min(1),
  /** 32 bytes each, in base64. */
  keys: z.record(z.string().min(1).max(100), reference),
});

/**
 * Reads the keys' file that `KAFKA_CUTOVER_CODEC` names; null where none is named.
 *
 * @throws CutoverError CODEC_INVALID, never with a key
 */
export function readCodec(env: NodeJS.ProcessEnv): EncryptionCodec | null {
  if (!env.KAFKA_CUTOVER_CODEC) return null;
  const file = resolve(env.KAFKA_CUTOVER_CODEC);
  const { settings, refuse, secret } = readFileOfSecrets(file, schema, 'CODEC_INVALID', env);
  const { current, keys } = settings;
  const read = new Map<string, Buffer>();
  for (const [id, where] of Object.entries(keys)) {
    const key = Buffer.from(secret(where, `keys.${id}`), 'base64');
    if (key.length !== keyBytes) {
      return refuse(
        'not a key',
        `keys.${id}`,
        `${key.length} bytes`,
        `${keyBytes} bytes in base64 (\`openssl rand -base64 32\`)`,
      );
    }
    read.set(id, key);
  }
  if (!read.has(current))
    return refuse('the current key is not among the keys', 'current', current, [...read.keys()].join(', '));
  return new EncryptionCodec(current, read);
}

/** For client and worker; undefined where nothing is encrypted. */
export function dataConverterOf(codec: EncryptionCodec | null): DataConverter | undefined {
  return codec === null ? undefined : { payloadCodecs: [codec], failureConverterPath };
}

/** Loaded by its path, by Temporal's SDK: into the workflow bundle too. */
export const failureConverterPath = fileURLToPath(
  new URL(`./failure-converter${extname(import.meta.url)}`, import.meta.url),
);

export class EncryptionCodec implements PayloadCodec {
  readonly #current: string;
  readonly #keys: ReadonlyMap<string, Buffer>;

  constructor(current: string, keys: ReadonlyMap<string, Buffer>) {
    this.#current = current;
    this.#keys = keys;
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const id = Buffer.from(this.#current);
    const key = this.#keys.get(this.#current) as Buffer;
    return payloads.map((payload) => {
      const nonce = randomBytes(nonceBytes);
      const sealing = createCipheriv(cipher, key, nonce).setAAD(id);
      const plain = proto.temporal.api.common.v1.Payload.encode(payload).finish();
      const data = Buffer.concat([nonce, sealing.update(plain), sealing.final(), sealing.getAuthTag()]);
      return { metadata: { encoding: Buffer.from(encryptedEncoding), [keyIdField]: id }, data };
    });
  }

  /**
   * What was never encrypted stays as it is: people may send signals without the codec.
   *
   * @throws CutoverError PAYLOAD_UNREADABLE
   */
  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => (isEncrypted(payload) ? this.#opened(payload) : payload));
  }

  #opened({ metadata, data }: Payload): Payload {
    const id = Buffer.from(metadata?.[keyIdField] ?? []);
    const key = this.#keys.get(id.toString());
    if (!key)
      throw unreadable(`encrypted with key ${id.toString()}`, `one of the keys ${[...this.#keys.keys()].join(', ')}`);
    const sealed = Buffer.from(data ?? []);
    try {
      const opening = createDecipheriv(cipher, key, sealed.subarray(0, nonceBytes)).setAAD(id);
      opening.setAuthTag(sealed.subarray(-tagBytes));
      const plain = Buffer.concat([opening.update(sealed.subarray(nonceBytes, -tagBytes)), opening.final()]);
      return proto.temporal.api.common.v1.Payload.decode(plain);
    } catch {
      throw unreadable(`key ${id.toString()} does not open it`, 'the key that it was encrypted with');
    }
  }
}

export function isEncrypted({ metadata }: Payload): boolean {
  return metadata?.encoding !== undefined && Buffer.from(metadata.encoding).toString() === encryptedEncoding;
}

function unreadable(found: string, wanted: string): CutoverError {
  return new CutoverError('PAYLOAD_UNREADABLE', { what: 'a payload of Temporal cannot be decrypted', found, wanted });
}
