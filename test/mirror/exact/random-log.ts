/** Random logs as data: what is written, by whom, in which order. `log-writer.ts` writes them. */
import * as fc from 'fast-check';
import { codecNames } from '../../../kafka/codecs.ts';

export interface ProducerShape {
  readonly name: string;
  readonly kind: 'plain' | 'idempotent' | 'transactional';
  readonly codec: string;
  readonly lingerMs: number;
  readonly batchBytes: number;
}

/** As WriteLog.java takes it: bytes as base64, `t` in milliseconds and the time of writing when left out. */
export interface RecordShape {
  readonly k: string | null;
  readonly v: { readonly seed: number; readonly size: number; readonly noise: boolean } | null;
  readonly t?: number;
  readonly h?: readonly (readonly [string, string | null])[];
}

export type LogStep =
  /** A transactional producer begins a transaction where none of its is open. */
  | {
      readonly do: 'send';
      readonly producer: number;
      readonly partition: number;
      readonly records: readonly RecordShape[];
    }
  /** Nothing where no transaction is open. */
  | { readonly do: 'commit' | 'abort'; readonly producer: number }
  /** Every open transaction is committed or aborted, by turns. */
  | { readonly do: 'endAll' }
  /** Records at times that no Java client sends (before 1970), by our own encoder. */
  | {
      readonly do: 'raw';
      readonly partition: number;
      readonly codec: (typeof codecNames)[number];
      readonly count: number;
    }
  /** Cuts away this share of what the log holds. */
  | { readonly do: 'deleteRecords'; readonly partition: number; readonly share: number }
  /** The source's own cleaner runs over what is closed and decided. */
  | { readonly do: 'compact' }
  | { readonly do: 'timestampType'; readonly type: 'CreateTime' | 'LogAppendTime' };

export interface RandomLog {
  readonly partitions: number;
  readonly producers: readonly ProducerShape[];
  readonly steps: readonly LogStep[];
  /** Written after the first look, when the mirror had caught up with `steps`: what was left open is ended in the course of it. */
  readonly tail: readonly LogStep[];
}

const base64 = (text: string) => Buffer.from(text).toString('base64');
const day = 86_400_000;

const key = fc.oneof(
  { weight: 1, arbitrary: fc.constant(null) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 9 }).map((n) => base64(`key-${n}`)) },
  { weight: 1, arbitrary: fc.constant('') },
);
const value = fc.oneof(
  { weight: 1, arbitrary: fc.constant(null) },
  {
    weight: 8,
    arbitrary: fc.record({ seed: fc.nat(10_000), size: fc.integer({ min: 0, max: 300 }), noise: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      seed: fc.nat(10_000),
      size: fc.integer({ min: 20_000, max: 200_000 }),
      noise: fc.boolean(),
    }),
  },
);
/** Of the time of writing mostly; also the beginning of time, twenty years ago, tomorrow, and the year 2286. */
const timestamp = fc.oneof(
  { weight: 4, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.constantFrom(0, 1, 10 ** 12, 10 ** 13) },
  { weight: 2, arbitrary: fc.integer({ min: 1_000_000_000_000, max: 1_000_000_000_000 + 100 * day }) },
);
const headers = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  {
    weight: 1,
    arbitrary: fc.array(
      fc.tuple(fc.constantFrom('twice', 'naïve', ''), fc.constantFrom(null, '', base64('once'), base64('twice'))),
      { minLength: 1, maxLength: 4 },
    ),
  },
);

export const record: fc.Arbitrary<RecordShape> = fc
  .record({ k: key, v: value, t: timestamp, h: headers })
  .map(({ k, v, t, h }) => ({ k, v, ...(t !== undefined && { t }), ...(h !== undefined && { h }) }));

/** A pool: producers are kept by WriteLog.java, so that the next log does not pay for them again. */
function producersOf(shapes: readonly Omit<ProducerShape, 'name' | 'kind'>[]): ProducerShape[] {
  const kinds = ['transactional', 'transactional', 'transactional', 'idempotent', 'idempotent', 'plain'] as const;
  return kinds.map((kind, i) => {
    const shape = shapes[i % shapes.length] ?? { codec: 'none', lingerMs: 0, batchBytes: 16_384 };
    return { name: `${kind}-${i}-${shape.codec}-${shape.lingerMs}-${shape.batchBytes}`, kind, ...shape };
  });
}

const shape = fc.record({
  codec: fc.constantFrom(...codecNames),
  lingerMs: fc.constantFrom(0, 20),
  batchBytes: fc.constantFrom(1, 1_000, 16_384, 300_000),
});

function step(partitions: number, options: { readonly rare: boolean }): fc.Arbitrary<LogStep> {
  const partition = fc.nat(partitions - 1);
  const send = (from: number, to: number) =>
    fc.record({
      do: fc.constant('send' as const),
      producer: fc.integer({ min: from, max: to }),
      partition,
      records: fc.array(record, { minLength: 1, maxLength: 12 }),
    });
  return fc.oneof(
    { weight: 8, arbitrary: send(0, 2) },
    { weight: 5, arbitrary: send(3, 5) },
    { weight: 2, arbitrary: fc.constant({ do: 'endAll' as const }) },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constantFrom('commit' as const, 'abort' as const), producer: fc.nat(2) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('raw' as const),
        partition,
        codec: fc.constantFrom(...codecNames),
        count: fc.integer({ min: 1, max: 20 }),
      }),
    },
    ...(options.rare
      ? [
          { weight: 1, arbitrary: fc.constant({ do: 'compact' as const }) },
          {
            weight: 1,
            arbitrary: fc.record({
              do: fc.constant('deleteRecords' as const),
              partition,
              share: fc.double({ min: 0, max: 0.6, noNaN: true }),
            }),
          },
          {
            weight: 1,
            arbitrary: fc.record({
              do: fc.constant('timestampType' as const),
              type: fc.constantFrom('CreateTime' as const, 'LogAppendTime' as const),
            }),
          },
        ]
      : []),
  );
}

/** Logs of `stepsMax` steps or fewer, of all shapes in random mixtures. */
export function randomLog(stepsMax = 40): fc.Arbitrary<RandomLog> {
  return fc
    .record({ partitions: fc.integer({ min: 1, max: 2 }), shapes: fc.array(shape, { minLength: 2, maxLength: 3 }) })
    .chain(({ partitions, shapes }) =>
      fc.record({
        partitions: fc.constant(partitions),
        producers: fc.constant(producersOf(shapes)),
        // A mirror that runs already may not be overtaken: what cuts or cleans the log is written before it starts.
        steps: fc.array(step(partitions, { rare: true }), { minLength: 5, maxLength: stepsMax, size: 'max' }),
        tail: fc.array(step(partitions, { rare: false }), { maxLength: 12, size: 'max' }),
      }),
    );
}

export interface LiveLogOptions {
  readonly seed: number;
  readonly partitions: number;
  readonly count: number;
  /** False: plain records alone, which need no owner. */
  readonly transactions: boolean;
  /** Timestamps of years ago among those of now. */
  readonly old: boolean;
}

export const liveProducers: readonly ProducerShape[] = producersOf([
  { codec: 'none', lingerMs: 0, batchBytes: 16_384 },
  { codec: 'lz4', lingerMs: 0, batchBytes: 1_000 },
  { codec: 'zstd', lingerMs: 0, batchBytes: 16_384 },
]);

/** Steps for a log that grows while it is mirrored: small records, short transactions, about a third of the slots invisible to readers of committed records. */
export function liveSteps({ seed, partitions, count, transactions, old }: LiveLogOptions): LogStep[] {
  const small = fc
    .record({
      k: key,
      v: fc.record({ seed: fc.nat(10_000), size: fc.nat(100), noise: fc.boolean() }),
      t: old ? timestamp : fc.constant(undefined),
    })
    .map(({ k, v, t }) => ({ k, v, ...(t !== undefined && { t }) }));
  const send = (from: number, to: number) =>
    fc.record({
      do: fc.constant('send' as const),
      producer: fc.integer({ min: from, max: to }),
      partition: fc.nat(partitions - 1),
      records: fc.array(small, { minLength: 1, maxLength: 4 }),
    });
  const end = fc.record({ do: fc.constantFrom('commit' as const, 'abort' as const), producer: fc.nat(2) });
  const steps = transactions
    ? fc.oneof(
        { weight: 4, arbitrary: send(0, 2) },
        { weight: 1, arbitrary: send(3, 5) },
        { weight: 4, arbitrary: end },
      )
    : send(3, 5);
  return fc.sample(steps, { seed, numRuns: count });
}
