/** Which quotas a migration carries: those of users that have rights on what moves. */
import type { Plan } from '../contract/plan.ts';
import { type Quota, type QuotaChange, type QuotaEntity, quotaDifference, quotaKey } from '../kafka/quotas.ts';
import { mappedPrincipal } from './acls.ts';
import type { Change } from './change.ts';

/**
 * Quotas of a user, or of a user with a client id (by name or default), with the user mapped.
 *
 * @param principals of the source that have rights on what moves (`User:name`)
 */
export function carriedQuotas(
  quotas: readonly Quota[],
  principals: ReadonlySet<string>,
  plan: Pick<Plan, 'principals'>,
): Quota[] {
  return quotas
    .flatMap(({ entity, values }) => {
      const user = mappedUser(entity, principals, plan);
      return user === null ? [] : [{ entity: { ...entity, user }, values }];
    })
    .sort((a, b) => (quotaKey(a.entity) < quotaKey(b.entity) ? -1 : 1));
}

/**
 * Quotas that hold for the moved applications as well but are not about one of their users (defaults, client ids alone,
 * addresses), where the target has another value. Readable, one per entity.
 *
 * @param carried given where rules do not tell who all the users are: then those of users that are not among these principals count too
 */
export function quotasLeftOut(
  source: readonly Quota[],
  target: readonly Quota[],
  carried?: ReadonlySet<string>,
): string[] {
  const general = ({ user }: QuotaEntity) =>
    typeof user !== 'string' || (carried !== undefined && !carried.has(`User:${user}`));
  const entities = new Map([...source, ...target].filter((q) => general(q.entity)).map((q) => [quotaKey(q.entity), q]));
  const valuesOf = (quotas: readonly Quota[], key: string) =>
    quotas.find((quota) => quotaKey(quota.entity) === key)?.values ?? {};
  const lines: string[] = [];
  for (const key of [...entities.keys()].sort()) {
    const here = valuesOf(source, key);
    const there = valuesOf(target, key);
    const names = [...new Set([...Object.keys(here), ...Object.keys(there)])].sort();
    const differing = names.filter((name) => here[name] !== there[name]);
    if (differing.length === 0) continue;
    const text = differing.map((name) => `${name} ${here[name] ?? 'not set'} / ${there[name] ?? 'not set'}`);
    lines.push(`${key}: ${text.join(', ')} (source / target)`);
  }
  return lines;
}

/** The change that sets those of `wanted` that the target does not have, or null. */
export function missingQuotas(wanted: readonly Quota[], existing: readonly Quota[]): Change | null {
  const quotas = wanted
    .map(({ entity, values }): QuotaChange => ({ entity, set: values, unset: [] }))
    .filter((change) => quotaDifference(existing, change) !== null);
  return quotas.length === 0 ? null : { kind: 'alter-quotas', cluster: 'target', quotas };
}

function mappedUser(
  entity: QuotaEntity,
  principals: ReadonlySet<string>,
  plan: Pick<Plan, 'principals'>,
): string | null {
  if (typeof entity.user !== 'string' || entity.ip !== undefined) return null;
  const principal = `User:${entity.user}`;
  if (!principals.has(principal)) return null;
  const mapped = mappedPrincipal(plan, principal);
  return mapped.startsWith('User:') ? mapped.slice('User:'.length) : null;
}
