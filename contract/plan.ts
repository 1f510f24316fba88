/**
 * The plan: what moves, how, and who approves. Strict, because people write it; parsed at every border
 * (our client, and the workflow's first activity, since Temporal's UI and CLI bypass our client).
 * Inside, only the plain `Plan` travels: defaults filled, durations in milliseconds.
 */

import { z } from 'zod';
import { CutoverError } from './errors.ts';
import { type FenceKindName, fenceKinds } from './fences.ts';
import type { ReplicatorKind } from './replicators.ts';
import { waveNames } from './status.ts';

const durationUnits = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `90s` becomes 90000. */
const duration = z
  .string()
  .regex(/^\d+(ms|s|m|h|d)$/, 'wanted a duration such as 300ms, 60s, 5m, 24h or 7d')
  .transform((text) => {
    const [, amount, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(text) as unknown as [
      string,
      string,
      keyof typeof durationUnits,
    ];
    return Number(amount) * durationUnits[unit];
  });

/** What people write as in a plan, elsewhere: milliseconds, null where it is not a duration. */
export function durationMs(text: string): number | null {
  const parsed = duration.safeParse(text);
  return parsed.success ? parsed.data : null;
}

const pattern = z.string().min(1).refine(isRegularExpression, 'not a JavaScript regular expression');
const patterns = z.array(pattern);
const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'wanted [a-z0-9][a-z0-9-]{0,62}');
const principal = z.string().regex(/^[^:]+:.+$/, 'wanted Type:name, such as User:orders');

const gate = (approvals: number) =>
  z
    .strictObject({
      approvals: z.int().min(0).max(20).default(approvals),
      approvers: z.array(z.string().trim().min(1)).default([]),
      remindEvery: duration.prefault('1h'),
      timeout: z.union([z.literal('none').transform(() => null), duration]).default(null),
      proof: z.enum(['claimed', 'required']).default('claimed'),
    })
    .prefault({});

const include = z.strictObject({ include: patterns.min(1), exclude: patterns.default([]) });

/** Where applications on Kubernetes read which cluster is theirs, and who is restarted to read it again. */
const configMap = z.strictObject({
  /** Name of an entry under `kubernetes` in clusters.yaml; may be left out where one or none is defined (then: the cluster that we run in). */
  kubernetes: z.string().min(1).optional(),
  namespace: z.string().min(1),
  kind: z.enum(['ConfigMap', 'Secret']).default('ConfigMap'),
  name: z.string().min(1),
  key: z.string().min(1),
  /** What the key holds for each cluster; its bootstrap addresses by default. */
  values: z.strictObject({ source: z.string().min(1), target: z.string().min(1) }).optional(),
  /** Deployments of that namespace. */
  restart: z.array(z.string().min(1)).default([]),
  /** How long all of them together may take until every replica is a new one and available. */
  rollout: duration.prefault('5m'),
});

const switchKeys = {
  switch: z.enum(['manual', 'webhook', 'config-map']).default('manual'),
  /** Name of a webhook of clusters.yaml; may be left out where exactly one is defined. */
  webhook: z.string().min(1).optional(),
  configMap: configMap.optional(),
};

const mirrormaker2 = z.strictObject({
  kind: z.literal('mirrormaker2'),
  /** Name of an entry under `connects` in clusters.yaml; `dedicated`: people run it with the configuration that we print. */
  connect: z.string().min(1),
  /** What topics are called on the target: as on the source, or `<source>.<topic>`. */
  naming: z.enum(['identity', 'prefixed']).default('identity'),
  /** Passed through to the source connector, over our own; never secrets, which Connect's config providers hold. */
  settings: z.record(z.string().min(1), z.string()).default({}),
});

/** Confluent's, of Platform or Cloud, over REST v3. */
const clusterLinking = z.strictObject({
  kind: z.literal('cluster-linking'),
  /** Name of an entry under `replicators` in clusters.yaml. */
  at: z.string().min(1),
  /** A link that people have made, which is used and left as it is; without it one of ours is made and taken away. */
  link: z.string().min(1).optional(),
  /** Of our link, passed through; never secrets. */
  settings: z.record(z.string().min(1), z.string()).default({}),
});

/** Amazon's, between MSK clusters, or to one. */
const mskReplicator = z.strictObject({
  kind: z.literal('msk-replicator'),
  /** Name of an entry under `replicators` in clusters.yaml. */
  at: z.string().min(1),
  /** At the switch, while applications wait: `delete` takes minutes, and nothing is left that could write; `leave` takes none. */
  atSwitch: z.enum(['delete', 'leave']).default('delete'),
  compression: z.enum(['none', 'gzip', 'snappy', 'lz4', 'zstd']).default('none'),
});

/** AutoMQ's, into an instance of AutoMQ. */
const automqLinking = z.strictObject({
  kind: z.literal('automq-linking'),
  /** Name of an entry under `replicators` in clusters.yaml. */
  at: z.string().min(1),
  /** A link that people have made; without it one of ours is made. */
  link: z.string().min(1).optional(),
});

/** Any other system, driven by webhooks; what it can do is what people say here. */
const external = z.strictObject({
  kind: z.literal('external'),
  /** Name of a webhook of clusters.yaml. */
  webhook: z.string().min(1),
  /** `identical`: a record has the same offset on both clusters, and the audit compares slot by slot; `other`: record by record, in order. */
  offsets: z.enum(['identical', 'other']).default('other'),
  /** It can carry back, from the boundary on. */
  reverse: z.boolean().default(false),
  /** Topics of the target take writes only once it was asked for that. */
  promotes: z.boolean().default(false),
  /** Of `start`, `stop`, `promote` and `remove`: how long it may answer that it is not done yet. */
  patience: duration.prefault('10m'),
});

/** Ours, for records that change on the way: by a module of people's own. */
const bridge = z.strictObject({
  kind: z.literal('bridge'),
  /** Its name in clusters.yaml, or for the command a path from the plan's folder; absent: records are copied as they are. */
  module: z.string().min(1).optional(),
  /** What topics are called on the target, where that is not the same. */
  rename: z.record(z.string().min(1), z.string().min(1)).default({}),
  /** Topics of the target that the module may also write to. */
  outputs: z.array(z.string().min(1)).default([]),
  /** Topic of the target for records that the module cannot take; `kafka-cutover.<plan>.dead-letter` by default. */
  deadLetter: z.string().min(1).optional(),
  /** More of them than that in one run stop it: then it is the module that is wrong. */
  deadLetterMax: z.int().min(0).default(1_000),
  /** How long the module may take for one record. */
  recordTimeout: duration.prefault('10s'),
});

/** What copies records: each kind with settings of its own; its capabilities are in replicators.ts. */
const replicator = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z
      .literal('exact')
      .optional()
      .transform((): 'exact' => 'exact'),
  }),
  mirrormaker2,
  mskReplicator,
  clusterLinking,
  automqLinking,
  bridge,
  external,
]);

/** What the user writes. Published as JSON Schema by `kafka-cutover schema`. */
export const planSchema = z
  .strictObject({
    name,
    source: z.string().min(1),
    target: z.string().min(1),
    topics: include,
    groups: include.optional(),
    replicator: replicator.prefault({}),
    mirror: z
      .strictObject({
        maxBytesPerSecond: z.int().min(0).default(0),
        shards: z.int().min(1).max(1_000).default(1),
        /** Of aborted transactions: `keep` needs a cluster-wide switch on the brokers written to (VERIFICATION_SUSPENDED). */
        abortedRecords: z.enum(['keep', 'drop']).default('keep'),
      })
      .prefault({}),
    metadata: z
      .strictObject({
        configs: z.boolean().default(true),
        acls: z.boolean().default(true),
        quotas: z.boolean().default(true),
      })
      .prefault({}),
    /** Schemas are carried where this is there; both clusters then need a `registry` in clusters.yaml. */
    schemas: z.strictObject({ subjects: include.prefault({ include: ['.*'] }) }).optional(),
    principals: z.array(z.strictObject({ source: principal, target: principal })).default([]),
    fence: z
      .strictObject({
        kind: z.enum(Object.keys(fenceKinds) as FenceKindName[]).default('acl'),
        /** With `manual`: how long people may take, after their approval, until nothing writes any more. */
        stopWithin: duration.prefault('10m'),
        maxHold: duration.prefault('60s'),
        quiet: duration.prefault('300ms'),
        transactionWait: duration.prefault('20s'),
        principals: z.array(principal).default([]),
        /** Name of a webhook of clusters.yaml; may be left out where exactly one is defined. */
        webhook: z.string().min(1).optional(),
      })
      .prefault({}),
    producers: z.strictObject(switchKeys).prefault({}),
    consumers: z
      .strictObject({ ...switchKeys, when: z.enum(['withProducers', 'later']).default('withProducers') })
      .prefault({}),
    gates: z
      .strictObject({
        start: gate(0),
        cutover: gate(1),
        producers: gate(1),
        consumers: gate(1),
        finalize: gate(1),
        unfence: gate(1),
        rollback: gate(1),
      })
      .prefault({}),
    verify: z
      .strictObject({ records: z.enum(['full', 'sample']).default('full'), producersWait: duration.prefault('5m') })
      .prefault({}),
    rollback: z
      .strictObject({ window: duration.prefault('72h'), reverseMirror: z.boolean().default(true) })
      .prefault({}),
    finalize: z.strictObject({ unfenceSource: z.boolean().default(false) }).prefault({}),
    waivers: z
      .array(
        z.strictObject({ code: z.string().min(1), by: z.string().trim().min(1), reason: z.string().trim().min(1) }),
      )
      .default([]),
    waves: z.array(z.strictObject({ name, topics: include, groups: include.optional() })).default([]),
    /** Names of webhooks of clusters.yaml that are told of opened gates, steps and alarms. */
    notify: z.array(z.string().min(1)).default([]),
    startedBy: z.string().default(''),
    fourEyes: z.boolean().default(false),
  })
  .superRefine((plan, context) => {
    if (plan.fence.maxHold < 1_000) {
      context.addIssue({ code: 'custom', path: ['fence', 'maxHold'], message: 'wanted at least 1s' });
    }
    if (plan.fence.quiet >= plan.fence.maxHold) {
      context.addIssue({ code: 'custom', path: ['fence', 'quiet'], message: 'wanted less than fence.maxHold' });
    }
    if (plan.consumers.when === 'later' && !plan.rollback.reverseMirror) {
      const message =
        'wanted withProducers: later, groups read through the reverse mirror, which rollback.reverseMirror: false leaves out';
      context.addIssue({ code: 'custom', path: ['consumers', 'when'], message });
    }
    if (!fenceKinds[plan.fence.kind].reversible) {
      for (const gate of ['cutover', 'unfence', 'rollback'] as const) {
        if (plan.gates[gate].approvals > 0) continue;
        const message = `wanted at least 1: with fence.kind ${plan.fence.kind}, people say here what they have done`;
        context.addIssue({ code: 'custom', path: ['gates', gate, 'approvals'], message });
      }
    }
    if (plan.finalize.unfenceSource && !fenceKinds[plan.fence.kind].enforced) {
      const message = `wanted false: what fence.kind ${plan.fence.kind} stopped writes to the target now`;
      context.addIssue({ code: 'custom', path: ['finalize', 'unfenceSource'], message });
    }
    for (const side of ['producers', 'consumers'] as const) {
      const { switch: how, configMap } = plan[side];
      if ((how === 'config-map') !== (configMap !== undefined)) {
        const message = how === 'config-map' ? 'wanted with switch: config-map' : 'only with switch: config-map';
        context.addIssue({ code: 'custom', path: [side, 'configMap'], message });
      }
      if (configMap && plan.waves.length > 1) {
        const message =
          'not with several waves: one key for all would move the applications of later waves with the first';
        context.addIssue({ code: 'custom', path: [side, 'switch'], message });
      }
      if (configMap?.kind === 'Secret' && configMap.values) {
        const message = 'not with kind: Secret, since a plan is no place for secrets';
        context.addIssue({ code: 'custom', path: [side, 'configMap', 'values'], message });
      }
    }
    const named = plan.waves.map((wave) => wave.name);
    const twice = named.find((wave, index) => named.indexOf(wave) !== index);
    if (twice) context.addIssue({ code: 'custom', path: ['waves'], message: `two waves are named ${twice}` });
    if (plan.source === plan.target) {
      context.addIssue({ code: 'custom', path: ['target'], message: 'wanted another cluster than the source' });
    }
  });

export type Plan = z.output<typeof planSchema>;
export type PlanInput = z.input<typeof planSchema>;
export type GateName = keyof Plan['gates'];
export type GatePolicy = Plan['gates'][GateName];
/** Of one kind, with its settings. */
export type ReplicatorPlan<Kind extends ReplicatorKind> = Extract<Plan['replicator'], { kind: Kind }>;
export type ConfigMapSwitch = z.output<typeof configMap>;

/**
 * The wave that a command for one of them means.
 *
 * @param named what the user says, if anything
 * @throws CutoverError USAGE where the plan has no such wave, or several and none is named
 */
export function waveOf(plan: Pick<Plan, 'name' | 'waves'>, named?: string): string {
  const names = waveNames(plan);
  const [first] = names;
  if (named === undefined && names.length === 1 && first !== undefined) return first;
  if (named !== undefined && names.includes(named)) return named;
  throw new CutoverError('USAGE', {
    what: named === undefined ? 'the plan has several waves' : 'the plan has no such wave',
    where: `plan ${plan.name}`,
    found: named ?? 'none named',
    wanted: `--wave with one of ${names.join(', ')}`,
  });
}

/**
 * Checks what the user wrote and fills the defaults.
 *
 * @param where named in the error, such as the file's name
 * @throws CutoverError PLAN_INVALID with the path of every wrong value
 */
export function parsePlan(input: unknown, where = 'plan'): Plan {
  const parsed = planSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(top)'}: ${issue.message}`);
  throw new CutoverError('PLAN_INVALID', { what: 'the plan is not valid', where, found: issues.join('; ') });
}

/** Matches whole names, as the contract says. */
export function matcher(rule: { include: readonly string[]; exclude: readonly string[] }): (name: string) => boolean {
  const whole = (source: string) => new RegExp(`^(?:${source})$`);
  const include = rule.include.map(whole);
  const exclude = rule.exclude.map(whole);
  return (name) => include.some((p) => p.test(name)) && !exclude.some((p) => p.test(name));
}

function isRegularExpression(source: string): boolean {
  try {
    new RegExp(`^(?:${source})$`);
    return true;
  } catch {
    return false;
  }
}
