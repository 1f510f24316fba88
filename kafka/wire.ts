/**
 * Fetch and Produce with record batches as untouched bytes, which the library's own versions would
 * decode and encode again. Layouts: kafka.apache.org/protocol, Fetch v12 and Produce v9, both served by
 * Kafka 2.8 to 4.3, and the last ones before compact lengths and tagged fields, Fetch v11 and Produce v8, from 2.5 on.
 * Errors stand in the answer, one per partition, and are never thrown from here.
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
/** Followers' fields. The leader's epoch is all that consumers send of KIP-320, Java's too. */
const lastFetchedEpoch = -1;
const followersLogStart = -1n;
const noRack = '';

/** `compact`: lengths as varints, and tagged fields at the end of what has fields (KIP-482). */
function createFetchRequest(request: RawFetchRequest, compact: boolean): Writer {
  const writer = Writer.create()
    .appendInt32(consumerReplicaId)
    .appendInt32(request.maxWaitMs)
    .appendInt32(request.minBytes)
    .appendInt32(request.maxBytes)
    .appendInt8(request.isolation === 'readCommitted' ? 1 : 0)
    .appendInt32((request.session ?? noSession).id)
    .appendInt32((request.session ?? noSession).epoch);
  const appendPartition = (w: Writer, p: RawFetchPartition) => {
    w.appendInt32(p.partition)
      .appendInt32(p.leaderEpoch ?? -1)
      .appendInt64(p.fetchOffset);
    if (compact) w.appendInt32(lastFetchedEpoch);
    w.appendInt64(followersLogStart).appendInt32(p.maxBytes);
  };
  writer.appendArray(
    [...request.topics],
    (w, { topic, partitions }) => {
      w.appendString(topic, compact).appendArray([...partitions], appendPartition, compact, compact);
    },
    compact,
    compact,
  );
  writer.appendArray(
    [...(request.forgotten ?? [])],
    (w, { topic, partitions }) => {
      w.appendString(topic, compact).appendArray([...partitions], (each, p) => each.appendInt32(p), compact, false);
    },
    compact,
    compact,
  );
  writer.appendString(noRack, compact);
  return compact ? writer.appendTaggedFields() : writer;
}

function parseFetchAnswer(_correlationId: number, _apiKey: number, version: number, reader: Reader): RawFetchAnswer {
  const compact = version >= compactFetch;
  const throttleMs = reader.readInt32();
  const errorCode = reader.readInt16();
  const sessionId = reader.readInt32();
  const partitions: RawFetchedPartition[] = [];
  const readAborted = () => ({ producerId: reader.readInt64(), firstOffset: reader.readInt64() });
  const readPartition = (topic: string) => {
    const partition = reader.readInt32();
    const partitionError = reader.readInt16();
    const highWatermark = reader.readInt64();
    const lastStableOffset = reader.readInt64();
    const logStartOffset = reader.readInt64();
    const abortedTransactions = reader.readArray(readAborted, compact, compact);
    reader.readInt32(); // preferred read replica
    partitions.push({
      topic,
      partition,
      errorCode: partitionError,
      highWatermark,
      lastStableOffset,
      logStartOffset,
      abortedTransactions,
      records: reader.readNullableBytes(compact) ?? noRecords,
    });
  };
  const readTopic = () => {
    const topic = reader.readString(compact);
    reader.readArray(() => readPartition(topic), compact, compact);
  };
  reader.readArray(readTopic, compact, compact);
  return { throttleMs, errorCode, sessionId, partitions };
}

/** The first versions with compact lengths. */
const compactFetch = 12;
const compactProduce = 9;

/** Fetch v12, as a consumer: gives nothing from the high watermark on. Without a session unless one is given. */
export const rawFetch = createAPI<[request: RawFetchRequest], RawFetchAnswer>(
  1,
  compactFetch,
  (request: RawFetchRequest) => createFetchRequest(request, true),
  parseFetchAnswer,
);

/** The same for Kafka before 2.7. */
export const rawFetchV11 = createAPI<[request: RawFetchRequest], RawFetchAnswer>(
  1,
  11,
  (request: RawFetchRequest) => createFetchRequest(request, false),
  parseFetchAnswer,
  false,
  false,
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

function createProduceRequest(request: RawProduceRequest, compact: boolean): Writer {
  const appendPartition = (
    w: Writer,
    { partition, records }: RawProduceRequest['topics'][number]['partitions'][number],
  ) => {
    let length = 0;
    for (const piece of records) length += piece.length;
    w.appendInt32(partition);
    if (compact) w.appendUnsignedVarInt(length + 1);
    else w.appendInt32(length);
    for (const piece of records) w.append(piece);
  };
  const writer = Writer.create()
    .appendString(request.transactionalId ?? null, compact)
    .appendInt16(acksAll)
    .appendInt32(request.timeoutMs)
    .appendArray(
      [...request.topics],
      (w, { topic, partitions }) => {
        w.appendString(topic, compact).appendArray([...partitions], appendPartition, compact, compact);
      },
      compact,
      compact,
    );
  return compact ? writer.appendTaggedFields() : writer;
}

function parseProduceAnswer(
  _correlationId: number,
  _apiKey: number,
  version: number,
  reader: Reader,
): RawProducedPartition[] {
  const compact = version >= compactProduce;
  const partitions: RawProducedPartition[] = [];
  const readPartition = (topic: string) => {
    const partition = reader.readInt32();
    const errorCode = reader.readInt16();
    const baseOffset = reader.readInt64();
    reader.readInt64(); // log append time
    const logStartOffset = reader.readInt64();
    let message: string | null = null;
    const readRecordError = () => {
      reader.readInt32(); // index of the record
      message = reader.readNullableString(compact) ?? message;
    };
    reader.readArray(readRecordError, compact, compact);
    message = reader.readNullableString(compact) ?? message;
    partitions.push({ topic, partition, errorCode, errorMessage: message, baseOffset, logStartOffset });
  };
  const readTopic = () => {
    const topic = reader.readString(compact);
    reader.readArray(() => readPartition(topic), compact, compact);
  };
  reader.readArray(readTopic, compact, compact);
  return partitions;
}

/** Produce v9 with acks=all. */
export const rawProduce = createAPI<[request: RawProduceRequest], RawProducedPartition[]>(
  0,
  compactProduce,
  (request: RawProduceRequest) => createProduceRequest(request, true),
  parseProduceAnswer,
);

/** The same for Kafka before 2.8. */
export const rawProduceV8 = createAPI<[request: RawProduceRequest], RawProducedPartition[]>(
  0,
  8,
  (request: RawProduceRequest) => createProduceRequest(request, false),
  parseProduceAnswer,
  false,
  false,
);

/**
 * Ends a connection at once: its pending requests fail, though what was sent may still arrive. `close` alone would wait for a
 * frozen broker to take what is in the socket; destroying the socket alone would leave the timer of a SASL session behind.
 */
export function dropConnection(connection: Connection): void {
  connection.close().catch(() => {});
  connection.socket?.destroy();
}
