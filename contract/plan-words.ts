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
  'replicator.kind': 'What copies the records; `exact` is our own. What this version does not have is refused.',
  'mirror.maxBytesPerSecond': 'Of all shards together; 0: no limit. `tune` changes it while it runs.',
  'mirror.shards': 'Activities that partitions are spread over. `tune` changes it while it runs.',
  'mirror.abortedRecords':
    'Records of aborted transactions: `keep` needs transaction verification suspended on the brokers that are written to (VERIFICATION_SUSPENDED).',
  'metadata.configs': "Carry the topics' explicit settings.",
  'metadata.acls': 'Carry access rules.',
  'metadata.quotas': 'Carry quotas.',
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
  'verify.records': 'How much the audit compares; `sample` comes with a later version.',
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
    if (key.items?.properties) return planKeys(key.items, `${here}[]`, own);
    return [[here, key, own]];
  });
}

function wordsFor(path: string): string | null {
  const everyGate = path.replace(/^gates\.[^.]+\./, 'gates.*.');
  const everySwitch = path.replace(/^(producers|consumers)\./, '*.');
  return planWords[path] ?? planWords[everyGate] ?? planWords[everySwitch] ?? null;
}
