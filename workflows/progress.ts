/**
 * What a migration tells whoever watches its workers: each step, each gate and the whole, in their logs and traces. Both go to the worker by sinks, which
 * leave nothing in the history and decide nothing, so that tracing may be switched on and off while migrations run.
 */
import { log, proxySinks, type Sinks } from '@temporalio/workflow';
import { answeredGates, type MigrationState } from './state.ts';

/** What is over. Times are ISO 8601. */
export interface Span {
  readonly kind: 'migration' | 'step' | 'gate';
  /** Of the step or gate; of the migration itself where it is meant. */
  readonly name: string;
  readonly migration: string;
  /** Null: the plan's. */
  readonly wave: string | null;
  readonly startedAt: string;
  readonly endedAt: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Moments in it: when each part of a step was over. */
  readonly events: readonly { readonly name: string; readonly at: string }[];
}

export interface TraceSinks extends Sinks {
  readonly traces: {
    /** May be told the same span twice, where a workflow task was tried again. */
    ended(span: Span): void;
  };
}

const { traces } = proxySinks<TraceSinks>();

/** Tells what has begun, changed or ended since `before`. */
export function tellProgress(before: MigrationState, after: MigrationState, now: string): void {
  const { name: migration, startedAt, ended, waves } = after.shared;
  const known = new Set(entriesOf(before, now).map(keyOf));
  for (const entry of entriesOf(after, now)) if (!known.has(keyOf(entry))) tell(migration, entry);
  for (const [wave, { sourceOfTruth: cluster }] of Object.entries(waves)) {
    const was = before.shared.waves[wave]?.sourceOfTruth ?? 'source';
    if (cluster !== was) log.info('source of truth changed', { migration, wave, cluster, was });
  }
  if (ended === null || before.shared.ended !== null) return;
  const whole = { kind: 'migration', name: migration, wave: null, startedAt, attributes: { outcome: ended } } as const;
  tell(migration, { ...whole, endedAt: now, events: [], text: '' });
}

/** What has begun, and what of it is over. */
interface Entry extends Omit<Span, 'migration' | 'endedAt'> {
  readonly endedAt: string | null;
  /** One line for people. */
  readonly text: string;
}

function tell(migration: string, { text, ...entry }: Entry): void {
  const { kind, name, wave, startedAt, endedAt, attributes } = entry;
  const fields = { migration, ...(wave !== null && { wave }), [kind]: name, ...attributes };
  if (endedAt === null) {
    log.info(`${kind} began`, fields);
    return;
  }
  const seconds = (Date.parse(endedAt) - Date.parse(startedAt)) / 1_000;
  log.info(`${kind} ended`, { ...fields, seconds, ...(text !== '' && { text }) });
  traces.ended({ ...entry, migration, endedAt });
}

/** A step that is over stands there twice: as it began, and as it ended. */
function entriesOf({ own, shared }: MigrationState, now: string): Entry[] {
  const steps = own.flatMap((wave) => wave.steps);
  return [
    ...steps.flatMap(({ step, wave, direction, startedAt, endedAt, phases = [], summary }) => {
      const events = phases.map(({ name, endedAt: at }) => ({ name, at }));
      const begun = { kind: 'step', name: step, wave, startedAt, attributes: { direction } } as const;
      const entries: Entry[] = [{ ...begun, endedAt: null, events: [], text: '' }];
      if (endedAt !== null) entries.push({ ...begun, endedAt, events, text: summary });
      return entries;
    }),
    ...answeredGates(shared).map(({ gate, wave, openedAt, outcome, by, at, reason }): Entry => {
      const text = [by.map((one) => one.by).join(', '), reason].filter((part) => part !== '').join(': ');
      const span = { kind: 'gate', name: gate, wave, startedAt: openedAt, attributes: { outcome } } as const;
      return { ...span, endedAt: at ?? now, events: [], text };
    }),
  ];
}

const keyOf = ({ kind, name, wave, startedAt, endedAt }: Entry) =>
  `${kind} ${wave} ${name} ${startedAt} ${endedAt !== null}`;
