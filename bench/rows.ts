/** Every row, in the document's order. */
import type { Row } from './row.ts';
import { ceiling } from './rows/ceiling.ts';
import { lz4, oneRecord, plain1k, transactions } from './rows/copies.ts';
import { far } from './rows/far.ts';
import { groupOffsets } from './rows/group-offsets.ts';
import { headGap } from './rows/head-gap.ts';
import { idle } from './rows/idle.ts';
import { live, liveReplicated } from './rows/live.ts';
import { memory } from './rows/memory.ts';
import { preflight } from './rows/preflight.ts';
import { report } from './rows/report.ts';
import { slack } from './rows/slack.ts';
import { verification } from './rows/verification.ts';
import { writePause } from './rows/write-pause.ts';

export const rows: readonly Row[] = [
  plain1k,
  lz4,
  oneRecord,
  ceiling,
  far,
  idle,
  live,
  liveReplicated,
  transactions,
  headGap,
  memory,
  preflight,
  groupOffsets,
  verification,
  writePause,
  report,
  slack,
];
