/**
 * clusters.yaml: where clusters and webhooks are, and how to log in. Read by whatever talks to
 * Kafka; never sent anywhere, never part of a workflow's input or history.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { CutoverError } from '../contract/errors.ts';

/** A value kept elsewhere: an environment variable, or a file beside clusters.yaml. */
const reference = z.union([z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })]);
const plainOrReference = z.union([z.string().min(1), reference]);

const sasl = z.strictObject({
  mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
  username: plainOrReference,
  password: reference,
});

const tls = z.strictObject({
  ca: reference.optional(),
  cert: reference.optional(),
  key: reference.optional(),
  serverName: z.string().optional(),
});

const principal = z.strictObject({ sasl: sasl.optional(), tls: tls.optional() });

const cluster = z.strictObject({
  bootstrap: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]),
  tls: tls.optional(),
  sasl: sasl.optional(),
  forward: principal.optional(),
  reverse: principal.optional(),
});

const webhook = z.strictObject({ url: z.url({ protocol: /^https?$/ }), secret: reference });

const schema = z.looseObject({ webhooks: z.record(z.string(), webhook).optional() });

export interface SaslConfig {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
  readonly username: string;
  readonly password: string;
}

export interface TlsConfig {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
}

/** Under whose name a connection is opened: our own, or one of the two mirrors'. */
export type Role = 'own' | 'forward' | 'reverse';

export interface Credentials {
  readonly sasl?: SaslConfig;
  readonly tls?: TlsConfig;
}

export interface ClusterConfig {
  readonly name: string;
  /** `host:port` each. */
  readonly bootstrap: readonly string[];
  readonly credentials: Readonly<Record<Role, Credentials>>;
  /** False for a mirror that works under our own principal: it cannot be shut out by an ACL. */
  readonly hasOwnPrincipal: { readonly forward: boolean; readonly reverse: boolean };
}

export interface WebhookConfig {
  readonly name: string;
  readonly url: string;
  readonly secret: string;
}

export interface ClustersFile {
  readonly path: string;
  readonly clusters: ReadonlyMap<string, ClusterConfig>;
  readonly webhooks: ReadonlyMap<string, WebhookConfig>;
  /** @throws CutoverError CLUSTER_UNKNOWN */
  cluster(name: string): ClusterConfig;
  /** @throws CutoverError WEBHOOK_UNKNOWN */
  webhook(name: string): WebhookConfig;
}

/**
 * Reads `path`, else `KAFKA_CUTOVER_CLUSTERS`, else `./clusters.yaml`, and resolves every reference.
 *
 * @throws CutoverError CLUSTERS_INVALID with the path of the wrong value
 */
export function readClusters(path?: string, env: NodeJS.ProcessEnv = process.env): ClustersFile {
  const file = resolve(path ?? env.KAFKA_CUTOVER_CLUSTERS ?? 'clusters.yaml');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new CutoverError(
      'CLUSTERS_INVALID',
      { what: 'cannot read the clusters file', where: file, found: (cause as NodeJS.ErrnoException).code },
      { cause },
    );
  }
  return parseClusters(text, file, env);
}

export function parseClusters(text: string, file: string, env: NodeJS.ProcessEnv): ClustersFile {
  const refuse = (what: string, where: string, found?: string, wanted?: string): never => {
    throw new CutoverError('CLUSTERS_INVALID', { what, where: `${file}${where ? ` at ${where}` : ''}`, found, wanted });
  };
  let document: unknown;
  try {
    document = parseYaml(text);
  } catch (cause) {
    return refuse('not YAML', '', (cause as Error).message.split('\n')[0]);
  }
  const top = schema.safeParse(document);
  if (!top.success) {
    const issue = top.error.issues[0];
    return refuse(issue?.message ?? 'wrong value', issue?.path.join('.') ?? '');
  }
  const { webhooks: rawWebhooks = {}, ...rawClusters } = top.data;

  const resolveValue = (value: z.infer<typeof plainOrReference>, where: string): string => {
    if (typeof value === 'string') return value;
    if ('env' in value) {
      const found = env[value.env];
      return found ? found : refuse('the environment variable is not set', where, `no ${value.env}`, value.env);
    }
    try {
      return readFileSync(resolve(dirname(file), value.file), 'utf8').trim();
    } catch (cause) {
      return refuse('cannot read the file', where, (cause as NodeJS.ErrnoException).code, value.file);
    }
  };
  const resolveCredentials = (raw: z.infer<typeof principal>, where: string): Credentials => ({
    ...(raw.sasl && {
      sasl: {
        mechanism: raw.sasl.mechanism,
        username: resolveValue(raw.sasl.username, `${where}.sasl.username`),
        password: resolveValue(raw.sasl.password, `${where}.sasl.password`),
      },
    }),
    ...(raw.tls && {
      tls: {
        ...(raw.tls.ca && { ca: resolveValue(raw.tls.ca, `${where}.tls.ca`) }),
        ...(raw.tls.cert && { cert: resolveValue(raw.tls.cert, `${where}.tls.cert`) }),
        ...(raw.tls.key && { key: resolveValue(raw.tls.key, `${where}.tls.key`) }),
        ...(raw.tls.serverName && { serverName: raw.tls.serverName }),
      },
    }),
  });

  const clusters = new Map<string, ClusterConfig>();
  for (const [name, rawCluster] of Object.entries(rawClusters)) {
    const parsed = cluster.safeParse(rawCluster);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      return refuse(issue?.message ?? 'wrong value', [name, ...(issue?.path ?? [])].join('.'));
    }
    const raw = parsed.data;
    const bootstrap = (typeof raw.bootstrap === 'string' ? raw.bootstrap.split(',') : raw.bootstrap).map((a) =>
      a.trim(),
    );
    for (const address of bootstrap) {
      if (!/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/.test(address)) {
        return refuse('not an address', `${name}.bootstrap`, JSON.stringify(address), 'host:port');
      }
    }
    const own = resolveCredentials(raw, name);
    const mirror = (role: 'forward' | 'reverse'): Credentials => {
      const override = raw[role];
      return override ? { ...own, ...resolveCredentials(override, `${name}.${role}`) } : own;
    };
    clusters.set(name, {
      name,
      bootstrap,
      credentials: { own, forward: mirror('forward'), reverse: mirror('reverse') },
      hasOwnPrincipal: { forward: raw.forward !== undefined, reverse: raw.reverse !== undefined },
    });
  }
  const webhooks = new Map<string, WebhookConfig>();
  for (const [name, raw] of Object.entries(rawWebhooks)) {
    webhooks.set(name, { name, url: raw.url, secret: resolveValue(raw.secret, `webhooks.${name}.secret`) });
  }
  const names = (map: ReadonlyMap<string, unknown>) => (map.size > 0 ? [...map.keys()].join(', ') : 'none');
  return {
    path: file,
    clusters,
    webhooks,
    cluster: (name) => {
      const found = clusters.get(name);
      if (!found) {
        throw new CutoverError('CLUSTER_UNKNOWN', {
          what: 'unknown cluster',
          where: file,
          found: name,
          wanted: `one of: ${names(clusters)}`,
        });
      }
      return found;
    },
    webhook: (name) => {
      const found = webhooks.get(name);
      if (!found) {
        throw new CutoverError('WEBHOOK_UNKNOWN', {
          what: 'unknown webhook',
          where: file,
          found: name,
          wanted: `one of: ${names(webhooks)}`,
        });
      }
      return found;
    },
  };
}
