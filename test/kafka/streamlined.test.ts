import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { type Connection, createAPI, type Reader, Writer } from '@platformatic/kafka';
import { toCutoverError } from '../../kafka/kafka-errors.ts';
import { SteadyConnection } from '../../kafka/login.ts';
import { streamlined } from '../../kafka/streamlined.ts';
import { dropConnection } from '../../kafka/wire.ts';

/** Sends bytes and gives those of the answer. */
const echo = createAPI<[bytes: readonly Buffer[]], Buffer>(
  0,
  9,
  (bytes: readonly Buffer[]) => {
    const writer = Writer.create();
    for (const piece of bytes) writer.append(piece);
    return writer;
  },
  (_correlationId, _key, _version, reader: Reader) => reader.buffer.slice(reader.position, reader.length),
);

/** Requests as they came, without their heads, and a way to answer them. */
interface Asked {
  readonly id: number;
  readonly body: Buffer;
  readonly socket: Socket;
}

const clientId = 'streamlined-test';
const headBytes = 4 + 2 + 2 + 4 + 2 + clientId.length + 1;

async function connect(t: TestContext, onAsked: (asked: Asked) => void, requestTimeoutMs = 30_000) {
  const server = createServer((socket) => {
    let bytes = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
        const end = 4 + bytes.readInt32BE(0);
        onAsked({ id: bytes.readInt32BE(8), body: bytes.subarray(headBytes, end), socket });
        bytes = bytes.subarray(end);
      }
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const connection = new SteadyConnection(clientId, {});
  connection.on('error', () => {});
  await connection.connect('127.0.0.1', (server.address() as { port: number }).port);
  t.after(() => {
    dropConnection(connection);
    server.close();
  });
  return streamlined(connection, { clientId, requestTimeoutMs });
}

function answer(id: number, body: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeInt32BE(5 + body.length, 0);
  head.writeInt32BE(id, 4);
  return Buffer.concat([head, body]);
}

const unreachable = (error: unknown) => toCutoverError(error, 'here').code === 'CLUSTER_UNREACHABLE';

describe('a connection whose socket was taken over', () => {
  it('carries small and large pieces, and answers of megabytes, as they are', async (t) => {
    const connection = await connect(t, ({ id, body, socket }) => socket.write(answer(id, body)));
    for (const sizes of [[10], [3, 5_000_000, 7, 200_000], [65_527], [65_536, 1]]) {
      const pieces = sizes.map((size) => randomBytes(size));
      assert.deepEqual(await echo.async(connection, pieces), Buffer.concat(pieces));
    }
  });

  it('tells answers apart that come in one go, in bits, and in another order', async (t) => {
    const waiting: Buffer[] = [];
    const connection = await connect(t, ({ id, body, socket }) => {
      waiting.unshift(answer(id, body));
      if (waiting.length < 3) return;
      const all = Buffer.concat(waiting.splice(0));
      // The first length is cut in two, so is an answer.
      socket.write(all.subarray(0, 2), () => {
        setImmediate(() =>
          socket.write(all.subarray(2, 150_000), () => setImmediate(() => socket.write(all.subarray(150_000)))),
        );
      });
    });
    const sent = [randomBytes(20), randomBytes(100_000), randomBytes(90_000)];
    const got = await Promise.all(sent.map((bytes) => echo.async(connection, [bytes])));
    assert.deepEqual(got, sent);
  });

  it('sends what is more than may be on its way once there is room', async (t) => {
    const waiting: Asked[] = [];
    let atOnce = 0;
    const connection = await connect(t, (asked) => {
      waiting.push(asked);
      atOnce = Math.max(atOnce, waiting.length);
      setTimeout(() => {
        for (const { id, body, socket } of waiting.splice(0)) socket.write(answer(id, body));
      }, 1);
    });
    const sent = Array.from({ length: 300 }, (_, index) => Buffer.from(`request ${index}`));
    const got = await Promise.all(sent.map((bytes) => echo.async(connection, [bytes])));
    assert.deepEqual(got, sent);
    assert.ok(atOnce <= 64, `${atOnce} at once`);
  });

  it('fails what is pending when the broker closes, and when it is dropped', async (t) => {
    const closed = await connect(t, ({ socket }) => socket.end());
    await assert.rejects(echo.async(closed, [Buffer.from('x')]), unreachable);
    await assert.rejects(echo.async(closed, [Buffer.from('later')]), unreachable);
    assert.equal(closed.isConnected(), false);

    const dropped: Connection = await connect(t, () => dropConnection(dropped));
    await assert.rejects(echo.async(dropped, [Buffer.from('x')]), unreachable);
  });

  it('ends when an answer does not come in time, or is for nothing that was asked', async (t) => {
    const silent = await connect(t, () => {}, 50);
    await assert.rejects(echo.async(silent, [Buffer.from('x')]), unreachable);
    await assert.rejects(echo.async(silent, [Buffer.from('later')]), unreachable);

    const astray = await connect(t, ({ id, socket }) => socket.write(answer(id + 1, Buffer.alloc(0))));
    await assert.rejects(echo.async(astray, [Buffer.from('x')]), unreachable);
  });
});
