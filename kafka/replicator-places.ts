/** Where vendors' replicators take requests: `replicators` of clusters.yaml, one shape a kind. Secrets are references, as everywhere in that file. */
import { z } from 'zod';
import { plainOrReference, reference } from './references.ts';

const httpUrl = z
  .url({ protocol: /^https?$/ })
  .refine((url) => !URL.canParse(url) || new URL(url).username + new URL(url).password === '', {
    error: 'a URL without a user in it: name the login beside it',
  });
const basic = z.strictObject({ username: plainOrReference, password: reference });

/** Confluent's REST API v3 of one cluster; `url` up to `/v3`, as in `https://host:443/kafka/v3`. */
const confluentRest = z
  .strictObject({
    url: httpUrl.refine((url) => /\/v3\/?$/.test(url), { error: 'the address up to and with `/v3`' }),
    basic: basic.optional(),
    ca: reference.optional(),
  })
  .refine((api) => api.ca === undefined || api.url.startsWith('https:'), { error: '`ca` is for https' });

export const replicatorPlace = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('cluster-linking'),
    target: confluentRest,
    /** For the way back, which is made there. */
    source: confluentRest.optional(),
  }),
]);

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

export type ReplicatorPlace = ClusterLinkingPlace;
export type PlaceOf<Kind extends ReplicatorPlace['kind']> = Extract<ReplicatorPlace, { kind: Kind }>;

export interface Resolve {
  readonly value: (value: z.infer<typeof plainOrReference>, where: string) => string;
  readonly ca: (value: z.infer<typeof reference>, where: string) => string;
}

/** @throws CutoverError CLUSTERS_INVALID, by `resolve` */
export function resolvePlace(name: string, raw: z.infer<typeof replicatorPlace>, resolve: Resolve): ReplicatorPlace {
  const where = `replicators.${name}`;
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
