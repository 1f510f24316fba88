/**
 * What Temporal answers, read loosely: the workflow may be of another build. Named fields are taken, with
 * a default where an older build does not send them; the rest is kept, and goes into `--json` as it came.
 */
import { z } from 'zod';

const text = z.string();

const approval = z.looseObject({
  by: text,
  at: text.default(''),
  how: text.default('claimed'),
  channel: text.default('signal'),
});

const openGate = z.looseObject({
  gate: text,
  wave: text.nullable().default(null),
  needed: z.number().default(1),
  approvers: z.array(text).default([]),
  proof: text.default('claimed'),
  given: z.array(approval).default([]),
  digest: text.nullable().default(null),
  deadline: text.nullable().default(null),
  openedAt: text.default(''),
  facts: z.array(text).default([]),
});
export type GateAnswer = z.infer<typeof openGate>;

const answered = z.looseObject({
  gate: text,
  wave: text.nullable().default(null),
  openedAt: text.default(''),
  outcome: text,
  by: z.array(z.looseObject({ by: text, how: text.default('claimed') })).default([]),
  at: text.nullable().default(null),
  reason: text.default(''),
});
export type AnsweredAnswer = z.infer<typeof answered>;

const step = z.looseObject({
  step: text,
  wave: text.nullable().default(null),
  direction: text.default('forward'),
  startedAt: text,
  endedAt: text.nullable().default(null),
  summary: text.default(''),
});
export type StepAnswer = z.infer<typeof step>;

const finding = z.looseObject({
  code: text,
  severity: text.default('info'),
  where: text.default(''),
  message: text.default(''),
  next: text.default(''),
  waived: z.looseObject({ by: text, reason: text.default('') }).optional(),
});
export type FindingAnswer = z.infer<typeof finding>;

const refusal = z.looseObject({
  message: text,
  by: text.default(''),
  at: text.default(''),
  code: text,
  text: text.default(''),
});

const failedStep = z.looseObject({
  step: text,
  code: text,
  message: text.default(''),
  choices: z.array(text).default([]),
  at: text.nullable().default(null),
});

const mirrorSettings = z.looseObject({ maxBytesPerSecond: z.number(), shards: z.number() });

const wave = z.looseObject({
  wave: text,
  step: text.nullable().default(null),
  state: text.nullable().default(null),
  sourceOfTruth: text.default('source'),
  since: text.nullable().default(null),
  proof: text.default(''),
  lagRecords: z.number().nullable().default(null),
});
export type WaveAnswer = z.infer<typeof wave>;

/** The `status` query (`contract/status.ts`). */
export const statusAnswer = z.looseObject({
  name: text,
  step: text,
  wave: text.nullable().default(null),
  state: text,
  awaiting: openGate.nullable().default(null),
  gates: z.array(openGate).default([]),
  answered: z.array(answered).default([]),
  failedStep: failedStep.nullable().default(null),
  decisions: z.array(text).default([]),
  sourceOfTruth: z.record(text, text).default({}),
  waves: z.array(wave).default([]),
  lagRecords: z.number().nullable().default(null),
  lagAsOf: text.nullable().default(null),
  findings: z.array(finding).default([]),
  refused: z.array(refusal).default([]),
  steps: z.array(step).default([]),
  digest: text.nullable().default(null),
  next: text.nullable().default(null),
  source: text.default('source'),
  target: text.default('target'),
  notUndone: z.array(text).default([]),
  mirror: mirrorSettings
    .extend({ tuned: mirrorSettings.nullable().default(null) })
    .nullable()
    .default(null),
});
export type StatusAnswer = z.infer<typeof statusAnswer>;

/** The `evidence` query. */
export const evidenceAnswer = z.looseObject({
  digest: text.nullable().default(null),
  artifact: text.nullable().default(null),
  summary: text.default(''),
});
export type EvidenceAnswer = z.infer<typeof evidenceAnswer>;

/** The answer to a message that was taken: what it did, one line. */
export const receiptAnswer = z.looseObject({ text });

/** What a migration that has ended gives back. */
export const resultAnswer = z.looseObject({
  outcome: text,
  evidence: evidenceAnswer.nullable().default(null),
  sourceOfTruth: z.record(text, text).default({}),
  notUndone: z.array(text).default([]),
});

/** The heartbeat of a mirror's or an audit's shard (`activities/types.ts`, ShardProgress). */
export const shardAnswer = z.looseObject({
  kind: z.enum(['mirror', 'audit']),
  direction: z.enum(['forward', 'reverse']),
  wave: text.default(''),
  topics: z.record(
    text,
    z.looseObject({
      position: z.number(),
      end: z.number(),
      records: z.number().default(0),
      bytes: z.number().default(0),
    }),
  ),
});

/** The heartbeat of `drainLag` or `followMetadata` (`activities/types.ts`, Holding). */
export const holdingAnswer = z.looseObject({ findings: z.array(finding) });
