/** The plan checked, both clusters inventoried, findings judged, the digest taken. Changes nothing but storage. */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import { type Plan, parsePlan } from '../contract/plan.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { onlyWave, workflowId } from '../contract/status.ts';
import { aclKey } from '../kafka/acls.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { approvalFindings } from '../migration/approvals.ts';
import { replacedBrokerConfigs } from '../migration/broker-settings.ts';
import type { Side } from '../migration/change.ts';
import { ownersOf } from '../migration/claims.ts';
import { difference, type Inventory, planDigest, takeInventory } from '../migration/inventory.ts';
import { type JournalEntry, openJournal, stands } from '../migration/journal.ts';
import { logNeeds } from '../migration/needs.ts';
import { openingDecided } from '../migration/opening.ts';
import { type Outline, outlineOf } from '../migration/outline.ts';
import { checkNames } from '../migration/plan-names.ts';
import { type Facts, gatherFacts, type SideFacts } from '../migration/preflight/facts.ts';
import { aboutSchemas } from '../migration/preflight/schemas.ts';
import { beyondReplicator, blockersOf, findFindings, toldFindings, waive } from '../migration/preflight.ts';
import { poolUsers } from '../migration/principals-pool.ts';
import { knownCopies, type OursOnSource, oursOnSource, type ProveOptions, shutOutRules } from '../migration/proven.ts';
import type { Storage } from '../migration/storage.ts';
import { switchFindings } from '../migration/switches/findings.ts';
import { topicDefaults } from '../migration/topics.ts';
import { inventoryName, readInventory, type StoredInventory, storeInventory } from '../migration/wave.ts';
import { aboutWaves, gatherSplitFacts, splitByWave } from '../migration/waves.ts';
import { replicatorOf } from '../replicators/registry.ts';
import { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities, DigestResult, PreflightResult } from './types.ts';

export function preflightActivities(
  connections: Connections,
): Pick<ControlActivities, 'parsePlan' | 'preflight' | 'takeDigest'> {
  return {
    async parsePlan(input, id) {
      const plan = parsePlan(input, `workflow ${id}`);
      if (id !== workflowId(plan.name)) {
        throw new CutoverError('WORKFLOW_ID_MISMATCH', {
          what: 'the workflow has another id than its plan asks for',
          where: `plan ${plan.name}`,
          found: id,
          wanted: workflowId(plan.name),
        });
      }
      return plan;
    },

    async preflight({ plan }) {
      const examined = await examine(connections, plan, { audit: true, store: true, signal: cancellation() });
      const stored = await storeInventory(await connections.storage(plan), plan.name, examined);
      return { ...preflightResult(examined, stored), findings: toldFindings(examined.findings) };
    },

    async takeDigest({ plan, inventory }) {
      const storage = await connections.storage(plan);
      const [approved, now] = await Promise.all([
        readInventory(storage, inventory),
        examine(connections, plan, { audit: false, running: true, signal: cancellation() }),
      ]);
      return digestResult(storage, plan, approved, now);
    },
  };
}

/**
 * `kafka-cutover plan`: the same without Temporal, and without leaving anything on the clusters.
 *
 * @param onStep called with what is done next
 * @returns with what it would make of the target
 * @throws CutoverError as the activities do
 */
export async function runPreflight(
  plan: Plan,
  clusters: ClustersFile,
  onStep?: (step: string) => void,
): Promise<PreflightResult & { readonly changes: Outline }> {
  await using connections = new Connections(clusters);
  const { signal } = new AbortController();
  const options = { audit: true, signal, ...(onStep && { onStep }) };
  const { examined, facts, created } = await examineWithFacts(connections, plan, options);
  const result = preflightResult(examined, inventoryName(plan.name, examined.digest));
  return { ...result, changes: outlineOf(plan, examined.inventory, facts, created) };
}

interface ExamineOptions extends ProveOptions {
  /** The migration is under way: what it has made itself is no finding, and nothing is measured. */
  readonly running?: boolean;
  readonly onStep?: (step: string) => void;
}

export async function examine(connections: Connections, plan: Plan, options: ExamineOptions): Promise<StoredInventory> {
  return (await examineWithFacts(connections, plan, options)).examined;
}

async function examineWithFacts(
  connections: Connections,
  plan: Plan,
  options: ExamineOptions,
): Promise<{ examined: StoredInventory; facts: Facts; created: ReadonlySet<string> }> {
  const { onStep = () => {} } = options;
  refuseWithoutAsking(connections.file, plan);
  onStep('connecting to both clusters');
  const clusters = await connections.pair(plan);
  const storage = await connections.storage(plan);
  const { entries, ofOthers } = openJournal(storage, clusters, plan.name);
  const journal = await entries();
  const ours = oursOnSource(journal);
  onStep('listing topics, groups and positions');
  const inventory = await takeInventory(clusters.source, clusters.target, plan, { ours });
  onStep('comparing what an earlier run copied');
  // Where offsets differ, what an earlier run copied cannot be gone on with: but for the migration that is under way, it counts as foreign.
  const comparable = capabilitiesOf(plan).offsetIdentity || options.running ? inventory.structural.topics : [];
  const copies = await knownCopies(clusters, storage, plan.name, journal, comparable, options);
  // Whoever comes later is told; what is under way already has the pool.
  const users = options.running ? [] : poolUsers(clusters.target.config, await ofOthers('mirror-access'), 'target');
  // What it changes itself is no finding; then nothing outside Kafka is asked.
  const switches = options.running ? [] : await switchFindings(plan, connections.file);
  const approvals = approvalFindings(plan, connections.file);
  const known = { ...copies, created: createdTopics(journal), poolUsers: users, switches, approvals };
  const facts = withoutOurs(
    await gatherFacts(clusters.source, clusters.target, inventory, {
      carryConfigs: plan.metadata.configs,
      measure: options.running !== true,
      onStep,
    }),
    // What another migration has suspended comes back when that one ends, unless this one asks for it too.
    [...(await ofOthers('target-brokers')), ...journal],
    shutOutRules(journal),
    ours.configs,
  );
  const { file } = connections;
  const inquiry = { plan, file, clusters, inventory, facts, running: options.running === true };
  const aboutReplicator = await replicatorOf(plan).plan(inquiry);
  const moved = await movedWaves(storage, plan, inventory);
  // Once the target was opened, members on the target are the very purpose.
  const ownMembers = new Set(
    options.running ? moved.flatMap(({ groups }) => groups.map((name) => `target, group ${name}`)) : [],
  );
  const split = await gatherSplitFacts(clusters.source, plan, inventory);
  // As for switches: once it is under way, schemas are carried, and what is not is said where that is done.
  const schemas = options.running ? [] : await aboutSchemas(inventory, plan, facts, clusters);
  const findings = [
    ...findFindings(inventory, plan, facts, known).filter(
      ({ code, where }) => !(code === 'GROUP_ACTIVE_ON_TARGET' && ownMembers.has(where)),
    ),
    ...[...schemas, ...aboutReplicator, ...aboutWaves(inventory, plan, split)].map((found) => waive(found, plan)),
    ...(options.running ? [] : moved.map(({ found }) => found)),
    ...(await claimFindings(storage, plan, inventory)),
  ];
  const examined = {
    digest: planDigest(plan, inventory.structural, findings),
    plan,
    inventory,
    access: { source: facts.source.access, target: facts.target.access },
    needs: logNeeds(inventory, plan, facts),
    findings,
  };
  return { examined, facts, created: known.created };
}

/** Waves that an earlier run, or this one, has opened the target for. */
async function movedWaves(storage: Storage, plan: Plan, inventory: Inventory) {
  const moved: { readonly groups: readonly string[]; readonly found: Finding }[] = [];
  for (const { name, groups } of splitByWave(plan, inventory).waves) {
    const opened = await openingDecided(storage, { migration: plan.name, wave: name, direction: 'forward' });
    if (!opened) continue;
    const where = name === onlyWave ? `plan ${plan.name}` : `plan ${plan.name}, wave ${name}`;
    moved.push({
      groups,
      found: finding('ALREADY_MOVED', where, `opening ${plan.target} was decided at ${opened.at}`),
    });
  }
  return moved;
}

/** The facts as people have them: without the rules that shut our mirrors out, and with the settings that we suspended. */
function withoutOurs(
  facts: Facts,
  suspended: readonly JournalEntry[],
  keys: ReadonlySet<string>,
  original: OursOnSource['configs'],
): Facts {
  const filtered = (side: Side): SideFacts => ({
    ...facts[side],
    acls: facts[side].acls?.filter((acl) => !keys.has(aclKey(acl))) ?? null,
    brokerConfigs: { ...facts[side].brokerConfigs, ...replacedBrokerConfigs(suspended, side) },
  });
  const defaults = topicDefaults(facts.source.brokerConfigs);
  const inForce = Object.entries(facts.inForce).map(([topic, values]) => {
    const had = Object.entries(original.get(topic) ?? {}).filter(([name]) => name in values);
    const settings = had.map(([name, value]) => [name, value ?? defaults.inherited(name) ?? null] as const);
    return [topic, { ...values, ...Object.fromEntries(settings) }] as const;
  });
  return {
    ...facts,
    source: filtered('source'),
    target: filtered('target'),
    inForce: Object.fromEntries(inForce),
  };
}

/** Target topics that we created, and that nobody has taken away since. */
function createdTopics(journal: readonly JournalEntry[]): ReadonlySet<string> {
  const created = journal.filter((entry) => stands(entry) && entry.change.kind === 'create-topic');
  return new Set(created.flatMap(({ change }) => (change.kind === 'create-topic' ? [change.topic.name] : [])));
}

/** What needs no cluster is refused before any is asked. */
function refuseWithoutAsking(file: ClustersFile, plan: Plan): void {
  checkNames(plan, file);
  const [missing] = beyondReplicator(plan);
  if (!missing) return;
  throw new CutoverError(missing.code, { what: missing.message, where: missing.where, next: missing.next });
}

async function claimFindings(storage: Storage, plan: Plan, { structural }: Inventory): Promise<Finding[]> {
  const owners = await ownersOf(storage, {
    topics: structural.topics.map((topic) => topic.name),
    groups: structural.groups.map((group) => group.group),
  });
  return owners
    .filter((owner) => owner.migration !== plan.name)
    .map((owner) =>
      finding(
        'CLAIMED_BY_OTHER',
        `${owner.kind} ${owner.name}`,
        `belongs to migration ${owner.migration} since ${owner.at}`,
      ),
    );
}

function preflightResult({ digest, inventory, findings }: StoredInventory, stored: string): PreflightResult {
  const { structural, measured } = inventory;
  const blockers = blockersOf(findings).length;
  const bytes = measured.partitions.reduce((sum, p) => sum + (p.bytes ?? 0), 0);
  const records = measured.partitions.reduce((sum, p) => sum + Number(BigInt(p.end) - BigInt(p.start)), 0);
  const counts = `${structural.topics.length} topics, ${measured.partitions.length} partitions, ${structural.groups.length} groups`;
  return {
    digest,
    inventory: stored,
    findings,
    blockers,
    topics: structural.topics.length,
    partitions: measured.partitions.length,
    groups: structural.groups.length,
    bytes,
    summary: `${counts}, ${records} offsets, ${Math.round(bytes / 1_000_000)} MB; ${blockers} blockers`,
  };
}

async function digestResult(
  storage: Storage,
  plan: Plan,
  approved: StoredInventory,
  now: StoredInventory,
): Promise<DigestResult> {
  const changed = now.digest !== approved.digest;
  const inventory = changed ? await storeInventory(storage, plan.name, now) : inventoryName(plan.name, approved.digest);
  const lines = changed ? difference(approved.inventory.structural, now.inventory.structural) : [];
  const codesOf = (findings: readonly Finding[]) =>
    new Set(findings.filter((f) => !f.waived && f.severity !== 'info').map((f) => f.code));
  const [before, after] = [codesOf(approved.findings), codesOf(now.findings)];
  if (changed) {
    for (const code of after) if (!before.has(code)) lines.push(`finding ${code} is new`);
    for (const code of before) if (!after.has(code)) lines.push(`finding ${code} is gone`);
  }
  return { digest: now.digest, inventory, difference: lines, findings: toldFindings(now.findings) };
}
