/** Puts the report's document together: what Temporal says, and what is stored on the clusters. Either may be missing, not both. */
import { CutoverError } from '../../contract/errors.ts';
import type { StepRecord } from '../../contract/status.ts';
import { readClusters } from '../../kafka/clusters.ts';
import { CutoverClient } from '../cutover-client.ts';
import { storedEvidence } from '../stored-evidence.ts';
import type { StatusAnswer } from '../temporal-answers.ts';
import { toJson } from '../terminal.ts';
import type { ReportDocument } from './document.ts';

/**
 * @throws CutoverError MIGRATION_NOT_FOUND where neither knows of it; what connecting throws, unless the other half answers
 */
export async function readReport(env: NodeJS.ProcessEnv, name: string): Promise<ReportDocument> {
  const notes: string[] = [];
  const running = await CutoverClient.connect(env).then(
    (client) => fromTemporal(client, name),
    // What is stored on the clusters outlives Temporal.
    (error) => notable(error, ['TEMPORAL_UNREACHABLE'], notes),
  );
  const stored = await fromClusters(env, name, running).catch((error) => {
    if (!running) throw error;
    return notable(error, ['CLUSTERS_INVALID', 'CLUSTER_UNKNOWN', 'CLUSTER_UNREACHABLE', 'CLUSTER_AUTH_FAILED'], notes);
  });
  if (!running && !stored) {
    throw new CutoverError('MIGRATION_NOT_FOUND', {
      what: `Temporal does not answer, and no evidence of ${name} is stored on the clusters`,
      found: notes.join('; '),
      next: 'Check TEMPORAL_ADDRESS, the name, and clusters.yaml.',
    });
  }
  const written = stored?.sha256 ? stored.evidence.outcome : null;
  return {
    name,
    at: new Date().toISOString(),
    outcome: running ? running.outcome : written,
    pointer: running?.evidence ?? null,
    evidence: stored?.evidence ?? null,
    evidenceSha256: stored?.sha256 ?? null,
    status: running?.status ?? null,
    notes: [...notes, ...(running?.note ? [running.note] : [])],
  };
}

/** As the JSON has it: the page shows nothing else. */
export function asJson(document: ReportDocument): ReportDocument {
  return JSON.parse(toJson(document)) as ReportDocument;
}

interface Running {
  readonly status: StatusAnswer;
  readonly note: string | null;
  /** Null while it runs. */
  readonly outcome: string | null;
  readonly evidence: ReportDocument['pointer'];
}

async function fromTemporal(connected: CutoverClient, name: string): Promise<Running> {
  await using client = connected;
  const { status, note, ending } = await client.observe(name);
  return { status, note, outcome: ending?.outcome ?? null, evidence: await client.evidence(name) };
}

async function fromClusters(env: NodeJS.ProcessEnv, name: string, running: Running | null) {
  const goesOn = running !== null && running.outcome === null;
  const steps = goesOn ? (running.status.steps as unknown as StepRecord[]) : null;
  return storedEvidence(readClusters(undefined, env), name, running?.status ?? null, env, steps);
}

/** A report without one of its halves says so; any other failure is one. */
function notable(error: unknown, codes: readonly string[], notes: string[]): null {
  if (!(error instanceof CutoverError) || !codes.includes(error.code)) throw error;
  notes.push(error.message);
  return null;
}
