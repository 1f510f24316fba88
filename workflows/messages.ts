/**
 * The messages and queries of the workflow `cutover`, free of logic, so that the CLI and the tests send
 * exactly what the workflow takes. Each message is a signal, and an update of the same name for senders
 * that want an answer: a refused update throws an `ApplicationFailure` whose `type` is a code.
 */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type {
  AbortMessage,
  DecideMessage,
  EvidencePointer,
  GateMessage,
  MessageName,
  Status,
  TuneMessage,
} from '../contract/status.ts';

/** The answer to an update that was accepted. */
export interface Receipt {
  readonly message: MessageName;
  readonly by: string;
  /** ISO 8601. */
  readonly at: string;
  /** What it did, one line: "approved cutover, 1 of 2". */
  readonly text: string;
}

export const approveSignal = defineSignal<[GateMessage]>('approve');
export const rejectSignal = defineSignal<[GateMessage]>('reject');
export const pauseSignal = defineSignal<[GateMessage]>('pause');
export const resumeSignal = defineSignal<[GateMessage]>('resume');
export const rollbackSignal = defineSignal<[GateMessage]>('rollback');
export const abortSignal = defineSignal<[AbortMessage]>('abort');
export const decideSignal = defineSignal<[DecideMessage]>('decide');
export const tuneSignal = defineSignal<[TuneMessage]>('tune');

export const approveUpdate = defineUpdate<Receipt, [GateMessage]>('approve');
export const rejectUpdate = defineUpdate<Receipt, [GateMessage]>('reject');
export const pauseUpdate = defineUpdate<Receipt, [GateMessage]>('pause');
export const resumeUpdate = defineUpdate<Receipt, [GateMessage]>('resume');
export const rollbackUpdate = defineUpdate<Receipt, [GateMessage]>('rollback');
export const abortUpdate = defineUpdate<Receipt, [AbortMessage]>('abort');
export const decideUpdate = defineUpdate<Receipt, [DecideMessage]>('decide');
export const tuneUpdate = defineUpdate<Receipt, [TuneMessage]>('tune');

export const statusQuery = defineQuery<Status>('status');
export const evidenceQuery = defineQuery<EvidencePointer>('evidence');

/** What each message does, for Temporal's UI. */
export const messageDescriptions: Readonly<Record<MessageName, string>> = {
  approve: 'Approves an open gate: {"gate":"cutover","by":"who"}. Add "digest" to approve only what you saw.',
  reject: 'Rejects an open gate: {"gate":"cutover","by":"who","reason":"why"}.',
  pause: 'Stops at the next step border; a fence is lifted first: {"by":"who"}.',
  resume: 'Goes on after a pause, or after a rejected cutover gate: {"by":"who"}.',
  rollback: 'Goes back: after the opening it opens gate rollback, before it equals abort: {"by":"who"}.',
  abort: 'Ends the migration before the target was opened: {"by":"who","removeTarget":false}.',
  tune: 'Changes the mirror while it runs: {"maxBytesPerSecond":50000000,"shards":4,"by":"who"}. 0 bytes: no limit.',
  decide: 'Says how to go on after a failed step: {"step":"verify","choice":"retry","by":"who"}.',
};
