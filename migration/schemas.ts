/**
 * Schemas, where they live in registries: carried from the source's to the target's under their versions and ids, so that every record that is
 * moved means on the target what it means on the source.
 *
 * Until the target opens, subjects that we carry are in mode IMPORT there: the registry then gives no ids of its own that the source's could give
 * to something else. Whatever the source's registry takes meanwhile is carried too, the last of it within the fence.
 */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import { matcher, type Plan } from '../contract/plan.ts';
import { waveNames } from '../contract/status.ts';
import { type SchemaRegistry, type SchemaVersion, sameSchema } from '../kafka/schema-registry.ts';
import { type Change, type Clusters, type NamedSchema, registryOf, schemaKey } from './change.ts';
import { type JournalEntry, stands } from './journal.ts';
import type { Wave } from './wave.ts';

/** Questions to one registry at a time. */
const questionsAtOnce = 16;
/** Schemas in one entry of the journal. */
const entrySchemasMax = 500;
/** Named in one finding. */
const shownMax = 5;
/** In this mode a registry takes schemas under given ids alone (Confluent's API reference, "Mode"). */
const importMode = 'IMPORT';

export interface Registries {
  readonly source: SchemaRegistry;
  readonly target: SchemaRegistry;
}

/** Null where the plan carries no schemas. @throws CutoverError REGISTRY_UNKNOWN */
export function registriesOf(plan: Pick<Plan, 'schemas'>, clusters: Clusters): Registries | null {
  if (!plan.schemas) return null;
  return { source: registryOf(clusters.source), target: registryOf(clusters.target) };
}

/** How the target's registry differs from the source's, of the subjects that are carried. */
export interface SchemaComparison {
  readonly subjects: readonly string[];
  /** Versions on the source. */
  readonly versions: readonly NamedSchema[];
  /** Of these, what the target lacks, in the order in which it takes them. */
  readonly missing: readonly NamedSchema[];
  /** Levels that the source's registry has and the target's must get, by subject; '' for all. */
  readonly levels: Readonly<Record<string, string>>;
  /** What stands in the way: SCHEMA_ID_TAKEN, SCHEMA_DIFFERS; and SCHEMA_LEVEL_INHERITED. */
  readonly findings: readonly Finding[];
}

/**
 * @param carried whether a subject is; subjects that carried ones refer to are carried too
 * @throws CutoverError REGISTRY_REFUSED, REGISTRY_UNREACHABLE
 */
export async function compareSchemas(
  { source, target }: Registries,
  carried: (subject: string) => boolean,
): Promise<SchemaComparison> {
  if (source.isSame(target)) return { subjects: [], versions: [], missing: [], levels: {}, findings: [] };
  const here = await readSchemas(source, (await source.subjects()).filter(carried), 'withReferences');
  const there = await readSchemas(target, [...here.keys()]);
  const findings: Finding[] = [];
  const missing = new Map<string, SchemaVersion & NamedSchema>();
  for (const [subject, versions] of here) {
    const known = new Map(there.get(subject)?.map((one) => [one.version, one]));
    const where = `${target.where}, subject ${subject}`;
    const wrong: string[] = [];
    for (const wanted of versions) {
      const found = known.get(wanted.version);
      known.delete(wanted.version);
      if (!found) missing.set(schemaKey(wanted), wanted);
      else if (found.id !== wanted.id) wrong.push(`version ${wanted.version} has id ${found.id}, not ${wanted.id}`);
      else if (!sameSchema(found, wanted)) wrong.push(`version ${wanted.version} says something else`);
    }
    for (const version of known.keys()) wrong.push(`version ${version} is not on the source`);
    if (wrong.length > 0) findings.push(finding('SCHEMA_DIFFERS', where, listed(wrong)));
  }
  const taken = await eachOf(
    uniqueBy([...missing.values()], ({ id }) => id),
    async (wanted) => {
      const found = await target.byId(wanted.id);
      return found && !sameSchema(found, wanted) ? wanted : null;
    },
  );
  for (const { subject, version, id } of taken.filter((one) => one !== null)) {
    const message = `it is another schema there than version ${version} of ${subject} here`;
    findings.push(finding('SCHEMA_ID_TAKEN', `${target.where}, id ${id}`, message));
  }
  const levels = await levelsToCarry({ source, target }, [...here.keys()]);
  return {
    subjects: [...here.keys()],
    versions: [...here.values()].flat().map(named),
    missing: inOrder(missing).map(named),
    levels: levels.levels,
    findings: [...findings, ...levels.findings],
  };
}

/** By subject, versions ascending. */
async function readSchemas(
  registry: SchemaRegistry,
  subjects: readonly string[],
  references?: 'withReferences',
): Promise<Map<string, (SchemaVersion & NamedSchema)[]>> {
  const found = new Map<string, (SchemaVersion & NamedSchema)[]>();
  for (let left = [...subjects]; left.length > 0; ) {
    const read = await eachOf(left, async (subject) => {
      const versions = await registry.versionsOf(subject);
      const all = await eachOf(versions, async ({ version, deleted }) => {
        const one = await registry.version(subject, version);
        return one && { ...one, deleted };
      });
      return { subject, all: all.filter((one) => one !== null) };
    });
    for (const { subject, all } of read) found.set(subject, all);
    const referred = references ? read.flatMap(({ all }) => all.flatMap((one) => one.references)) : [];
    left = [...new Set(referred.map(({ subject }) => subject))].filter((subject) => !found.has(subject));
  }
  return found;
}

/** What is referred to comes before what refers to it, older versions before newer ones. */
function inOrder(missing: ReadonlyMap<string, SchemaVersion & NamedSchema>): (SchemaVersion & NamedSchema)[] {
  const ordered = new Map<string, SchemaVersion & NamedSchema>();
  const visit = (one: SchemaVersion & NamedSchema, above: ReadonlySet<string>) => {
    const key = schemaKey(one);
    if (ordered.has(key) || above.has(key)) return;
    for (const reference of one.references) {
      const referred = missing.get(schemaKey(reference));
      if (referred) visit(referred, new Set(above).add(key));
    }
    ordered.set(key, one);
  };
  const ascending = [...missing.values()].sort((a, b) => a.id - b.id || a.version - b.version);
  for (const one of ascending) visit(one, new Set());
  return [...ordered.values()];
}

async function levelsToCarry(
  { source, target }: Registries,
  subjects: readonly string[],
): Promise<{ levels: Record<string, string>; findings: Finding[] }> {
  const levels: Record<string, string> = {};
  const own = await eachOf(subjects, async (subject) => {
    const wanted = await source.level(subject);
    const found = wanted === null ? null : await target.level(subject);
    return { subject, wanted, found };
  });
  for (const { subject, wanted, found } of own) if (wanted !== null && wanted !== found) levels[subject] = wanted;
  const [here, there] = [await source.level(null), await target.level(null)];
  if (here === null || here === there) return { levels, findings: [] };
  const known = new Set(subjects);
  const others = (await target.subjects()).filter((subject) => !known.has(subject));
  if (others.length === 0) return { levels: { ...levels, '': here }, findings: [] };
  const message = `${here} on the source, ${there ?? 'none'} here; it stays, since subjects that are not carried live here: ${listed(others)}`;
  return { levels, findings: [finding('SCHEMA_LEVEL_INHERITED', target.where, message)] };
}

/**
 * Whether a subject belongs to a wave: those named after a topic (`orders-key`, `orders-value`) go with it, all others with the first wave.
 */
export function carriedBy(wave: Pick<Wave, 'plan' | 'wave' | 'whole' | 'topicNames'>): (subject: string) => boolean {
  const { plan, whole } = wave;
  if (!plan.schemas) return () => false;
  const matches = matcher(plan.schemas.subjects);
  const own = new Set(wave.topicNames);
  const moved = new Set(whole.structural.topics.map((topic) => topic.name));
  const isFirst = waveNames(plan)[0] === wave.wave;
  return (subject) => {
    const topic = subject.replace(/-(key|value)$/, '');
    return matches(subject) && (own.has(topic) || (isFirst && !moved.has(topic)));
  };
}

/**
 * Carries what the target lacks: mode IMPORT first, then schemas, then levels; everything journalled.
 *
 * @returns how many versions were missing
 * @throws CutoverError SCHEMA_ID_TAKEN, SCHEMA_DIFFERS, SCHEMA_NOT_WRITTEN, SCHEMA_IMPORT_UNSUPPORTED, REGISTRY_*
 */
export async function carrySchemas(wave: Wave): Promise<number> {
  const registries = registriesOf(wave.plan, wave.clusters);
  if (!registries) return 0;
  const { missing, levels, findings } = await compareSchemas(registries, carriedBy(wave));
  refuseBlocked(findings);
  const modes = Object.fromEntries(missing.map(({ subject }) => [subject, importMode]));
  const make = (change: Change) => wave.journal.make(wave.wave, 'schema', [change]);
  if (missing.length > 0) await make({ kind: 'alter-registry', cluster: 'target', modes, levels: {} });
  for (const versions of entriesOf(missing)) await make({ kind: 'import-schemas', cluster: 'target', versions });
  if (Object.keys(levels).length > 0) await make({ kind: 'alter-registry', cluster: 'target', modes: {}, levels });
  return missing.length;
}

/** Versions that the source's registry has and the target's has not; nothing else is looked at: two questions a subject and side. */
export async function schemasToFollow(wave: Wave): Promise<readonly string[]> {
  const registries = registriesOf(wave.plan, wave.clusters);
  if (!registries || registries.source.isSame(registries.target)) return [];
  return (await versionsOnlyIn(registries.source, registries.target, carriedBy(wave))).map(schemaKey);
}

/**
 * The target's registry as its applications will use it: whatever came last, and the modes that its subjects had before us.
 *
 * @returns how many schemas were carried now
 */
export async function openRegistry(wave: Wave): Promise<number> {
  if (!wave.plan.schemas) return 0;
  const carried = (await schemasToFollow(wave)).length > 0 ? await carrySchemas(wave) : 0;
  const modes: Record<string, string | null> = {};
  for (const { purpose, inverse } of (await wave.journal.entries(wave.wave)).filter(stands)) {
    if (purpose !== 'schema' || inverse.kind !== 'alter-registry') continue;
    // The first entry knows what there was.
    for (const [subject, mode] of Object.entries(inverse.modes)) if (!(subject in modes)) modes[subject] = mode;
  }
  if (Object.keys(modes).length > 0) {
    const change = { kind: 'alter-registry', cluster: 'target', modes, levels: {} } as const;
    await wave.journal.make(wave.wave, 'opening-target', [change]);
  }
  return carried;
}

/**
 * Carries what applications have registered on the target since it opened to the source's registry, under its ids: the mirror of the way back brings
 * records there that name it. A rollback keeps it.
 *
 * @returns how many versions were missing
 * @throws CutoverError as `carrySchemas`, once the others are carried; COMPENSATION_FAILED when a subject of the source stays in mode IMPORT
 */
export async function carrySchemasBack(wave: Wave): Promise<number> {
  const there = registriesOf(wave.plan, wave.clusters);
  if (!there || there.source.isSame(there.target)) return 0;
  const registries = { source: there.target, target: there.source };
  const carried = carriedBy(wave);
  const make = (change: Change) => wave.journal.make(wave.wave, 'schema-back', [change]);
  // Applications may still register there: its modes are as they were whenever nothing is being carried, after a crash too.
  const restoreModes = async () => {
    const isMode = ({ change }: JournalEntry) => change.kind === 'alter-registry';
    const { notUndone } = await wave.journal.undo(wave.wave, ['schema-back'], { only: isMode });
    if (notUndone.length === 0) return;
    const what = 'subjects stay in mode IMPORT';
    throw new CutoverError('COMPENSATION_FAILED', { what, where: there.source.where, found: notUndone.join('; ') });
  };
  await restoreModes();
  if ((await versionsOnlyIn(there.target, there.source, carried)).length === 0) return 0;
  const { missing, findings } = await compareSchemas(registries, carried);
  // One subject that means something else there by now holds up no other.
  const taken = new Set(findings.filter(({ severity }) => severity === 'blocker').map(({ where }) => where));
  const places = ({ subject, id }: NamedSchema) => [`subject ${subject}`, `id ${id}`];
  const free = missing.filter((one) => !places(one).some((place) => taken.has(`${there.source.where}, ${place}`)));
  const modes = Object.fromEntries(free.map(({ subject }) => [subject, importMode]));
  try {
    if (free.length > 0) await make({ kind: 'alter-registry', cluster: 'source', modes, levels: {} });
    for (const versions of entriesOf(free)) await make({ kind: 'import-schemas', cluster: 'source', versions });
  } finally {
    await restoreModes();
  }
  refuseBlocked(findings);
  return free.length;
}

function refuseBlocked(findings: readonly Finding[]): void {
  const [blocker] = findings.filter(({ severity }) => severity === 'blocker');
  if (blocker) throw new CutoverError(blocker.code, { what: blocker.message, where: blocker.where });
}

function entriesOf(missing: readonly NamedSchema[]): NamedSchema[][] {
  const entries = Math.ceil(missing.length / entrySchemasMax);
  return Array.from({ length: entries }, (_, at) => missing.slice(at * entrySchemasMax, (at + 1) * entrySchemasMax));
}

/**
 * What one registry has and the other has not, after the opening: applications register where they write.
 *
 * @param side whose schemas are looked for in the other registry
 */
export async function schemasOnlyOn(wave: Wave, side: 'source' | 'target'): Promise<Finding[]> {
  try {
    const registries = registriesOf(wave.plan, wave.clusters);
    if (!registries || registries.source.isSame(registries.target)) return [];
    const [here, there] = [registries[side], registries[side === 'source' ? 'target' : 'source']];
    const lines = (await versionsOnlyIn(here, there, carriedBy(wave))).map(schemaKey);
    if (lines.length === 0) return [];
    return [finding('SCHEMA_NOT_CARRIED', here.where, `${lines.length} not in the ${there.where}: ${listed(lines)}`)];
  } catch (error) {
    // Nothing else that is looked at depends on it.
    if (!(error instanceof CutoverError)) throw error;
    return [
      finding('SCHEMA_NOT_CARRIED', error.detail.where ?? '', `not compared: ${error.code}: ${error.detail.what}`),
    ];
  }
}

async function versionsOnlyIn(
  here: SchemaRegistry,
  there: SchemaRegistry,
  carried: (subject: string) => boolean,
): Promise<Pick<NamedSchema, 'subject' | 'version'>[]> {
  const lists = await eachOf((await here.subjects()).filter(carried), async (subject) => {
    const [own, others] = await Promise.all([here.versionsOf(subject), there.versionsOf(subject)]);
    const known = new Set(others.map(({ version }) => version));
    return own.filter(({ version }) => !known.has(version)).map(({ version }) => ({ subject, version }));
  });
  return lists.flat();
}

function named({ subject, version, id, deleted }: NamedSchema): NamedSchema {
  return { subject, version, id, deleted };
}

function uniqueBy<Item>(items: readonly Item[], keyOf: (item: Item) => number): Item[] {
  return [...new Map(items.map((item) => [keyOf(item), item])).values()];
}

function listed(lines: readonly string[]): string {
  const more = lines.length > shownMax ? ` and ${lines.length - shownMax} more` : '';
  return `${lines.slice(0, shownMax).join('; ')}${more}`;
}

async function eachOf<Item, Result>(items: readonly Item[], ask: (item: Item) => Promise<Result>): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(questionsAtOnce, items.length) }, async () => {
      for (let at = next++; at < items.length; at = next++) results[at] = await ask(items[at] as Item);
    }),
  );
  return results;
}
