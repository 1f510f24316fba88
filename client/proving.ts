/**
 * `status --prove`: who may write where, read from every live broker of both clusters and judged by the model
 * of the authorizer. What the workflow says is only compared with it, never believed.
 */
import { matcher, onlyWave, type Plan } from '../contract/plan.ts';
import type { SourceOfTruth } from '../contract/status.ts';
import { describeAcls } from '../kafka/acls.ts';
import { Cluster } from '../kafka/cluster.ts';
import { readClusters } from '../kafka/clusters.ts';
import { probeAccess } from '../migration/access.ts';
import { everybody, writersOf } from '../migration/authorizer.ts';
import { aclsOrNull } from '../migration/inventory.ts';
import { CutoverClient } from './cutover-client.ts';
import { exitCodes } from './exit-codes.ts';
import type { Answer, Terminal } from './terminal.ts';

type Side = 'source' | 'target';

/** More topics than this are in `--json` only. */
const topicsShownMax = 10;

/** Applications that may write, by topic; topics that nobody may write to are left out. */
export type Writers = Readonly<Record<string, readonly string[]>>;

export interface WaveProof {
  readonly wave: string;
  readonly topics: number;
  /** What the workflow says. */
  readonly sourceOfTruth: string | null;
  readonly source: Writers;
  readonly target: Writers;
  /** Whether every cluster but the source of truth is closed to applications. */
  readonly proven: boolean;
}

/**
 * Exit code 0 when every wave is proven, 1 when some application may write where it must not.
 *
 * @throws CutoverError what connecting to Temporal and to both clusters throws
 */
export async function proveStatus(terminal: Terminal, name: string): Promise<Answer> {
  const clusters = readClusters(undefined, terminal.env);
  await using client = await CutoverClient.connect(terminal.env);
  const plan = await client.plan(name);
  const { status } = await client.observe(name);
  await using source = await Cluster.connect(clusters.cluster(plan.source));
  await using target = await Cluster.connect(clusters.cluster(plan.target));

  const topics = await topicsByWave(plan, source);
  const everyTopic = [...topics.values()].flat();
  const [onSource, onTarget] = await Promise.all([writers(source, everyTopic), writers(target, everyTopic)]);
  const proofs = [...topics].map(([wave, names]) =>
    judge(wave, names, status.sourceOfTruth[wave] ?? null, { source: onSource, target: onTarget }),
  );
  const proven = proofs.every((proof) => proof.proven);
  return {
    exitCode: proven ? exitCodes.done : exitCodes.failed,
    json: { name, at: new Date().toISOString(), proven, waves: proofs },
    text: [
      ...proofs.flatMap((proof) => proofLines(proof, plan)),
      'Super users are never stopped by access rules, and no API lists them all.',
    ].join('\n'),
  };
}

/** Pure: what the writers found mean for one wave. */
export function judge(
  wave: string,
  topics: readonly string[],
  sourceOfTruth: SourceOfTruth | string | null,
  found: Readonly<Record<Side, Writers>>,
): WaveProof {
  const mine = (all: Writers) => Object.fromEntries(Object.entries(all).filter(([topic]) => topics.includes(topic)));
  const [source, target] = [mine(found.source), mine(found.target)];
  const closed = { source: Object.keys(source).length === 0, target: Object.keys(target).length === 0 };
  const known = sourceOfTruth === 'source' || sourceOfTruth === 'target' || sourceOfTruth === 'none';
  const proven =
    known && (sourceOfTruth === 'source' || closed.source) && (sourceOfTruth === 'target' || closed.target);
  return { wave, topics: topics.length, sourceOfTruth, source, target, proven };
}

async function topicsByWave(plan: Plan, source: Cluster): Promise<Map<string, string[]>> {
  const { topics } = await source.metadata(null);
  const ofPlan = matcher(plan.topics);
  const names = [...topics.values()].filter((t) => !t.internal && ofPlan(t.name)).map((t) => t.name);
  if (plan.waves.length === 0) return new Map([[onlyWave, names]]);
  return new Map(plan.waves.map((wave) => [wave.name, names.filter(matcher(wave.topics))]));
}

async function writers(cluster: Cluster, topics: readonly string[]): Promise<Writers> {
  const anyBroker = await aclsOrNull(cluster);
  if (anyBroker === null)
    return Object.fromEntries(topics.map((topic) => [topic, ['anybody: there is no authorizer']]));
  const { principals, allowEveryone } = await probeAccess(cluster, anyBroker);
  const ours = new Set<string | null>(Object.values(principals));
  const found = new Map<string, Set<string>>();
  // Brokers learn of a rule one after the other: open on one of them is open.
  const { brokers } = await cluster.metadata([]);
  for (const { id } of brokers) {
    const rules = { acls: await describeAcls(cluster, { broker: id }), allowEveryone: allowEveryone !== false };
    for (const topic of topics) {
      const { named, everybody: open } = writersOf(rules, topic);
      const left = [...named.filter((principal) => !ours.has(principal)), ...(open ? [everybody] : [])];
      if (left.length > 0) found.set(topic, new Set([...(found.get(topic) ?? []), ...left]));
    }
  }
  return Object.fromEntries([...found].map(([topic, who]) => [topic, [...who].sort()]));
}

function proofLines(proof: WaveProof, plan: Plan): string[] {
  const wave = proof.wave === onlyWave ? '' : `wave ${proof.wave}: `;
  const side = (which: Side) => {
    const open = Object.entries(proof[which]);
    if (open.length === 0)
      return [`  ${which} (${plan[which]}): no application may write to any of ${proof.topics} topics`];
    return [
      `  ${which} (${plan[which]}): applications may write to ${open.length} of ${proof.topics} topics`,
      ...open.slice(0, topicsShownMax).map(([topic, who]) => `    ${topic}: ${who.join(', ')}`),
      ...(open.length > topicsShownMax ? [`    ${open.length - topicsShownMax} more with --json`] : []),
    ];
  };
  const verdict = proof.proven ? 'proven' : 'NOT PROVEN';
  return [
    `${wave}source of truth ${proof.sourceOfTruth ?? 'unknown'}: ${verdict}`,
    ...side('source'),
    ...side('target'),
  ];
}
