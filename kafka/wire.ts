/**
 * Fetch and Produce with record batches as untouched bytes, which the library's own versions would
 * decode and encode again. Layouts: kafka.apache.org/protocol, Fetch v12 and Produce v9, both served by
 * Kafka 2.8 to 4.3. Errors stand in the answer, one per partition, and are never thrown from here.
 */
import { type Connection, createAPI, type Reader, Writer } from '@platformatic/kafka';

export interface RawFetchPartition {
  readonly partition: number;
  readonly fetchOffset: bigint;
  /** A first batch larger than this is returned all the same. */
  readonly maxBytes: number;
  /** -1: any. Known, an old or deposed leader refuses instead of answering. */
  readonly leaderEpoch?: number;
}

export interface RawFetchRequest {
  /** How long the broker may wait for `minBytes`. */
  readonly maxWaitMs: number;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly isolation: 'readUncommitted' | 'readCommitted';
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly RawFetchPartition[] }[];
  /** An incremental session, as `FetchSession` keeps it; none by default. */
  readonly session?: { readonly id: number; readonly epoch: number };
  /** Partitions that leave the session. */
  readonly forgotten?: readonly { readonly topic: string; readonly partitions: readonly number[] }[];
}

export interface RawFetchedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly lastStableOffset: bigint;
  readonly logStartOffset: bigint;
  readonly abortedTransactions: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[];
  /** Whole record batches, the last one possibly cut off; owned by the caller, who may change them. */
  readonly records: Buffer;
}

export interface RawFetchAnswer {
  /** Above 0: a quota holds us back, and the broker reads nothing more from us for so long. It may have left out all it had. */
  readonly throttleMs: number;
  readonly errorCode: number;
  /** 0: the broker keeps none for us. */
  readonly sessionId: number;
  readonly partitions: readonly RawFetchedPartition[];
}

const noRecords = Buffer.alloc(0);
const consumerReplicaId = -1;
const noSession = { id: 0, epoch: -1 };

function createFetchRequest(request: RawFetchRequest): Writer {
  return Writer.create()
    .appendInt32(consumerReplicaId)
    .appendInt32(request.maxWaitMs)
    .appendInt32(request.minBytes)
    .appendInt32(request.maxBytes)
    .appendInt8(request.isolation === 'readCommitted' ? 1 : 0)
    .appendInt32((request.session ?? noSession).id)
    .appendInt32((request.session ?? noSession).epoch)
    .appendArray([...request.topics], (writer, { topic, partitions }) => {
      writer.appendString(topic).appendArray([...partitions], (w, p) => {
        w.appendInt32(p.partition)
          .appendInt32(p.leaderEpoch ?? -1)
          .appendInt64(p.fetchOffset)
          .appendInt32(-1)
          .appendInt64(-1n)
          .appendInt32(p.maxBytes);
      });
    })
    .appendArray([...(request.forgotten ?? [])], (writer, { topic, partitions }) => {
      writer.appendString(topic).appendArray([...partitions], (w, partition) => w.appendInt32(partition), true, false);
    })
    .appendString('')
    .appendTaggedFields();
}

function parseFetchAnswer(
  _correlationId: number,
  _apiKey: number,
  _apiVersion: number,
  reader: Reader,
): RawFetchAnswer {
  const throttleMs = reader.readInt32();
  const errorCode = reader.readInt16();
  const sessionId = reader.readInt32();
  const partitions: RawFetchedPartition[] = [];
  reader.readArray((r) => {
    const topic = r.readString();
    r.readArray(() => {
      const partition = r.readInt32();
      const partitionError = r.readInt16();
      const highWatermark = r.readInt64();
      const lastStableOffset = r.readInt64();
      const logStartOffset = r.readInt64();
      const abortedTransactions = r.readArray(() => ({ producerId: r.readInt64(), firstOffset: r.readInt64() }));
      r.readInt32(); // preferred read replica
      partitions.push({
        topic,
        partition,
        errorCode: partitionError,
        highWatermark,
        lastStableOffset,
        logStartOffset,
        abortedTransactions,
        records: r.readNullableBytes() ?? noRecords,
      });
    });
  });
  return { throttleMs, errorCode, sessionId, partitions };
}

/** Fetch v12, as a consumer: gives nothing from the high watermark on. Without a session unless one is given. */
export const rawFetch = createAPI<[request: RawFetchRequest], RawFetchAnswer>(
  1,
  12,
  createFetchRequest,
  parseFetchAnswer,
);

export interface RawProduceRequest {
  /** How long the broker may wait for the in-sync replicas. */
  readonly timeoutMs: number;
  /** Whose batches these are where they are transactional; needs WRITE on it. */
  readonly transactionalId?: string;
  readonly topics: readonly {
    readonly topic: string;
    /** `records`: exactly one record batch (the broker takes no more), in any number of pieces. */
    readonly partitions: readonly { readonly partition: number; readonly records: readonly Buffer[] }[];
  }[];
}

export interface RawProducedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly errorCode: number;
  readonly errorMessage: string | null;
  /** -1 when nothing was appended; a batch that was there already answers with where it stands. */
  readonly baseOffset: bigint;
  readonly logStartOffset: bigint;
}

const acksAll = -1;

function createProduceRequest(request: RawProduceRequest): Writer {
  return Writer.create()
    .appendString(request.transactionalId ?? null)
    .appendInt16(acksAll)
    .appendInt32(request.timeoutMs)
    .appendArray([...request.topics], (writer, { topic, partitions }) => {
      writer.appendString(topic).appendArray([...partitions], (w, { partition, records }) => {
        let length = 0;
        for (const piece of records) length += piece.length;
        w.appendInt32(partition).appendUnsignedVarInt(length + 1);
        for (const piece of records) w.append(piece);
      });
    })
    .appendTaggedFields();
}

function parseProduceAnswer(
  _correlationId: number,
  _apiKey: number,
  _apiVersion: number,
  reader: Reader,
): RawProducedPartition[] {
  const partitions: RawProducedPartition[] = [];
  reader.readArray((r) => {
    const topic = r.readString();
    r.readArray(() => {
      const partition = r.readInt32();
      const errorCode = r.readInt16();
      const baseOffset = r.readInt64();
      r.readInt64(); // log append time
      const logStartOffset = r.readInt64();
      let message: string | null = null;
      r.readArray(() => {
        r.readInt32(); // index of the record
        message = r.readNullableString() ?? message;
      });
      message = r.readNullableString() ?? message;
      partitions.push({ topic, partition, errorCode, errorMessage: message, baseOffset, logStartOffset });
    });
  });
  return partitions;
}

/** Produce v9 with acks=all. */
export const rawProduce = createAPI<[request: RawProduceRequest], RawProducedPartition[]>(
  0,
  9,
  createProduceRequest,
  parseProduceAnswer,
);

/**
 * Ends a connection at once: its pending requests fail, though what was sent may still arrive. `close` alone would wait for a
 * frozen broker to take what is in the socket; destroying the socket alone would leave the timer of a SASL session behind.
 */
export function dropConnection(connection: Connection): void {
  connection.close().catch(() => {});
  connection.socket?.destroy();
}
