/** A record as applications see it, whatever it was packed in. */
export interface RecordHeader {
  readonly key: Buffer;
  readonly value: Buffer | null;
}

export interface KafkaRecord {
  readonly offset: bigint;
  readonly timestamp: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
}
