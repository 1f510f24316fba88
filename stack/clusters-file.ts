/**
 * The stack's clusters.yaml (in the contract's form) and the environment that goes with it: the file names
 * variables, the variables hold the secrets.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, stringify } from 'yaml';
import { CutoverError } from '../contract/errors.ts';
import type { LocalCluster } from './cluster.ts';

/** What the clusters are called in clusters.yaml and so in plans. */
export const planNames = { source: 'legacy', target: 'next' } as const;

const principals = { own: 'cutover', forward: 'mirror-forward', reverse: 'mirror-reverse' } as const;
type Principal = keyof typeof principals;

const headings = { source: 'the cluster that is left', target: 'the cluster that is moved to' } as const;

/** One cluster's entry: bootstrap, and where each of our three principals' credentials are found. */
export function clusterEntry(cluster: Pick<LocalCluster, 'name' | 'bootstrap'>): Record<string, unknown> {
  const sasl = (principal: Principal) => ({
    mechanism: 'scram-sha-512',
    username: { env: variable(cluster.name, principal, 'USERNAME') },
    password: { env: variable(cluster.name, principal, 'PASSWORD') },
  });
  return {
    bootstrap: cluster.bootstrap,
    sasl: sasl('own'),
    forward: { sasl: sasl('forward') },
    reverse: { sasl: sasl('reverse') },
  };
}

/** The variables that `clusterEntry` names. */
export function clusterEnvironment(cluster: Pick<LocalCluster, 'name' | 'users'>): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [principal, user] of Object.entries(principals) as [Principal, string][]) {
    env[variable(cluster.name, principal, 'USERNAME')] = user;
    env[variable(cluster.name, principal, 'PASSWORD')] = cluster.users[user] ?? '';
  }
  return env;
}

/** `KAFKA_CUTOVER_LEGACY_PASSWORD`, `KAFKA_CUTOVER_LEGACY_FORWARD_PASSWORD`, ... */
function variable(name: LocalCluster['name'], principal: Principal, what: string): string {
  const middle = principal === 'own' ? '' : `${principal.toUpperCase()}_`;
  return `KAFKA_CUTOVER_${planNames[name].toUpperCase()}_${middle}${what}`;
}

/**
 * A cluster's entry in a clusters.yaml from outside, with file references made absolute so that it can
 * stand in another folder. STACK_UNAVAILABLE when it is missing or means another bootstrap.
 */
export function entryFromOutside(
  path: string | undefined,
  side: 'source' | 'target',
  bootstrap: string,
): Record<string, unknown> {
  const name = planNames[side];
  const refuse = (found: string, wanted: string) =>
    new CutoverError('STACK_UNAVAILABLE', {
      what: `KAFKA_CUTOVER_STACK_${side.toUpperCase()} names a cluster that nothing describes`,
      where: path ?? 'KAFKA_CUTOVER_STACK_CLUSTERS',
      found,
      wanted,
      next: `Set KAFKA_CUTOVER_STACK_CLUSTERS to a clusters.yaml with an entry \`${name}\`, or unset KAFKA_CUTOVER_STACK_${side.toUpperCase()}.`,
    });
  if (!path) throw refuse('no KAFKA_CUTOVER_STACK_CLUSTERS', 'the path of a clusters.yaml');
  let entry: { bootstrap?: unknown } | undefined;
  try {
    entry = (parse(readFileSync(path, 'utf8')) as Record<string, object> | null)?.[name];
  } catch (error) {
    throw refuse((error as Error).message, 'a readable clusters.yaml');
  }
  if (!entry) throw refuse('no such entry', `\`${name}\``);
  const described = [entry.bootstrap].flat().join(',');
  if (described !== bootstrap) throw refuse(`bootstrap ${described}`, `bootstrap ${bootstrap}`);
  return absoluteFiles(entry, dirname(resolve(path))) as Record<string, unknown>;
}

function absoluteFiles(value: unknown, folder: string): unknown {
  if (Array.isArray(value)) return value.map((item) => absoluteFiles(item, folder));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === 'file' && typeof inner === 'string' ? resolve(folder, inner) : absoluteFiles(inner, folder),
    ]),
  );
}

export function clustersYaml(entries: { source?: object | undefined; target?: object | undefined }): string {
  const blocks = (['source', 'target'] as const).flatMap((side) =>
    entries[side] ? [`# ${headings[side]}\n${stringify({ [planNames[side]]: entries[side] })}`] : [],
  );
  return `# Written by the local stack. Secrets are in the environment: \`. ./env\` beside this file.\n\n${blocks.join('\n')}`;
}

/** Shell-sourceable: `export K='V'`. */
export function envFile(env: Record<string, string>): string {
  return Object.entries(env)
    .map(([key, value]) => `export ${key}='${value.replaceAll("'", "'\\''")}'\n`)
    .join('');
}
