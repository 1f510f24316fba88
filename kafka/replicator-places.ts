/** Where vendors' replicators take requests: `replicators` of clusters.yaml, one shape a kind. Secrets are references, as everywhere in that file. */
import { z } from 'zod';
import { httpUrl, plainOrReference, reference } from './references.ts';

const address = httpUrl('name the login beside it');
const basic = z.strictObject({ username: plainOrReference, password: reference });

/** Confluent's REST API v3 of one cluster; `url` up to `/v3`, as in `https://host:443/kafka/v3`. */
const confluentRest = z
  .strictObject({
    url: address.refine((url) => /\/v3\/?$/.test(url), { error: 'the address up to and with `/v3`' }),
    basic: basic.optional(),
    ca: reference.optional(),
  })
  .refine((api) => api.ca === undefined || api.url.startsWith('https:'), { error: '`ca` is for https' });

const arn = z.string().regex(/^arn:aws[a-z-]*:[a-z]+:[a-z0-9-]*:\d{12}:.+$/, 'an ARN, as AWS shows it');
const network = {
  subnets: z.array(z.string().min(1)).min(1),
  securityGroups: z.array(z.string().min(1)).default([]),
};
const mskCluster = z.strictObject({ arn, ...network });

export const replicatorPlace = z.discriminatedUnion('kind', [
  /** AutoMQ's control plane of the environment that the target runs in. */
  z
    .strictObject({
      kind: z.literal('automq-linking'),
      url: address,
      environment: z.string().min(1),
      instance: z.string().min(1),
      accessKeyId: plainOrReference,
      secretAccessKey: reference,
      ca: reference.optional(),
    })
    .refine((api) => api.ca === undefined || api.url.startsWith('https:'), { error: '`ca` is for https' }),
  z.strictObject({
    kind: z.literal('msk-replicator'),
    /** Which the replicator works as. */
    serviceExecutionRole: arn,
    target: mskCluster,
    /** On MSK, or outside: then its login is in AWS Secrets Manager. */
    source: z.union([
      mskCluster,
      z.strictObject({
        secret: arn,
        mechanism: z.enum(['scram-sha-256', 'scram-sha-512']).default('scram-sha-512'),
        ca: reference.optional(),
        ...network,
      }),
    ]),
    /** Of our own calls; AWS's default chain without it. */
    profile: z.string().min(1).optional(),
    endpoints: z.strictObject({ kafka: address.optional(), cloudwatch: address.optional() }).default({}),
  }),
  z.strictObject({
    kind: z.literal('cluster-linking'),
    target: confluentRest,
    /** For the way back, which is made there. */
    source: confluentRest.optional(),
  }),
]);

export interface AutomqPlace {
  readonly kind: 'automq-linking';
  readonly name: string;
  /** Of the environment's control plane; without a slash at the end. */
  readonly url: string;
  readonly environment: string;
  readonly instance: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** PEM; the system's authorities count without it. */
  readonly ca?: string;
}

export interface RestPlace {
  /** Without a slash at the end. */
  readonly url: string;
  readonly basic?: { readonly username: string; readonly password: string };
  /** PEM; the system's authorities count without it. */
  readonly ca?: string;
}

export interface ClusterLinkingPlace {
  readonly kind: 'cluster-linking';
  readonly name: string;
  readonly target: RestPlace;
  readonly source: RestPlace | null;
}

export interface MskNetwork {
  readonly subnets: readonly string[];
  readonly securityGroups: readonly string[];
}

export type MskCluster = MskNetwork & { readonly arn: string };

/** A cluster outside of MSK; the secret holds user name and password. */
export type ClusterOutsideMsk = MskNetwork & {
  readonly secret: string;
  readonly mechanism: 'scram-sha-256' | 'scram-sha-512';
  /** PEM. */
  readonly ca?: string;
};

export interface MskReplicatorPlace {
  readonly kind: 'msk-replicator';
  readonly name: string;
  readonly serviceExecutionRole: string;
  readonly target: MskCluster;
  readonly source: MskCluster | ClusterOutsideMsk;
  readonly profile?: string;
  readonly endpoints: { readonly kafka?: string; readonly cloudwatch?: string };
}

export type ReplicatorPlace = AutomqPlace | ClusterLinkingPlace | MskReplicatorPlace;
export type PlaceOf<Kind extends ReplicatorPlace['kind']> = Extract<ReplicatorPlace, { kind: Kind }>;

export interface Resolve {
  readonly value: (value: z.infer<typeof plainOrReference>, where: string) => string;
  readonly ca: (value: z.infer<typeof reference>, where: string) => string;
}

/** @throws CutoverError CLUSTERS_INVALID, by `resolve` */
export function resolvePlace(name: string, raw: z.infer<typeof replicatorPlace>, resolve: Resolve): ReplicatorPlace {
  const where = `replicators.${name}`;
  if (raw.kind === 'automq-linking') {
    return {
      kind: raw.kind,
      name,
      url: raw.url.replace(/\/+$/, ''),
      environment: raw.environment,
      instance: raw.instance,
      accessKeyId: resolve.value(raw.accessKeyId, `${where}.accessKeyId`),
      secretAccessKey: resolve.value(raw.secretAccessKey, `${where}.secretAccessKey`),
      ...(raw.ca && { ca: resolve.ca(raw.ca, where) }),
    };
  }
  if (raw.kind === 'msk-replicator') {
    const { kind, serviceExecutionRole, target, source, profile, endpoints } = raw;
    const outside = (cluster: typeof source) => {
      if ('arn' in cluster) return cluster;
      const { ca, ...rest } = cluster;
      return { ...rest, ...(ca && { ca: resolve.ca(ca, `${where}.source`) }) };
    };
    const { kafka, cloudwatch } = endpoints;
    return {
      kind,
      name,
      serviceExecutionRole,
      target,
      source: outside(source),
      ...(profile && { profile }),
      endpoints: { ...(kafka && { kafka }), ...(cloudwatch && { cloudwatch }) },
    };
  }
  const rest = (api: z.infer<typeof confluentRest>, at: string): RestPlace => ({
    url: api.url.replace(/\/+$/, ''),
    ...(api.basic && {
      basic: {
        username: resolve.value(api.basic.username, `${at}.basic.username`),
        password: resolve.value(api.basic.password, `${at}.basic.password`),
      },
    }),
    ...(api.ca && { ca: resolve.ca(api.ca, at) }),
  });
  return {
    kind: raw.kind,
    name,
    target: rest(raw.target, `${where}.target`),
    source: raw.source ? rest(raw.source, `${where}.source`) : null,
  };
}
