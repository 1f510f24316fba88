/** A cluster link's settings, and its filters of groups. What our steps rely on is set here and cannot be set by a plan. */
import type { ReplicatorPlan } from '../contract/plan.ts';
import type { Clusters, Side } from '../migration/change.ts';
import type { Wave } from '../migration/wave.ts';
import { clientSettings } from './mirrormaker2-settings.ts';

export type ClusterLinkingPlan = ReplicatorPlan<'cluster-linking'>;

/** The link that people have, or ours, which is of this wave alone and may be taken away. */
export function linkName({ migration, wave, plan: { replicator } }: Pick<Wave, 'migration' | 'wave' | 'plan'>): string {
  const named = replicator.kind === 'cluster-linking' ? replicator.link : undefined;
  return named ?? `kafka-cutover.${migration}.${wave}`;
}

/** Of our link on one cluster, which reaches the other one as the direction's own principal. */
export function linkSettings(
  { plan, clusters }: Pick<Wave, 'plan'> & { readonly clusters: Clusters },
  side: Side,
): Record<string, string> {
  const { config } = clusters[side === 'target' ? 'source' : 'target'];
  const settings = plan.replicator.kind === 'cluster-linking' ? plan.replicator.settings : {};
  return {
    ...settings,
    ...clientSettings(config, config.credentials[side === 'target' ? 'forward' : 'reverse']),
    ...(plan.rollback.reverseMirror && { 'link.mode': 'BIDIRECTIONAL' }),
    // It makes the target's rules equal to the source's, and would delete those that keep applications out until the opening.
    'acl.sync.enable': 'false',
    // Positions are carried by our steps, which prove them; two writers would take turns.
    'consumer.offset.sync.enable': 'false',
    'auto.create.mirror.topics.enable': 'false',
  };
}

const ours: ReadonlySet<string> = new Set([
  'bootstrap.servers',
  'security.protocol',
  'link.mode',
  'connection.mode',
  'cluster.link.prefix',
  'cluster.link.paused',
  'acl.sync.enable',
  'acl.filters',
  'consumer.offset.sync.enable',
  'consumer.offset.group.filters',
  'auto.create.mirror.topics.enable',
  'auto.create.mirror.topics.filters',
  'mirror.start.offset.spec',
]);

/** Settings that a plan may not name. */
export function isOurLinkSetting(name: string): boolean {
  return ours.has(name) || /^(local\.)?(sasl|ssl)\./.test(name);
}

/** What an answer may repeat and nobody may see. */
export function secretsOf(clusters: Clusters): string[] {
  return (['source', 'target'] as const).flatMap((side) => {
    const { forward, reverse } = clusters[side].config.credentials;
    return [forward, reverse].flatMap(({ sasl, tls }) =>
      [sasl?.password, tls?.key, tls?.keyPassphrase].filter((secret) => secret !== undefined),
    );
  });
}

interface GroupFilter {
  readonly name?: string;
  readonly patternType?: string;
  readonly filterType?: string;
}

/** `consumer.offset.group.filters` with these groups excluded; everything else stays as it is. */
export function excludeGroups(filters: string, groups: readonly string[]): string {
  const kept = filtersOf(filters).filter((filter) => !excludes(filter, groups));
  const added = groups.map((name) => ({ name, patternType: 'LITERAL', filterType: 'EXCLUDE' }));
  return JSON.stringify({ groupFilters: [...kept, ...added] });
}

/** The filters without those exclusions; null where there are none. */
export function includeGroups(filters: string, groups: readonly string[]): string | null {
  const all = filtersOf(filters);
  const kept = all.filter((filter) => !excludes(filter, groups));
  return kept.length === all.length ? null : JSON.stringify({ groupFilters: kept });
}

export function isExcluded(settings: ReadonlyMap<string, string>, groups: readonly string[]): boolean {
  const filters = filtersOf(settings.get('consumer.offset.group.filters') ?? '');
  return groups.every((group) => filters.some((filter) => excludes(filter, [group])));
}

function excludes({ name, patternType, filterType }: GroupFilter, groups: readonly string[]): boolean {
  return (
    filterType?.toUpperCase() === 'EXCLUDE' &&
    patternType?.toUpperCase() === 'LITERAL' &&
    name !== undefined &&
    groups.includes(name)
  );
}

function filtersOf(text: string): readonly GroupFilter[] {
  try {
    const { groupFilters } = JSON.parse(text) as { groupFilters?: unknown };
    return Array.isArray(groupFilters) ? groupFilters : [];
  } catch {
    return [];
  }
}
