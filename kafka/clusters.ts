/**
 * clusters.yaml: where clusters and webhooks are, and how to log in. Read by whatever talks to
 * Kafka; never sent anywhere, never part of a workflow's input or history.
 */
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import { CutoverError } from '../contract/errors.ts';
import { httpUrl, parseYamlOfSecrets, plainOrReference, reference, resolveReference } from './references.ts';
import { type PlaceOf, type ReplicatorPlace, replicatorPlace, resolvePlace } from './replicator-places.ts';
import type { TokenLogin } from './tokens.ts';

const passwordSasl = z.strictObject({
  mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
  username: plainOrReference,
  password: reference,
});

const oauthSasl = z
  .strictObject({
    mechanism: z.literal('oauthbearer'),
    token: reference.optional(),
    clientCredentials: z
      .strictObject({
        tokenUrl: httpUrl('name the client as `clientId` and `clientSecret`'),
        clientId: plainOrReference,
        clientSecret: reference,
        scope: z.string().min(1).optional(),
        audience: z.string().min(1).optional(),
      })
      .optional(),
    // RFC 7628, section 3.1
    extensions: z
      .record(z.string(), z.string())
      .refine((all) => Object.keys(all).every((name) => /^(?!auth$)[A-Za-z]+$/.test(name)), {
        error: 'an extension is named in letters, and not `auth`',
      })
      .refine((all) => Object.values(all).every((value) => /^[\x20-\x7e]+$/.test(value)), {
        error: 'an extension holds printable ASCII',
      })
      .optional(),
  })
  .refine((login) => (login.token === undefined) !== (login.clientCredentials === undefined), {
    error: 'oauthbearer needs one of `token` and `clientCredentials`',
  });

const awsSasl = z
  .strictObject({
    mechanism: z.literal('aws-msk-iam'),
    region: z.string().regex(/^[a-z0-9-]+$/, 'an AWS region, such as eu-central-1'),
    roleArn: z.string().min(1).optional(),
    profile: z.string().min(1).optional(),
  })
  .refine((login) => login.roleArn === undefined || login.profile === undefined, {
    error: 'aws-msk-iam takes `roleArn` or `profile`, not both',
  });

const sasl = z.discriminatedUnion('mechanism', [passwordSasl, oauthSasl, awsSasl], {
  error: 'mechanism is one of plain, scram-sha-256, scram-sha-512, oauthbearer, aws-msk-iam',
});

const tls = z
  .strictObject({
    ca: reference.optional(),
    cert: reference.optional(),
    key: reference.optional(),
    keyPassphrase: reference.optional(),
    serverName: z.string().min(1).optional(),
  })
  .refine((files) => (files.cert === undefined) === (files.key === undefined), {
    error: '`cert` and `key` belong together',
  });

const principal = z.strictObject({
  sasl: sasl.optional(),
  tls: tls.optional(),
  principal: z
    .string()
    .regex(/^[A-Za-z]+:.+$/, 'a principal as Kafka writes it, such as User:mirror or User:CN=mirror')
    .optional(),
});

/** Of schemas, as Confluent's API serves it. */
const registry = z
  .strictObject({
    url: httpUrl('name `username` and `password`'),
    username: plainOrReference.optional(),
    password: reference.optional(),
    token: reference.optional(),
    ca: reference.optional(),
  })
  .refine((login) => (login.username === undefined) === (login.password === undefined), {
    error: '`username` and `password` belong together',
  })
  .refine((login) => login.token === undefined || login.username === undefined, {
    error: 'a registry takes `username` and `password`, or `token`, not both',
  });

const cluster = principal.extend({
  bootstrap: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]),
  forward: principal.optional(),
  reverse: principal.optional(),
  mirrorPrincipals: z
    .array(
      principal.refine((entry) => entry.sasl !== undefined || entry.tls?.cert !== undefined, {
        error: 'an entry needs a login of its own: `sasl`, or `tls` with `cert` and `key`',
      }),
    )
    .optional(),
  scramUsers: z
    .record(
      z.string().min(1),
      z.strictObject({ mechanism: z.enum(['scram-sha-256', 'scram-sha-512']), password: reference }),
    )
    .optional(),
  registry: registry.optional(),
});

const webhook = z.strictObject({ url: httpUrl('calls are signed with `secret`'), secret: reference });

/** What is left out is what Kubernetes gives every pod: its own API server and service account. */
const kubernetes = z
  .strictObject({
    server: httpUrl('name `token`, or `cert` and `key`').optional(),
    ca: reference.optional(),
    token: reference.optional(),
    cert: reference.optional(),
    key: reference.optional(),
  })
  .refine((login) => (login.cert === undefined) === (login.key === undefined), {
    error: '`cert` and `key` belong together',
  })
  .refine((login) => !login.server?.startsWith('http:') || (!login.token && !login.cert), {
    error: 'a login goes over https only',
  });

/** A Kafka Connect cluster's REST API. */
const connect = z
  .strictObject({
    url: httpUrl('name the login as `basic`'),
    basic: z.strictObject({ username: plainOrReference, password: reference }).optional(),
    ca: reference.optional(),
  })
  .refine((api) => api.ca === undefined || api.url.startsWith('https:'), { error: '`ca` is for https' });

/** A public key in PEM or, on one line, what stands between PEM's two lines; or where that is. */
const approver = z.strictObject({ keys: z.array(plainOrReference).min(1) });

/** A system that answers gates by HTTPS, and as whom it may. */
const sender = z.strictObject({ secret: reference, as: z.array(z.string().trim().min(1)).min(1) });

const schema = z.looseObject({
  approvers: z.record(z.string().trim().min(1), approver).optional(),
  senders: z.record(z.string().regex(/^[\w.-]+$/), sender).optional(),
  connects: z.record(z.string(), connect).optional(),
  replicators: z.record(z.string(), replicatorPlace).optional(),
  webhooks: z.record(z.string(), webhook).optional(),
  kubernetes: z.record(z.string(), kubernetes).optional(),
  /** Paths, from this file's folder. */
  modules: z.record(z.string(), z.string().min(1)).optional(),
});

/** Where Kubernetes puts a pod's own login (its documentation: "Accessing the Kubernetes API from a Pod"). */
const serviceAccountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface SaslConfig {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
  readonly username: string;
  readonly password: string;
}

/** PEM each. Without `ca` the system's certificate authorities count. */
export interface TlsConfig {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly keyPassphrase?: string;
  /** What the broker's certificate must be for, where that is not the host of its address. */
  readonly serverName?: string;
}

/** Under whose name a connection is opened: our own, or one of the two mirrors'. */
export type Role = 'own' | 'forward' | 'reverse';

/** A role, or one of the cluster's `mirrorPrincipals` by its place in the list, from 0. */
export type ConnectAs = Role | { readonly mirrorPrincipal: number };

/** At most one of `sasl` and `token`. */
export interface Credentials {
  readonly sasl?: SaslConfig;
  /** OAUTHBEARER, which is also what MSK IAM is underneath. */
  readonly token?: TokenLogin;
  readonly tls?: TlsConfig;
  /** What Kafka calls this login, where the file says it. */
  readonly principal?: string;
}

export interface ClusterConfig {
  readonly name: string;
  /** `host:port` each. */
  readonly bootstrap: readonly string[];
  readonly credentials: Readonly<Record<Role, Credentials>>;
  /** False for a mirror that works under our own principal: it cannot be shut out by an ACL. */
  readonly hasOwnPrincipal: { readonly forward: boolean; readonly reverse: boolean };
  /** Logins that a mirror uses in rotation to own its markers at replication factor 1; may be empty. */
  readonly mirrorPrincipals: readonly Credentials[];
  /** Users that a migration to this cluster creates where its plan needs them and they are missing, by name (without `User:`). */
  readonly scramUsers: ReadonlyMap<string, ScramUser>;
  /** Of the schemas that its applications write with; null where the file names none. */
  readonly registry: RegistryConfig | null;
}

export interface RegistryConfig {
  /** Without a slash at its end; with a path where the API is below one. */
  readonly url: string;
  /** What `Authorization` says, or null. */
  readonly authorization: string | null;
  /** PEM; without it the system's authorities count. */
  readonly ca?: string;
}

export interface ScramUser {
  readonly mechanism: 'scram-sha-256' | 'scram-sha-512';
  readonly password: string;
}

/** @throws CutoverError CLUSTERS_INVALID where the cluster has fewer `mirrorPrincipals` than that */
export function credentialsFor(config: ClusterConfig, as: ConnectAs): Credentials {
  if (typeof as === 'string') return config.credentials[as];
  const found = config.mirrorPrincipals[as.mirrorPrincipal];
  if (found) return found;
  throw new CutoverError('CLUSTERS_INVALID', {
    what: 'no such mirror principal',
    where: `cluster ${config.name}`,
    found: `${config.mirrorPrincipals.length} mirrorPrincipals`,
    wanted: `number ${as.mirrorPrincipal}, counted from 0`,
  });
}

/**
 * What Kafka's ACLs call this login: `User:<username>` with a password, else what `principal` in the file says. Null
 * where only the broker knows: a certificate's name depends on its `ssl.principal.mapping.rules`, a token's on the claim
 * that it reads.
 */
export function principalName(credentials: Credentials): string | null {
  if (credentials.principal) return credentials.principal;
  return credentials.sasl ? `User:${credentials.sasl.username}` : null;
}

export interface WebhookConfig {
  readonly name: string;
  readonly url: string;
  readonly secret: string;
}

export interface SenderConfig {
  readonly secret: string;
  /** Approvers in whose name it may answer. */
  readonly as: readonly string[];
}

export interface KubernetesConfig {
  readonly name: string;
  /** `https://host:port`, without a path. */
  readonly server: string;
  /** PEM each; without `ca` the system's authorities count. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** A bearer token. One in a file is read again for each request, as Kubernetes replaces it there. */
  readonly token?: { readonly value: string } | { readonly path: string };
}

/** Where a Kafka Connect cluster takes requests. */
export interface ConnectConfig {
  readonly name: string;
  /** Without a slash at the end. */
  readonly url: string;
  readonly basic?: { readonly username: string; readonly password: string };
  /** PEM; the system's authorities count without it. */
  readonly ca?: string;
}

export interface ClustersFile {
  readonly path: string;
  readonly clusters: ReadonlyMap<string, ClusterConfig>;
  readonly webhooks: ReadonlyMap<string, WebhookConfig>;
  readonly connects: ReadonlyMap<string, ConnectConfig>;
  readonly replicators: ReadonlyMap<string, ReplicatorPlace>;
  /** Who may sign answers to gates (`proof: required`): Ed25519 public keys, by the approver's name as the file writes it. */
  readonly approvers: ReadonlyMap<string, readonly KeyObject[]>;
  /** Systems that may answer gates by HTTPS (`kafka-cutover listen`), by name. */
  readonly senders: ReadonlyMap<string, SenderConfig>;
  /** Names of what `kubernetes` defines. */
  readonly kubernetesNames: readonly string[];
  /**
   * @param name null: the pod's own, which needs no definition
   * @throws CutoverError KUBERNETES_UNKNOWN
   */
  kubernetes(name: string | null): KubernetesConfig;
  /** @throws CutoverError CLUSTER_UNKNOWN */
  cluster(name: string): ClusterConfig;
  /** @throws CutoverError WEBHOOK_UNKNOWN */
  webhook(name: string): WebhookConfig;
  /**
   * Path of a module that a bridge may load: code that people put beside this file.
   *
   * @throws CutoverError BRIDGE_MODULE_INVALID
   */
  module(name: string): string;
  /** @throws CutoverError REPLICATOR_UNKNOWN */
  connect(name: string): ConnectConfig;
  /** @throws CutoverError REPLICATOR_UNKNOWN where there is none of that name and kind */
  replicator<Kind extends ReplicatorPlace['kind']>(name: string, kind: Kind): PlaceOf<Kind>;
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
    document = parseYamlOfSecrets(text);
  } catch (cause) {
    return refuse('cannot read the file', '', (cause as Error).message);
  }
  const top = schema.safeParse(document);
  if (!top.success) {
    const issue = top.error.issues[0];
    return refuse(issue?.message ?? 'wrong value', issue?.path.join('.') ?? '');
  }
  const {
    webhooks: rawWebhooks = {},
    kubernetes: rawKubernetes = {},
    connects: rawConnects = {},
    replicators: rawReplicators = {},
    modules: rawModules = {},
    approvers: rawApprovers = {},
    senders: rawSenders = {},
    ...rawClusters
  } = top.data;

  const resolveValue = (value: z.infer<typeof plainOrReference>, where: string): string => {
    const resolved = resolveReference(value, dirname(file), env);
    return typeof resolved === 'string' ? resolved : refuse(resolved.what, where, resolved.found, resolved.wanted);
  };
  const resolveToken = (
    raw: z.infer<typeof oauthSasl> | z.infer<typeof awsSasl>,
    where: string,
    encrypted: boolean,
  ): TokenLogin => {
    if (raw.mechanism === 'aws-msk-iam') {
      if (!encrypted) refuse('MSK takes IAM logins over TLS only', where, 'no `tls`', '`tls: {}` for the cluster');
      const { region, roleArn, profile } = raw;
      return { from: 'aws-msk-iam', region, ...(roleArn && { roleArn }), ...(profile && { profile }) };
    }
    const extensions = raw.extensions && { extensions: raw.extensions };
    if (raw.clientCredentials) {
      const { tokenUrl, clientId, clientSecret, scope, audience } = raw.clientCredentials;
      return {
        from: 'clientCredentials',
        tokenUrl,
        clientId: resolveValue(clientId, `${where}.clientCredentials.clientId`),
        clientSecret: resolveValue(clientSecret, `${where}.clientCredentials.clientSecret`),
        ...(scope && { scope }),
        ...(audience && { audience }),
        ...extensions,
      };
    }
    // The schema has seen to it that one of the two is there.
    const token = raw.token as z.infer<typeof reference>;
    // Read once here, so that a missing one is known before anything is tried.
    const value = resolveValue(token, `${where}.token`);
    return 'file' in token
      ? { from: 'file', path: resolve(dirname(file), token.file), ...extensions }
      : { from: 'value', token: value, ...extensions };
  };
  const resolveTls = (raw: z.infer<typeof tls>, where: string, inherited: TlsConfig): TlsConfig => {
    const value = (key: 'ca' | 'cert' | 'key' | 'keyPassphrase') =>
      raw[key] && { [key]: resolveValue(raw[key], `${where}.${key}`) };
    const { ca, serverName } = inherited;
    const files: TlsConfig = {
      ...(raw.cert ? { ...(ca && { ca }), ...(serverName && { serverName }) } : inherited),
      ...value('ca'),
      ...value('cert'),
      ...value('key'),
      ...value('keyPassphrase'),
      ...(raw.serverName && { serverName: raw.serverName }),
    };
    try {
      if (files.ca) new X509Certificate(files.ca);
    } catch (cause) {
      return refuse('not a certificate in PEM', `${where}.ca`, opensslReason(cause));
    }
    try {
      // Also finds a key that is not the certificate's, and a wrong passphrase.
      const { cert, key, keyPassphrase: passphrase } = files;
      createSecureContext({ cert, key, passphrase });
    } catch (cause) {
      return refuse('not a certificate and its key in PEM', `${where}.cert`, opensslReason(cause));
    }
    return files;
  };
  /** What is not said is the cluster's: a mirror with a certificate of its own trusts the same authority. */
  const resolveCredentials = (raw: z.infer<typeof principal>, where: string, inherited: Credentials): Credentials => {
    const encryption = raw.tls ? resolveTls(raw.tls, `${where}.tls`, inherited.tls ?? {}) : inherited.tls;
    const login =
      raw.sasl === undefined
        ? { ...(inherited.sasl && { sasl: inherited.sasl }), ...(inherited.token && { token: inherited.token }) }
        : 'username' in raw.sasl
          ? {
              sasl: {
                mechanism: raw.sasl.mechanism,
                username: resolveValue(raw.sasl.username, `${where}.sasl.username`),
                password: resolveValue(raw.sasl.password, `${where}.sasl.password`),
              },
            }
          : { token: resolveToken(raw.sasl, `${where}.sasl`, encryption !== undefined) };
    const inheritedName = raw.sasl === undefined && raw.tls?.cert === undefined ? inherited.principal : undefined;
    const name = raw.principal ?? inheritedName;
    return { ...login, ...(encryption && { tls: encryption }), ...(name && { principal: name }) };
  };

  const resolveRegistry = (raw: z.infer<typeof registry>, where: string): RegistryConfig => {
    const user = raw.username && resolveValue(raw.username, `${where}.username`);
    const password = raw.password && resolveValue(raw.password, `${where}.password`);
    const token = raw.token && resolveValue(raw.token, `${where}.token`);
    const { ca } = resolveTls(raw.ca ? { ca: raw.ca } : {}, where, {});
    const basic = user !== undefined && `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    return {
      url: raw.url.replace(/\/+$/, ''),
      authorization: token ? `Bearer ${token}` : basic || null,
      ...(ca && { ca }),
    };
  };

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
      if (!isAddress(address)) {
        // With a user in it, as other clients take them, it is a secret.
        const found = address.includes('@') ? undefined : JSON.stringify(address);
        return refuse('not an address', `${name}.bootstrap`, found, 'host:port');
      }
    }
    const own = resolveCredentials(raw, name, {});
    const mirror = (role: 'forward' | 'reverse'): Credentials =>
      raw[role] ? resolveCredentials(raw[role], `${name}.${role}`, own) : own;
    clusters.set(name, {
      name,
      bootstrap,
      credentials: { own, forward: mirror('forward'), reverse: mirror('reverse') },
      hasOwnPrincipal: { forward: raw.forward !== undefined, reverse: raw.reverse !== undefined },
      mirrorPrincipals: (raw.mirrorPrincipals ?? []).map((entry, index) =>
        resolveCredentials(entry, `${name}.mirrorPrincipals.${index}`, own),
      ),
      scramUsers: new Map(
        Object.entries(raw.scramUsers ?? {}).map(([user, { mechanism, password }]) => [
          user,
          { mechanism, password: resolveValue(password, `${name}.scramUsers.${user}.password`) },
        ]),
      ),
      registry: raw.registry ? resolveRegistry(raw.registry, `${name}.registry`) : null,
    });
  }
  const webhooks = new Map<string, WebhookConfig>();
  for (const [name, raw] of Object.entries(rawWebhooks)) {
    webhooks.set(name, { name, url: raw.url, secret: resolveValue(raw.secret, `webhooks.${name}.secret`) });
  }
  const connects = new Map<string, ConnectConfig>();
  for (const [name, raw] of Object.entries(rawConnects)) {
    const where = `connects.${name}`;
    const ca = raw.ca && resolveTls({ ca: raw.ca }, where, {}).ca;
    const basic = raw.basic && {
      username: resolveValue(raw.basic.username, `${where}.basic.username`),
      password: resolveValue(raw.basic.password, `${where}.basic.password`),
    };
    connects.set(name, { name, url: raw.url.replace(/\/+$/, ''), ...(basic && { basic }), ...(ca && { ca }) });
  }
  const replicators = new Map<string, ReplicatorPlace>();
  const references = {
    value: resolveValue,
    ca: (value: z.infer<typeof reference>, where: string) => resolveTls({ ca: value }, where, {}).ca ?? '',
  };
  for (const [name, raw] of Object.entries(rawReplicators)) replicators.set(name, resolvePlace(name, raw, references));
  const approvers = new Map<string, readonly KeyObject[]>();
  for (const [name, { keys }] of Object.entries(rawApprovers)) {
    const read = keys.map((key, index) => {
      const where = `approvers.${name}.keys.${index}`;
      return publicKey(resolveValue(key, where)) ?? refuse('not a public key', where, undefined, ed25519Wanted);
    });
    approvers.set(name, read);
  }
  const senders = new Map<string, SenderConfig>();
  for (const [name, { secret, as }] of Object.entries(rawSenders)) {
    senders.set(name, { secret: resolveValue(secret, `senders.${name}.secret`), as });
  }
  const resolveKubernetes = (name: string, raw: z.infer<typeof kubernetes>): KubernetesConfig => {
    const inCluster = raw.server === undefined;
    const host = env.KUBERNETES_SERVICE_HOST;
    if (inCluster && !host) {
      throw new CutoverError('KUBERNETES_UNKNOWN', {
        what: 'no server is named, and this process runs in no pod',
        where: `${file}, kubernetes ${name}`,
        found: 'no KUBERNETES_SERVICE_HOST',
        wanted: '`server: https://host:port`',
      });
    }
    const address = host?.includes(':') ? `[${host}]` : host;
    const server = raw.server ?? `https://${address}:${env.KUBERNETES_SERVICE_PORT ?? '443'}`;
    const tls = resolveTls(
      {
        ...((raw.ca || inCluster) && { ca: raw.ca ?? { file: `${serviceAccountFolder}/ca.crt` } }),
        ...(raw.cert && { cert: raw.cert }),
        ...(raw.key && { key: raw.key }),
      },
      `kubernetes.${name}`,
      {},
    );
    const token = raw.token ?? (inCluster && !raw.cert ? { file: `${serviceAccountFolder}/token` } : undefined);
    // Read once here, so that a missing one is known before anything is tried.
    const value = token && resolveValue(token, `kubernetes.${name}.token`);
    const kept = token && ('file' in token ? { path: resolve(dirname(file), token.file) } : { value: value ?? '' });
    return { name, server: server.replace(/\/+$/, ''), ...tls, ...(kept && { token: kept }) };
  };
  // The pod's own is looked for when it is asked for: the same file serves whoever lifts a fence from elsewhere.
  const kubernetesClusters = new Map<string, () => KubernetesConfig>();
  for (const [name, raw] of Object.entries(rawKubernetes)) {
    const read = raw.server === undefined ? null : resolveKubernetes(name, raw);
    kubernetesClusters.set(name, () => read ?? resolveKubernetes(name, raw));
  }
  const names = (map: ReadonlyMap<string, unknown>) => (map.size > 0 ? [...map.keys()].join(', ') : 'none');
  return {
    path: file,
    clusters,
    webhooks,
    connects,
    replicators,
    approvers,
    senders,
    kubernetesNames: [...kubernetesClusters.keys()],
    kubernetes: (name) => {
      if (name === null) return resolveKubernetes('(the pod)', {});
      const found = kubernetesClusters.get(name);
      if (!found) {
        throw new CutoverError('KUBERNETES_UNKNOWN', {
          what: 'unknown Kubernetes cluster',
          where: file,
          found: name,
          wanted: `one of: ${names(kubernetesClusters)}`,
        });
      }
      return found();
    },
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
    module: (name) => {
      const found = Object.hasOwn(rawModules, name) ? rawModules[name] : undefined;
      if (found !== undefined) return resolve(dirname(file), found);
      throw new CutoverError('BRIDGE_MODULE_INVALID', {
        what: 'unknown module',
        where: `${file}, modules`,
        found: name,
        wanted: `one of: ${names(new Map(Object.entries(rawModules)))}`,
      });
    },
    connect: (name) => {
      const found = connects.get(name);
      if (!found) {
        throw new CutoverError('REPLICATOR_UNKNOWN', {
          what: 'unknown Connect cluster',
          where: file,
          found: name,
          wanted: `one of: ${names(connects)}`,
        });
      }
      return found;
    },
    replicator: <Kind extends ReplicatorPlace['kind']>(name: string, kind: Kind) => {
      const found = replicators.get(name);
      if (found?.kind === kind) return found as PlaceOf<Kind>;
      throw new CutoverError('REPLICATOR_UNKNOWN', {
        what: 'no such replicator',
        where: `${file}, replicators`,
        found: found ? `${name}, of kind ${found.kind}` : name,
        wanted: `one of kind ${kind}: ${names(new Map([...replicators].filter(([, place]) => place.kind === kind)))}`,
      });
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

/** `host:port`, also `[IPv6]:port`. */
export function isAddress(text: string): boolean {
  return /^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/.test(text);
}

const ed25519Wanted = 'an Ed25519 public key in PEM, or the base64 inside it (`openssl pkey -in approver.pem -pubout`)';

/** Null where it is none: a private key is not taken for one, as it has no business in this file. */
function publicKey(text: string): KeyObject | null {
  try {
    const pem = text.startsWith('-----BEGIN PUBLIC KEY-----');
    const key = createPublicKey(pem ? text : { key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
    return key.asymmetricKeyType === 'ed25519' ? key : null;
  } catch {
    return null;
  }
}

/** OpenSSL's reason alone: its message never holds what was read, but the error beside it may. */
function opensslReason(cause: unknown): string {
  const { code, message } = cause as { code?: string; message?: string };
  return code ?? message ?? 'something else';
}
