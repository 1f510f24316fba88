import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Answering } from '../cli.ts';
import type { CutoverClient as Client } from '../cutover-client.ts';
import { type Answer, type Terminal, toJson } from '../terminal.ts';

export function reportCommand(answering: Answering): Command {
  return new Command('report')
    .description('what was done, decided and proven, as JSON; also from the clusters alone, without Temporal')
    .argument('<name>', "the plan's name")
    .option('--out <file>', 'write it there instead of to stdout')
    .action(answering(report));
}

async function report(terminal: Terminal, name: string, options: { readonly out?: string }): Promise<Answer> {
  const notes: string[] = [];
  const { CutoverClient } = await import('../cutover-client.ts');
  const running = await CutoverClient.connect(terminal.env).then(
    (client) => fromTemporal(client, name),
    // What is stored on the clusters outlives Temporal.
    (error) => notable(error, ['TEMPORAL_UNREACHABLE'], notes),
  );
  const stored = await fromClusters(terminal, name, running?.status ?? null).catch((error) => {
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
  const document = {
    name,
    at: new Date().toISOString(),
    outcome: running?.outcome ?? stored?.outcome ?? null,
    pointer: running?.evidence ?? null,
    evidence: stored,
    status: running?.status ?? null,
    notes: [...notes, ...(running?.note ? [running.note] : [])],
  };
  const text = JSON.stringify(JSON.parse(toJson(document)), null, 2);
  if (!options.out) return { json: document, text };
  try {
    writeFileSync(options.out, `${text}\n`);
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new CutoverError('USAGE', { what: 'cannot write the report', where: options.out, found }, { cause });
  }
  return { json: { ...document, out: options.out }, text: `report of ${name}: ${options.out}` };
}

async function fromTemporal(connected: Client, name: string) {
  await using client = connected;
  const { status, note, ending } = await client.observe(name);
  return { status, note, outcome: ending?.outcome ?? null, evidence: await client.evidence(name) };
}

async function fromClusters(
  terminal: Terminal,
  name: string,
  between: { readonly source: string; readonly target: string } | null,
) {
  const [{ readClusters }, { storedEvidence }] = await Promise.all([
    import('../../kafka/clusters.ts'),
    import('../stored-evidence.ts'),
  ]);
  return storedEvidence(readClusters(undefined, terminal.env), name, between, terminal.env);
}

/** A report without one of its halves says so; any other failure is one. */
function notable(error: unknown, codes: readonly string[], notes: string[]): null {
  if (!(error instanceof CutoverError) || !codes.includes(error.code)) throw error;
  notes.push(error.message);
  return null;
}
