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
}

const rank = { fits: 0, costs: 1, no: 2 } as const;
const namesMax = 3;

export function adviseOn(needs: Needs): Advice {
  const choices = (Object.keys(replicatorKinds) as ReplicatorKind[])
    .map((kind) => judge(kind, needs))
    .sort((a, b) => rank[a.verdict] - rank[b.verdict] || a.because.length - b.because.length);
  // One that we cannot drive is never the answer to "what do I write into the plan".
  const recommended = choices.find(({ capabilities }) => capabilities.driven) as Choice;
  return { choices, recommended, reasons: reasonsFor(recommended, choices, needs) };
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
  if (!replicatorKinds[kind].driven) found.push('this version does not drive it');
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
    if (needs.transactional.length > 0)
      found.push(`transactions on ${list(needs.transactional)} arrive as plain records`);
    if (needs.compacted.length > 0)
      found.push(`compacted topics (${list(needs.compacted)}) can be compared only roughly`);
    found.push('duplicates after a crash of its workers');
  }
  if (needs.wantsWayBack && !reverse) found.push('no way back after the switch');
  if (kind === 'cluster-linking') found.push('a commercial licence, and topics that take writes only once promoted');
  return found;
}

function reasonsFor(best: Choice, choices: readonly Choice[], needs: Needs): string[] {
  if (best.verdict === 'no') return [`nothing suits as things are: ${best.because[0] ?? ''}`];
  const reasons = [...best.facts.keeps];
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
