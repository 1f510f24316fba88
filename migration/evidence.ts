/** The evidence: one machine-readable record of what was moved, proven, decided and found, put together from storage. */
import type { Finding } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { GateRecord, StepRecord, WaveOutcome } from '../contract/status.ts';
import { describeChange } from './change.ts';
import type { Inventory } from './inventory.ts';
import type { JournalEntry } from './journal.ts';
import { type LagCurve, readLagCurves } from './lag-curve.ts';
import { getAllJson, getJson, putJson, type Storage } from './storage.ts';
import { latestInventory, readInventory, type StoredInventory } from './wave.ts';

export interface EvidenceInput {
  readonly plan: Plan;
  readonly digest: string | null;
  /** Name of the stored inventory that people approved, or null. */
  readonly inventory: string | null;
  readonly outcome: string;
  /** Of every wave: how it ended, which cluster may be written, since when, and on what proof. */
  readonly waves: readonly WaveOutcome[];
  readonly steps: readonly StepRecord[];
  /** What people decided, one line each. */
  readonly decisions: readonly string[];
  /** Gates that people passed. Runs of earlier builds tell none. */
  readonly gates?: readonly GateRecord[];
  readonly findings: readonly Finding[];
}

export interface Evidence extends Omit<EvidenceInput, 'inventory'> {
  readonly version: 1;
  /** ISO 8601. */
  readonly writtenAt: string;
  readonly clusters: { readonly sourceId: string; readonly targetId: string } | null;
  /** `findings`: all that preflight had; those beside it are as many as a workflow carries. */
  readonly inventory: {
    readonly name: string;
    readonly content: Inventory | null;
    readonly findings: readonly Finding[];
  } | null;
  /** As stored, by artifact name: `boundary` and `audit` per partition, offsets as decimal strings. */
  readonly boundaries: Readonly<Record<string, unknown>>;
  /** Positions handed over, with their class. */
  readonly groups: Readonly<Record<string, unknown>>;
  readonly verifications: Readonly<Record<string, unknown>>;
  readonly openings: Readonly<Record<string, unknown>>;
  /** How far behind mirrors and the audit were. Absent where an earlier build stored it. */
  readonly lag?: readonly LagCurve[];
  readonly journal: readonly EvidenceEntry[];
  /** Lines for what still stands of what we changed. */
  readonly standing: readonly string[];
}

export interface EvidenceEntry {
  readonly at: string;
  readonly wave: string;
  readonly purpose: string;
  readonly state: JournalEntry['state'];
  readonly change: string;
  readonly inverse: string;
}

export const evidenceName = (migration: string): string => `${migration}/evidence`;

/** Puts the evidence together from what is stored; needs no Temporal and no cluster beyond storage. */
export async function assembleEvidence(storage: Storage, input: EvidenceInput): Promise<Evidence> {
  const { inventory: inventoryName, ...rest } = input;
  const below = async (part: string) => {
    const found = await getAllJson<unknown>(storage, `${input.plan.name}/${part}/`);
    return Object.fromEntries(found.map(({ name, value }) => [name, value]));
  };
  const entries = (await getAllJson<JournalEntry>(storage, `${input.plan.name}/journal/`))
    .map(({ value }) => value)
    .sort((a, b) => a.order - b.order);
  const stored = inventoryName === null ? null : await getJson<StoredInventory>(storage, inventoryName);
  const content = stored?.inventory ?? null;
  return {
    version: 1,
    writtenAt: new Date().toISOString(),
    ...rest,
    clusters: content && {
      sourceId: content.structural.sourceClusterId,
      targetId: content.structural.targetClusterId,
    },
    inventory: inventoryName === null ? null : { name: inventoryName, content, findings: stored?.findings ?? [] },
    boundaries: await below('boundary'),
    groups: await below('groups'),
    verifications: await below('verify'),
    openings: await below('opening'),
    lag: await readLagCurves(storage, input.plan.name),
    journal: entries.map((entry) => ({
      at: entry.at,
      wave: entry.wave,
      purpose: entry.purpose,
      state: entry.state,
      change: describeChange(entry.change),
      inverse: describeChange(entry.inverse),
    })),
    standing: entries
      .filter((entry) => entry.state !== 'undone')
      .map((entry) => `wave ${entry.wave}, ${entry.purpose}: ${describeChange(entry.change)}`),
  };
}

/** Assembles and stores the evidence; gives the artifact's name. */
export async function storeEvidence(storage: Storage, input: EvidenceInput): Promise<string> {
  const name = evidenceName(input.plan.name);
  await putJson(storage, name, await assembleEvidence(storage, input));
  return name;
}

export interface StoredEvidence {
  readonly evidence: Evidence;
  /** Of what is stored, hex. Null: it is not stored, but was put together just now. */
  readonly sha256: string | null;
}

/** What `storeEvidence` stored, or null. */
export async function readEvidence(storage: Storage, migration: string): Promise<StoredEvidence | null> {
  const name = evidenceName(migration);
  const [evidence, stored] = [await getJson<Evidence>(storage, name), await storage.get(name)];
  return evidence && stored && { evidence, sha256: stored.sha256 };
}

/**
 * What is proven and changed so far, of a migration that has not ended, or ended without evidence; null before preflight has stored anything.
 *
 * @param steps as the workflow tells them; nothing in storage does
 */
export async function evidenceSoFar(
  storage: Storage,
  migration: string,
  steps: readonly StepRecord[],
): Promise<StoredEvidence | null> {
  const inventory = await latestInventory(storage, migration);
  if (inventory === null) return null;
  const { plan, digest, findings } = await readInventory(storage, inventory);
  if (!plan) return null; // stored by an earlier build
  const input = { plan, digest, inventory, outcome: 'not ended', waves: [], steps, decisions: [], findings };
  return { evidence: await assembleEvidence(storage, input), sha256: null };
}
