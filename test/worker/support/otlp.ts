/** A collector of traces as OTLP over HTTP has it: takes spans in protobuf (opentelemetry/proto/trace/v1/trace.proto) and keeps what tests look at. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it is the root. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly events: readonly string[];
  /** What the status says of a failure; null where there is none. */
  readonly failure: string | null;
  /** Of the service that sent it. */
  readonly service: string;
}

export interface Collector extends AsyncDisposable {
  readonly url: string;
  readonly spans: readonly CollectedSpan[];
}

export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.url === '/v1/traces') spans.push(...spansOf(Buffer.concat(chunks)));
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A message's fields by their numbers: bytes for what has a length, else the number. */
type Fields = Map<number, (Buffer | number)[]>;

function spansOf(request: Buffer): CollectedSpan[] {
  return all(request, 1).flatMap((resourceSpans) => {
    const [resource] = all(resourceSpans, 1);
    const service = resource ? String(attributesOf(resource, 1)['service.name']) : '';
    return all(resourceSpans, 2)
      .flatMap((scopeSpans) => all(scopeSpans, 2))
      .map((span) => spanOf(span, service));
  });
}

function spanOf(span: Buffer, service: string): CollectedSpan {
  const fields = fieldsOf(span);
  const bytes = (field: number) => (fields.get(field)?.[0] ?? Buffer.alloc(0)) as Buffer;
  const nanoseconds = (field: number) => Number(fields.get(field)?.[0] ?? 0);
  const status = fieldsOf(bytes(15));
  return {
    traceId: bytes(1).toString('hex'),
    spanId: bytes(2).toString('hex'),
    parentSpanId: bytes(4).toString('hex'),
    name: bytes(5).toString(),
    startMs: nanoseconds(7) / 1e6,
    endMs: nanoseconds(8) / 1e6,
    attributes: attributesOf(span, 9),
    events: all(span, 11).map((event) => String(all(event, 2)[0])),
    failure: status.get(3)?.[0] === 2 ? String(status.get(2)?.[0] ?? '') : null,
    service,
  };
}

function attributesOf(message: Buffer, field: number): Record<string, string | number> {
  return Object.fromEntries(
    all(message, field).map((pair) => {
      const [key, value] = [all(pair, 1)[0], fieldsOf(all(pair, 2)[0] ?? Buffer.alloc(0))];
      const text = value.get(1)?.[0];
      return [String(key), text === undefined ? Number(value.get(3)?.[0] ?? 0) : String(text)];
    }),
  );
}

const all = (message: Buffer, field: number) => (fieldsOf(message).get(field) ?? []) as Buffer[];

/** Of the wire format (protobuf.dev, "Encoding"): varints, 64 bits, what has a length, 32 bits. */
function fieldsOf(message: Buffer): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag & 7;
    let value: Buffer | number;
    if (type === 0) value = varint();
    else if (type === 1) {
      value = Number(message.readBigUInt64LE(at));
      at += 8;
    } else if (type === 5) {
      value = message.readUInt32LE(at);
      at += 4;
    } else {
      const length = varint();
      value = message.subarray(at, at + length);
      at += length;
    }
    fields.set(tag >>> 3, [...(fields.get(tag >>> 3) ?? []), value]);
  }
  return fields;
}
