/**
 * What each key of a plan means, for its JSON Schema and `docs/plan.md`. Keys are paths; `[]` stands for the entries of a list. What every gate has is said once, as
 * `gates.*`, and what producers and consumers have as `*.`.
 */
export const planWords: Readonly<Record<string, string>> = {
  name: 'Names the migration: its workflow is `cutover/<name>`, and what it stores begins with it.',
  source: 'The cluster that is left, by its name in clusters.yaml.',
  target: 'The cluster that is moved to.',
  'topics.include': 'JavaScript regular expressions that match whole names.',
  'topics.exclude': 'Of those, not these.',
  'groups.include': 'Consumer groups whose positions move. Left out: every group with positions on the topics.',
  'groups.exclude': 'Of those, not these.',
  'replicator.kind': 'What copies the records; `exact` is our own. [replicators.md](replicators.md) says which suits.',
  'replicator<mirrormaker2>.connect':
    'An entry under `connects` in clusters.yaml; `dedicated`: people run it with the configuration that we print.',
  'replicator<mirrormaker2>.naming': 'What topics are called on the target: as on the source, or `<source>.<topic>`.',
  'replicator<mirrormaker2>.settings': 'Passed through to the source connector, over our own; never secrets.',
  'replicator<msk-replicator>.at': 'An entry under `replicators` in clusters.yaml.',
  'replicator<msk-replicator>.atSwitch':
    'At the switch, while applications wait: `delete` takes minutes, and nothing is left that could write; `leave` takes none.',
  'replicator<msk-replicator>.compression': 'Codec of what it writes.',
  'replicator<cluster-linking>.at': 'An entry under `replicators` in clusters.yaml.',
  'replicator<cluster-linking>.link': 'A link that people have made; without it one of ours is made and taken away.',
  'replicator<cluster-linking>.settings': 'Of our link, passed through; never secrets.',
  'replicator<automq-linking>.at': 'An entry under `replicators` in clusters.yaml.',
  'replicator<automq-linking>.link': 'A link that people have made; without it one of ours is made.',
  'replicator<bridge>.module':
    "A module of yours, by its name under `modules` in clusters.yaml; `bridge FILE` takes a path from the plan's folder too. Without it records stay as they are.",
  'replicator<bridge>.rename':
    'What topics are called on the target, where that is not the same; for `bridge FILE` alone.',
  'replicator<bridge>.outputs': 'Topics of the target that the module may also write to; for `bridge FILE` alone.',
  'replicator<bridge>.deadLetter':
    'Topic of the target for records that the module cannot take; `kafka-cutover.<plan>.dead-letter` by default.',
  'replicator<bridge>.deadLetterMax': 'More of them than that in one run stop it.',
  'replicator<bridge>.recordTimeout': 'How long the module may take for one record.',
  'replicator<external>.webhook': 'Of clusters.yaml; it is called for each verb.',
  'replicator<external>.offsets': '`identical`: a record has the same offset on both clusters.',
  'replicator<external>.reverse': 'It can carry back, from the boundary on.',
  'replicator<external>.promotes': 'Topics of the target take writes only once it was asked for that.',
  'replicator<external>.patience': 'How long it may answer that it is not done yet.',
  'mirror.maxBytesPerSecond': 'Of all shards together; 0: no limit. `tune` changes it while it runs.',
  'mirror.shards': 'Activities that partitions are spread over. `tune` changes it while it runs.',
  'mirror.abortedRecords':
    'Records of aborted transactions: `keep` needs transaction verification suspended on the brokers that are written to (VERIFICATION_SUSPENDED).',
  'metadata.configs': "Carry the topics' explicit settings.",
  'metadata.acls': 'Carry access rules.',
  'metadata.quotas': 'Carry quotas.',
  'schemas.subjects.include': 'Subjects of the schema registry that move along, under their ids.',
  'schemas.subjects.exclude': 'Of those, not these.',
  'principals[].source': 'A principal as the source calls it.',
  'principals[].target': 'The same as the target calls it.',
  'fence.kind': 'What keeps applications from writing: DENY rules, a webhook that stops them, or people.',
  'fence.stopWithin': 'With `manual`: how long people may take, after their approval, until nothing writes any more.',
  'fence.maxHold': 'The deadline of a fence: until opening is decided it lifts itself then.',
  'fence.quiet': 'How long log ends must stand still.',
  'fence.transactionWait': 'How long open transactions are waited for before they are ended.',
  'fence.principals': 'Writers beside those that the rules name.',
  'fence.webhook': 'Of clusters.yaml; may be left out where exactly one is defined.',
  '*.switch': 'Who points applications at the target.',
  '*.webhook': 'Of clusters.yaml; may be left out where exactly one is defined.',
  '*.configMap.kubernetes':
    'An entry under `kubernetes` in clusters.yaml; may be left out where one or none is defined.',
  '*.configMap.namespace': 'Namespace of the object and of the Deployments.',
  '*.configMap.kind': 'Kind of the object that says which cluster is theirs.',
  '*.configMap.name': 'Its name.',
  '*.configMap.key': 'Its key.',
  '*.configMap.values.source': 'What the key holds while they are at the source; its bootstrap addresses by default.',
  '*.configMap.values.target': 'What it holds while they are at the target.',
  '*.configMap.restart': 'Deployments that are restarted to read it again.',
  '*.configMap.rollout': 'How long all of them together may take.',
  'consumers.when':
    '`later` leaves groups on the source until gate `consumers` is approved; they read through the reverse mirror.',
  'gates.*.approvals': 'How many people must approve; 0: nobody is asked. By default 1, and 0 at gate `start`.',
  'gates.*.approvers': 'Who may; empty: anybody. Gate `rollback` takes those of `cutover` where it has none.',
  'gates.*.remindEvery': "How often an open gate is noted in the worker's log.",
  'gates.*.timeout': 'After this an open gate counts as rejected; it never approves. By default it stays open.',
  'gates.*.proof': '`required`: an approval counts only when it is signed.',
  'verify.records': 'How much the audit compares; of a `sample` nothing is called proven.',
  'verify.producersWait': 'How long producers have until a topic without a new record is a finding (TOPIC_SILENT).',
  'rollback.window':
    'How long the way back is kept. Where gate `finalize` asks nobody (approvals 0) it passes then; else people decide.',
  'rollback.reverseMirror':
    'Mirror back what is written to the target; without it there is no way back after the opening.',
  'finalize.unfenceSource': 'Open the source again in the end.',
  'waivers[].code': 'A finding that somebody answers for.',
  'waivers[].by': 'Who.',
  'waivers[].reason': 'Why.',
  'waves[].name': 'Topics and groups that move together, in the order of the list.',
  'waves[].topics.include': 'As above, of the topics of the plan.',
  'waves[].topics.exclude': 'As above.',
  'waves[].groups.include': 'As above.',
  'waves[].groups.exclude': 'As above.',
  notify: 'Webhooks of clusters.yaml that are told of opened gates, steps and alarms.',
  startedBy: 'Who starts it; `start --by` says it otherwise.',
  fourEyes: 'Whoever started it may not approve.',
};

/** Of the JSON Schema of a plan, as much as is walked through. */
export interface PlanKey {
  readonly type?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly anyOf?: readonly PlanKey[];
  /** One of these, told apart by `kind`. */
  readonly oneOf?: readonly PlanKey[];
  readonly const?: string;
  readonly items?: PlanKey;
  readonly properties?: Readonly<Record<string, PlanKey>>;
  readonly required?: readonly string[];
  readonly description?: string;
}

/** The same schema with the words at its keys. */
export function inWords(schema: PlanKey, path = ''): PlanKey {
  const words = wordsFor(path);
  const inner = Object.entries(schema.properties ?? {});
  return {
    ...schema,
    ...(words && { description: words }),
    ...(inner.length > 0 && {
      properties: Object.fromEntries(inner.map(([key, value]) => [key, inWords(value, path ? `${path}.${key}` : key)])),
    }),
    ...(schema.items && { items: inWords(schema.items, `${path}[]`) }),
    ...(schema.oneOf && { oneOf: schema.oneOf.map((variant) => inWords(variant, variantPath(path, variant))) }),
  };
}

/** Whether a key must be there: in every plan, where what it belongs to is there, or never. */
export type Wanted = 'always' | 'within' | 'never';

/** Every key that holds a value, by its path. */
export function planKeys(
  schema: PlanKey,
  path = '',
  wanted: Wanted = 'always',
): [path: string, key: PlanKey, wanted: Wanted][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, key]) => {
    const here = path ? `${path}.${name}` : name;
    const own = !schema.required?.includes(name) ? 'never' : wanted === 'always' ? 'always' : 'within';
    if (key.properties) return planKeys(key, here, own);
    if (key.oneOf) return variantKeys(key.oneOf, here, own);
    if (key.items?.properties) return planKeys(key.items, `${here}[]`, own);
    return [[here, key, own]];
  });
}

/** `kind` once, then what each kind has besides. */
function variantKeys(variants: readonly PlanKey[], path: string, wanted: Wanted): ReturnType<typeof planKeys> {
  const kinds = variants.map(kindOf);
  const words = wordsFor(`${path}.kind`);
  const kind: PlanKey = { type: 'string', enum: kinds, default: kinds[0], ...(words && { description: words }) };
  const own = variants.flatMap((variant) =>
    planKeys(variant, variantPath(path, variant), wanted === 'always' ? 'within' : wanted),
  );
  return [[`${path}.kind`, kind, 'never'], ...own.filter(([at]) => !at.endsWith('>.kind'))];
}

const kindOf = (variant: PlanKey): string => variant.properties?.kind?.const ?? '';
const variantPath = (path: string, variant: PlanKey): string => `${path}<${kindOf(variant)}>`;

function wordsFor(path: string): string | null {
  const everyGate = path.replace(/^gates\.[^.]+\./, 'gates.*.');
  const everySwitch = path.replace(/^(producers|consumers)\./, '*.');
  return planWords[path] ?? planWords[everyGate] ?? planWords[everySwitch] ?? null;
}
