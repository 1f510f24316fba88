/** Schemas: which go along, what stands in their way, and ids in records that the target's registry would not know. */
import { CutoverError, type Finding, finding } from '../../contract/errors.ts';
import { matcher, type Plan } from '../../contract/plan.ts';
import { type SchemaRegistry, sameSchema } from '../../kafka/schema-registry.ts';
import { type Clusters, type NamedSchema, registryOf } from '../change.ts';
import type { Inventory } from '../inventory.ts';
import { compareSchemas, type Registries, registriesOf } from '../schemas.ts';
import type { Facts } from './facts.ts';
import { list } from './wording.ts';

/** Topics that registries keep their schemas in, as they are called unless somebody names them otherwise: Confluent's, Karapace's and Redpanda's; Apicurio's. */
const schemasTopics: ReadonlySet<string> = new Set(['_schemas', 'kafkasql-journal']);

/** Asks both registries. What they refuse is a finding. */
export async function aboutSchemas(
  inventory: Inventory,
  plan: Plan,
  facts: Pick<Facts, 'schemaIds'>,
  clusters: Clusters,
): Promise<Finding[]> {
  const moved = inventory.structural.topics.map(({ name }) => name).filter((name) => schemasTopics.has(name));
  const found = moved.map((name) =>
    finding(
      'SCHEMAS_TOPIC_MOVED',
      `topic ${name}`,
      'its exact copy keeps every id; a registry that starts on it writes to it',
    ),
  );
  try {
    const registries = registriesOf(plan, clusters);
    const carried = registries ? await aboutCarried(registries, plan) : { found: [], versions: [] };
    // Where the schemas come with their topic, the target's registry is still to read them.
    const ids = moved.length > 0 ? [] : await aboutIds(clusters, carried.versions, facts.schemaIds ?? {});
    return [...found, ...carried.found, ...ids];
  } catch (error) {
    if (!(error instanceof CutoverError)) throw error;
    const { what, where = '', found: said } = error.detail;
    return [...found, finding(error.code, where, said ? `${what}: ${said}` : what)];
  }
}

async function aboutCarried(
  registries: Registries,
  plan: Plan,
): Promise<{ found: Finding[]; versions: readonly NamedSchema[] }> {
  const { source, target } = registries;
  // Where one serves both there is nothing to compare: that it is a registry, and lets us ask, is to be seen all the same.
  if (source.isSame(target)) await source.subjects();
  else if ((await target.mode(null)) === null) {
    await target.subjects();
    const message = 'it knows no modes, so it cannot be told to take ids';
    return { found: [finding('SCHEMA_IMPORT_UNSUPPORTED', target.where, message)], versions: [] };
  }
  const matches = matcher(plan.schemas?.subjects ?? { include: [], exclude: [] });
  const { subjects, versions, missing, findings } = await compareSchemas(registries, matches);
  const back: Finding[] = [];
  if (plan.rollback.reverseMirror && !source.isSame(target) && (await source.mode(null)) === null) {
    const lost = 'it knows no modes, so what applications register on the target cannot be carried back';
    back.push(finding('SCHEMA_NOT_CARRIED', source.where, lost));
  }
  const along = subjects.filter((subject) => !matches(subject));
  const referred = along.length > 0 ? `, ${list(along)} among them because others refer to them` : '';
  const message = source.isSame(target)
    ? 'both clusters have the same registry: nothing is to be carried'
    : `${versions.length} versions of ${subjects.length} subjects${referred}; ${versions.length - missing.length} are there already`;
  return { found: [finding('SCHEMAS_CARRIED', target.where, message), ...back, ...findings], versions };
}

/** Ids that sampled records name. What the source's registry does not know is none: records may begin like that by chance. */
async function aboutIds(
  clusters: Clusters,
  carried: readonly NamedSchema[],
  byTopic: Readonly<Record<string, readonly number[]>>,
): Promise<Finding[]> {
  if (!clusters.source.config.registry || !clusters.target.config.registry) return [];
  const [source, target] = [registryOf(clusters.source), registryOf(clusters.target)];
  if (source.isSame(target)) return [];
  const comes = new Set(carried.map(({ id }) => id));
  const topics = new Map<number, string[]>();
  for (const [topic, ids] of Object.entries(byTopic)) {
    for (const id of ids) if (!comes.has(id)) topics.set(id, [...(topics.get(id) ?? []), topic]);
  }
  if (topics.size === 0) return [];
  // A 404 of something else must not be taken for an id that is not known.
  await Promise.all([source.subjects(), target.subjects()]);
  const found: Finding[] = [];
  for (const [id, names] of [...topics].sort(([a], [b]) => a - b)) {
    const trouble = await whatIsWrong(source, target, id);
    if (trouble) found.push(finding(trouble, `${target.where}, id ${id}`, `records of ${list(names)} name it`));
  }
  return found;
}

async function whatIsWrong(source: SchemaRegistry, target: SchemaRegistry, id: number) {
  const here = await source.byId(id);
  if (here === null) return null;
  const there = await target.byId(id);
  if (there === null) return 'SCHEMA_ID_MISSING';
  return sameSchema(here, there) ? null : 'SCHEMA_ID_TAKEN';
}
