/** The report as JSON: what `report NAME --json` prints, and all that the HTML page is made of. */
import type { Evidence } from '../../migration/evidence.ts';
import type { EvidenceAnswer, StatusAnswer } from '../temporal-answers.ts';

export interface ReportDocument {
  readonly name: string;
  /** When the report was made, ISO 8601. */
  readonly at: string;
  /** Null while it runs. */
  readonly outcome: string | null;
  readonly pointer: EvidenceAnswer | null;
  /** Null before anything was stored. */
  readonly evidence: Evidence | null;
  /** Of the stored evidence, hex; null where it was put together from storage just now, as while the migration runs. */
  readonly evidenceSha256: string | null;
  /** What the workflow says; null without Temporal. */
  readonly status: StatusAnswer | null;
  readonly notes: readonly string[];
}
