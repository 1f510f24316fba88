/** Which replicator suits a plan, and why: judged from what both clusters and the plan show, with the facts of contract/replicator-facts.ts. Pure. */
import { type ReplicatorFacts, replicatorFacts } from '../contract/replicator-facts.ts';
import { type Capabilities, type ReplicatorKind, replicatorKinds } from '../contract/replicators.ts';

/** Whose Kafka a cluster is, as far as its addresses and settings show. */
export type ClusterMake = 'apache' | 'msk' | 'confluent' | 'automq';

/** What matters for the choice. Plain data. */
export interface Needs {
  readonly source: { readonly make: ClusterMake; readonly name: string };
  readonly target: { readonly make: ClusterMake; readonly name: string };
  readonly transactional: readonly string[];
  readonly compacted: readonly string[];
  /** Groups by what they are: a Connect sink or a Streams application keeps positions, or state, of its own. */
  readonly groups: { readonly consumers: number; readonly stateful: readonly string[] };
  /** Topics of that name on the target that hold records already. */
  readonly targetHasRecords: readonly string[];
  readonly wantsWayBack: boolean;
  /** The plan names a module that makes other records of them. */
  readonly changesRecords: boolean;
  /** Blockers that preflight has with our own replicator, one line each; waived ones left out. */
  readonly blockersForExact: readonly string[];
}

export interface Choice {
  readonly kind: ReplicatorKind;
  readonly facts: ReplicatorFacts;
  readonly capabilities: Capabilities;
  /** `fits`: nothing here speaks against it. `costs`: it works, at the price of what `because` says. `no`: it cannot be used here. */
  readonly verdict: 'fits' | 'costs' | 'no';
  readonly because: readonly string[];
}

export interface Advice {
  /** Best first. */
  readonly choices: readonly Choice[];
  readonly recommended: Choice;
  readonly reasons: readonly string[];
  /** What to write, and what to call then; `FILE` stands for the plan. */
  readonly next: readonly string[];
}

const rank = { fits: 0, costs: 1, no: 2 } as const;
const namesMax = 3;

export function adviseOn(needs: Needs): Advice {
  const choices = (Object.keys(replicatorKinds) as ReplicatorKind[])
    .map((kind) => judge(kind, needs))
    .sort((a, b) => rank[a.verdict] - rank[b.verdict] || a.because.length - b.because.length);
  const recommended = choices[0] as Choice;
  return { choices, recommended, reasons: reasonsFor(recommended, choices, needs), next: nextFor(recommended, needs) };
}

/** What each asks for before a plan with it can be tried. */
const set: Readonly<Record<ReplicatorKind, readonly string[]>> = {
  exact: ['in the plan: no `replicator`, or `replicator: { kind: exact }`'],
  mirrormaker2: [
    'in clusters.yaml: `connects: { onprem: { url: "http://connect:8083" } }`',
    'in the plan: `replicator: { kind: mirrormaker2, connect: onprem }`',
  ],
  'msk-replicator': [
    'in clusters.yaml: `replicators: { msk: { kind: msk-replicator, ... } }` (docs/replicators-vendors.md)',
    'in the plan: `replicator: { kind: msk-replicator, at: msk }` and `fence: { maxHold: 30m }`',
  ],
  'cluster-linking': [
    'in clusters.yaml: `replicators: { confluent: { kind: cluster-linking, ... } }` (docs/replicators-vendors.md)',
    'in the plan: `replicator: { kind: cluster-linking, at: confluent }`',
  ],
  'automq-linking': [
    'in clusters.yaml: `replicators: { automq: { kind: automq-linking, ... } }` (docs/replicators-vendors.md)',
    'in the plan: `replicator: { kind: automq-linking, at: automq }` and `rollback: { reverseMirror: false }`',
  ],
  bridge: [
    'in clusters.yaml: `modules: { orders: ./orders.mjs }`',
    'in the plan: `replicator: { kind: bridge, module: orders }` and `rollback: { reverseMirror: false }`, with a waiver of ROLLBACK_IMPOSSIBLE',
    '`kafka-cutover bridge FILE --dry-run`: what becomes of the first records',
  ],
  external: ['in the plan: `replicator: { kind: external, webhook: ... }` (docs/webhook.md)'],
};

function nextFor({ kind, verdict }: Choice, { targetHasRecords }: Needs): string[] {
  if (verdict !== 'no') {
    return [...set[kind], '`kafka-cutover plan FILE`: whether anything is in its way', '`kafka-cutover start FILE`'];
  }
  if (targetHasRecords.length === 0) return ['`kafka-cutover plan FILE` says what each blocker asks for'];
  return [
    'delete or rename the topics on the target, where nobody needs their records, and ask again',
    'or carry into topics of other names: `kafka-cutover bridge FILE` with `replicator: { kind: bridge, rename: {...} }`, then `kafka-cutover positions FILE --commit`; fence and switch are yours then (docs/bridge.md)',
  ];
}

function judge(kind: ReplicatorKind, needs: Needs): Choice {
  const facts = replicatorFacts[kind];
  const capabilities: Capabilities = replicatorKinds[kind];
  const impossible = whyNot(kind, needs);
  const untried = facts.tried === 'real' ? [] : ['we have never run it for real'];
  const price = impossible.length > 0 ? [] : [...whatItCosts(kind, capabilities, needs), ...untried];
  return {
    kind,
    facts,
    capabilities,
    verdict: impossible.length > 0 ? 'no' : price.length > 0 ? 'costs' : 'fits',
    because: [...impossible, ...price],
  };
}

function whyNot(kind: ReplicatorKind, needs: Needs): string[] {
  const { target, source } = needs;
  const found: string[] = [];
  if (needs.changesRecords && kind !== 'bridge') {
    found.push("it leaves records as they are, and the plan's module is to change them");
  }
  if (!needs.changesRecords && kind === 'bridge') {
    found.push('it is for records that must change on the way, and the plan names no module that changes them');
  }
  if (kind === 'cluster-linking' && target.make !== 'confluent') found.push(`${target.name} is not Confluent's`);
  if (kind === 'automq-linking' && target.make !== 'automq') found.push(`${target.name} is not AutoMQ`);
  if (kind === 'msk-replicator' && target.make !== 'msk') found.push(`${target.name} is not Amazon MSK`);
  if (kind === 'automq-linking' && source.make === 'msk') found.push('it cannot log in to MSK by IAM');
  if (kind === 'exact') found.push(...needs.blockersForExact);
  if (needs.targetHasRecords.length > 0) {
    found.push(
      `${list(needs.targetHasRecords)} on ${target.name} hold records already: a copy of the same name would be mixed into them`,
    );
  }
  return found;
}

function whatItCosts(kind: ReplicatorKind, { offsetIdentity, reverse }: Capabilities, needs: Needs): string[] {
  const found: string[] = [];
  if (!offsetIdentity) {
    found.push('offsets differ on the target: whoever keeps positions outside Kafka must be set by hand');
    if (needs.groups.stateful.length > 0) {
      found.push(
        `${list(needs.groups.stateful)} keep state beside their positions (Streams, Connect): it names offsets of ${needs.source.name}`,
      );
    }
    if (needs.transactional.length > 0) {
      found.push(`transactions on ${list(needs.transactional)} arrive as plain records`);
    }
    // A bridge writes each record once, and knows which became which.
    if (kind !== 'bridge') {
      if (needs.compacted.length > 0) {
        found.push(`compacted topics (${list(needs.compacted)}) can be compared only roughly`);
      }
      found.push('duplicates after a crash of its workers');
    }
  }
  if (needs.wantsWayBack && !reverse) found.push('no way back after the switch');
  if (kind === 'cluster-linking') found.push('a commercial licence, and topics that take writes only once promoted');
  return found;
}

function reasonsFor(best: Choice, choices: readonly Choice[], needs: Needs): string[] {
  if (best.verdict === 'no') return [`nothing suits as things are: ${best.because[0] ?? ''}`];
  const reasons = [...best.facts.keeps];
  if (best.kind === 'bridge') return [...reasons, 'no other replicator changes records'];
  if (best.kind === 'exact') {
    const saved = choices.find(({ kind }) => kind === 'mirrormaker2')?.because ?? [];
    if (saved.length > 0) reasons.push(`spares you what MirrorMaker 2 would cost here: ${saved.join('; ')}`);
  } else {
    reasons.push(`our own replicator cannot be used here: ${needs.blockersForExact.slice(0, namesMax).join('; ')}`);
  }
  return reasons;
}

function list(names: readonly string[]): string {
  const more = names.length - namesMax;
  return `${names.slice(0, namesMax).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** Whose Kafka it is: by its addresses, else by settings that only that make has. */
export function makeOf(bootstrap: readonly string[], brokerConfigs: Readonly<Record<string, unknown>>): ClusterMake {
  const hosts = bootstrap.join(' ');
  if (/\.amazonaws\.com(\.cn)?:/.test(hosts)) return 'msk';
  if (/\.confluent\.cloud:/.test(hosts)) return 'confluent';
  const names = Object.keys(brokerConfigs);
  if (names.some((name) => name.startsWith('confluent.'))) return 'confluent';
  if (names.some((name) => name.startsWith('automq.') || name.startsWith('s3.'))) return 'automq';
  return 'apache';
}
