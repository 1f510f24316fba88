/**
 * `status --prove`: which cluster is the source of truth, since when and on what proof, from the live clusters alone. The plan and what was decided
 * are read from storage on them; what Temporal says, where it answers, is only compared.
 */

import { CutoverError } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import { onlyWave, waveNames } from '../contract/status.ts';
import { type ClustersFile, readClusters } from '../kafka/clusters.ts';
import { proveTruth, readRules, type WaveProof } from '../migration/truth.ts';
import { latestInventory, openWave, readInventory } from '../migration/wave.ts';
import { CutoverClient } from './cutover-client.ts';
import { exitCodes } from './exit-codes.ts';
import { findStored } from './stored.ts';
import type { Answer, Terminal } from './terminal.ts';

/** More topics, or problems, than this are in `--json` only. */
const shownMax = 10;

/** What the workflow says, by wave. */
interface Said {
  readonly sourceOfTruth: Readonly<Record<string, string>>;
  /** Why it says nothing, or where that comes from. */
  readonly note: string | null;
}

/** With what the workflow says of the wave; null where it says nothing. */
type Compared = WaveProof & { readonly workflow: string | null };

/**
 * Exit code 0 when every wave is proven, 1 when not: an application may write where it must not, or has written there, a rule of a fence is gone, or
 * the workflow says something else.
 *
 * @throws CutoverError MIGRATION_NOT_FOUND where nothing is stored of it; what connecting to both clusters throws
 */
export async function proveStatus(terminal: Terminal, name: string): Promise<Answer> {
  const file = readClusters(undefined, terminal.env);
  const [{ plan, proofs }, said] = await Promise.all([
    proofsFromClusters(file, name, terminal.env),
    askWorkflow(name, terminal.env),
  ]);
  const waves = proofs.map((proof) => compared(proof, said));
  const proven = waves.every((wave) => wave.proven);
  return {
    exitCode: proven ? exitCodes.done : exitCodes.failed,
    json: { name, at: new Date().toISOString(), proven, waves, note: said.note },
    text: [
      ...waves.flatMap((proof) => proofLines(proof, plan)),
      ...(said.note ? [`Temporal: ${said.note}.`] : []),
      'Super users are never stopped by access rules, and no API lists them all.',
    ].join('\n'),
  };
}

async function proofsFromClusters(
  file: ClustersFile,
  name: string,
  env: NodeJS.ProcessEnv,
): Promise<{ plan: Plan; proofs: WaveProof[] }> {
  const stored = await findStored(file, null, env, async ({ storage }) => {
    const inventory = await latestInventory(storage, name);
    const plan = inventory === null ? undefined : (await readInventory(storage, inventory)).plan;
    return inventory !== null && plan ? { plan, inventory } : null;
  });
  if (!stored) {
    throw new CutoverError('MIGRATION_NOT_FOUND', {
      what: 'nothing is stored of this migration on any two clusters',
      where: file.path,
      found: [...file.clusters.keys()].join(', '),
      next: 'Check the name and clusters.yaml; before preflight has run nothing is stored.',
    });
  }
  const { plan, inventory } = stored;
  const proofs = await findStored(file, plan, env, async ({ storage, clusters }) => {
    const [source, target] = [clusters.get(plan.source), clusters.get(plan.target)];
    if (!source || !target) return null;
    const [onSource, onTarget] = await Promise.all([readRules(source), readRules(target)]);
    const found: WaveProof[] = [];
    for (const wave of waveNames(plan)) {
      const opened = await openWave({ source, target }, storage, { plan, wave, inventory });
      found.push(await proveTruth(opened, { source: onSource, target: onTarget }));
    }
    return found;
  });
  return { plan, proofs: proofs ?? [] };
}

async function askWorkflow(name: string, env: NodeJS.ProcessEnv): Promise<Said> {
  try {
    await using client = await CutoverClient.connect(env);
    const { status, note } = await client.observe(name);
    return { sourceOfTruth: status.sourceOfTruth, note };
  } catch (error) {
    if (!(error instanceof CutoverError)) throw error;
    return { sourceOfTruth: {}, note: `it was not compared with what the workflow says: ${error.message}` };
  }
}

function compared(proof: WaveProof, { sourceOfTruth }: Said): Compared {
  const workflow = sourceOfTruth[proof.wave] ?? null;
  if (workflow === null || workflow === proof.sourceOfTruth) return { ...proof, workflow };
  const line = `the workflow says ${workflow}, what is stored on the clusters says ${proof.sourceOfTruth}`;
  return { ...proof, workflow, problems: [...proof.problems, line], proven: false };
}

function proofLines(proof: Compared, plan: Plan): string[] {
  const wave = proof.wave === onlyWave ? '' : `wave ${proof.wave}: `;
  const cluster = proof.sourceOfTruth === 'none' ? '' : ` (${plan[proof.sourceOfTruth]})`;
  const since = proof.since === null ? '' : ` since ${proof.since}`;
  const said = proof.workflow === null ? [] : [`  the workflow says: ${proof.workflow}`];
  return [
    `${wave}source of truth ${proof.sourceOfTruth}${cluster}${since}: ${proof.proven ? 'proven' : 'NOT PROVEN'}`,
    `  ${proof.because}`,
    ...(['source', 'target'] as const).map((side) => writersLine(proof, side, plan)),
    ...proof.beyond.map(({ side, partitions, offsets }) => {
      const whose = proof.problems.length === 0 ? ', all of our mirror' : '';
      return `  ${side} (${plan[side]}): ${offsets} offsets on ${partitions} partitions beyond the boundary${offsets > 0 ? whose : ''}`;
    }),
    ...shown(proof.problems).map((line) => `  WRONG: ${line}`),
    ...proof.notes.map((line) => `  note: ${line}`),
    ...said,
  ];
}

function writersLine(proof: Compared, side: 'source' | 'target', plan: Plan): string {
  const place = `  ${side} (${plan[side]}), ${proof.brokers[side]} brokers`;
  const open = Object.entries(proof[side]);
  if (open.length === 0) return `${place}: no application may write to any of ${proof.topics} topics`;
  const who = [...new Set(open.flatMap(([, principals]) => principals))];
  return `${place}: applications may write to ${open.length} of ${proof.topics} topics: ${shown(who).join(', ')}`;
}

function shown(lines: readonly string[]): readonly string[] {
  if (lines.length <= shownMax) return lines;
  return [...lines.slice(0, shownMax), `${lines.length - shownMax} more with --json`];
}
