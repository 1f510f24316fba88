/**
 * The journal: every change to a cluster with its exact inverse, stored before the change is made. Rollback and
 * abort replay the inverses, newest first.
 *
 * One artifact per change, `<migration>/journal/<wave>/<id>`; the id follows from wave, purpose and change, so an
 * attempt that is repeated finds what the earlier one recorded and never takes our own doing for the user's.
 */
import { createHash } from 'node:crypto';
import { CutoverError } from '../contract/errors.ts';
import { type Acl, aclKey } from '../kafka/acls.ts';
import { quotaKey } from '../kafka/quotas.ts';
import { sameConfigValue } from '../kafka/topics.ts';
import {
  applyChange,
  type Before,
  type Change,
  type Clusters,
  describeChange,
  inverseOf,
  type NamedSchema,
  schemaKey,
  stateBefore,
} from './change.ts';
import { canonicalJson } from './inventory.ts';
import { whyNotOurs } from './provenance.ts';
import { getAllJson, type Storage, toJson } from './storage.ts';

/** Why a change was made; what is undone together has the same purpose. */
export const purposes = [
  'claim',
  'topic',
  'target-settings',
  'source-settings',
  /** Settings of all brokers while a mirror writes there; shared between migrations. */
  'target-brokers',
  'source-brokers',
  /** Leaders that the mirror which writes there moves, to own what it writes. */
  'target-leaders',
  'source-leaders',
  'acl',
  'quota',
  /** Users that the plan's applications log in as on the target. */
  'scram-user',
  /** Schemas, and what their subjects have on the target; in mode IMPORT until it opens. */
  'schema',
  /** The same on the source, of what came to the target's registry after the opening; in mode IMPORT while it is carried. */
  'schema-back',
  'mirror-access',
  /** DENY WRITE on the target until it opens. */
  'protection',
  /** DENY READ for groups on the target until their handover. */
  'group-protection',
  'fence-source',
  'fence-target',
  'group-fence-source',
  'group-fence-target',
  /** The forward mirror denied on the target, the reverse mirror on the source. */
  'shut-out-forward',
  'shut-out-reverse',
  /** Message settings of the cluster that is about to be opened; undone when the opening does not come about. */
  'opening-target',
  'opening-source',
] as const;
export type Purpose = (typeof purposes)[number];

export interface JournalEntry {
  readonly id: string;
  /** Entries with a higher number are undone first. */
  readonly order: number;
  /** ISO 8601, when it was recorded. */
  readonly at: string;
  readonly wave: string;
  readonly purpose: Purpose;
  readonly change: Change;
  readonly inverse: Change;
  /**
   * `intended`: recorded; made, half made or not made at all. `kept`: the migration has been finalized and the change stays
   * for good; it is still ours, but no later run of the same name undoes it.
   */
  readonly state: 'intended' | 'made' | 'undone' | 'kept';
}

/** Of another migration. */
export interface OthersEntry extends JournalEntry {
  readonly migration: string;
}

/** Whether it is in force and can be undone. */
export function stands(entry: JournalEntry): boolean {
  return entry.state === 'intended' || entry.state === 'made';
}

export interface MakeOptions {
  /** Called right before each change is sent, after it was recorded; throws to stop there. */
  readonly beforeEach?: () => void;
}

export interface UndoOptions {
  readonly except?: readonly Purpose[];
  /** Of the purposes asked for, these entries alone. */
  readonly only?: (entry: JournalEntry) => boolean;
  /** Called right before each inverse is sent; throws to stop there. */
  readonly beforeEach?: () => void;
  /** Delete topics that we created, where all their records are ours. */
  readonly removeTopics?: boolean;
  /** Says why a topic may not be deleted, null when it may; by default every batch must be our mirror's. */
  readonly onlyOurs?: (topic: string) => Promise<string | null>;
}

export interface UndoReport {
  readonly undone: number;
  /** What still stands, one line each, with the reason. */
  readonly notUndone: readonly string[];
  /** What was undone but could not be noted as such: it would be undone again, which is harmless. */
  readonly notNoted: readonly string[];
}

/** What several rounds of undoing came to. */
export function together(...reports: readonly Omit<UndoReport, 'notNoted'>[]): Omit<UndoReport, 'notNoted'> {
  return {
    undone: reports.reduce((sum, { undone }) => sum + undone, 0),
    notUndone: reports.flatMap(({ notUndone }) => notUndone),
  };
}

export interface Journal {
  /**
   * Makes changes one after the other (topics a few at a time), each recorded on both clusters before it is sent.
   * What already holds is left alone and not recorded, unless it holds because of us.
   *
   * @returns how many changes had to be sent
   * @throws CutoverError as `applyChange`, and whatever `beforeEach` throws; what was made stays recorded
   */
  make(wave: string, purpose: Purpose, changes: readonly Change[], options?: MakeOptions): Promise<number>;
  /**
   * Replays inverses, newest first. One that fails never stops the others. Works with one cluster down, for the
   * other cluster.
   */
  undo(wave: string, which: readonly Purpose[] | 'all', options?: UndoOptions): Promise<UndoReport>;
  /** What stands stays, whatever later runs of the same name do: all of it once finalized, or of these purposes. */
  keep(wave: string, which?: readonly Purpose[]): Promise<number>;
  /** In the order they were recorded; of one wave or of all. */
  entries(wave?: string): Promise<JournalEntry[]>;
  /** What stands of other migrations' changes of that purpose; only of those that migrations may share. */
  ofOthers(purpose: Purpose): Promise<OthersEntry[]>;
}

/** Between a migration's name and its entries. */
const journalSegment = '/journal/';
/**
 * Purposes whose changes several migrations may rely on: rules (on a prefix, a transactional id, the cluster), users, schemas, the mirrors' rights,
 * settings of the brokers. What one migration undoes stays for as long as another one relies on it.
 */
const shared: readonly (readonly Purpose[])[] = [
  ['acl'],
  ['scram-user'],
  ['schema'],
  ['mirror-access'],
  ['target-brokers', 'source-brokers'],
];
/** Topics that are created or altered at once. */
const topicsAtOnce = 16;

/**
 * @param beforeSend called right before every change and inverse is sent; throws when the attempt that opened the journal
 *   is no longer the one that may act (it slept for longer than its heartbeat timeout, so another took its place)
 */
export function openJournal(
  storage: Storage,
  clusters: Clusters,
  migration: string,
  beforeSend: () => void = () => {},
): Journal {
  const prefix = `${migration}${journalSegment}`;
  const artifact = (entry: JournalEntry) => ({ name: `${prefix}${entry.wave}/${entry.id}`, bytes: toJson(entry) });
  const entries = async (wave?: string): Promise<JournalEntry[]> => {
    const found = await getAllJson<JournalEntry>(storage, wave === undefined ? prefix : `${prefix}${wave}/`);
    return found.map(({ value }) => value).sort((a, b) => a.order - b.order || (a.at < b.at ? -1 : 1));
  };

  /** What other migrations changed of what migrations may share. The other purposes are about claimed topics and groups. */
  const others = async (purpose: Purpose): Promise<OthersEntry[]> => {
    const together = shared.find((group) => group.includes(purpose));
    if (!together) return [];
    const names = (await storage.list(''))
      .map((name) => name.split(journalSegment))
      .filter((parts) => parts.length > 1);
    const migrations = new Set(names.map(([owner]) => owner as string));
    migrations.delete(migration);
    const found: OthersEntry[] = [];
    for (const owner of migrations) {
      for (const { value } of await getAllJson<JournalEntry>(storage, `${owner}${journalSegment}`)) {
        if (together.includes(value.purpose) && stands(value)) found.push({ ...value, migration: owner });
      }
    }
    return found;
  };

  async function make(
    wave: string,
    purpose: Purpose,
    changes: readonly Change[],
    options: MakeOptions = {},
  ): Promise<number> {
    let sent = 0;
    for (const batch of batches(changes)) {
      const all = await entries();
      const known = new Map(all.map((entry) => [entry.id, entry]));
      const standing = [...all, ...(await others(purpose))].filter(stands);
      let order = all.at(-1)?.order ?? 0;
      const planned = await Promise.all(
        batch.map(async (change) => {
          const id = entryId(wave, purpose, change);
          const earlier = known.get(id);
          // Recorded by an earlier attempt: its inverse is the true one, taken before anything was touched.
          if (earlier && stands(earlier)) return { entry: earlier, fresh: false };
          const needed = stillNeeded(change, withoutOurs(change, await stateBefore(change, clusters), standing));
          const inverse = needed && inverseOf(needed.change, needed.before);
          if (!inverse) return null;
          const at = new Date().toISOString();
          const state = 'intended';
          return {
            entry: { id, order: 0, at, wave, purpose, change: needed.change, inverse, state } as JournalEntry,
            fresh: true,
          };
        }),
      );
      const todo = planned
        .filter((plan) => plan !== null)
        .map(({ entry, fresh }) => ({ fresh, entry: fresh ? { ...entry, order: ++order } : entry }));
      const recorded = todo.filter(({ fresh }) => fresh).map(({ entry }) => artifact(entry));
      if (recorded.length > 0) await storage.putAll(recorded);

      const outcomes = await Promise.allSettled(
        todo.map(async ({ entry }) => {
          options.beforeEach?.();
          beforeSend();
          return { entry, changed: await applyChange(entry.change, clusters) };
        }),
      );
      const made = outcomes.filter((outcome) => outcome.status === 'fulfilled').map((outcome) => outcome.value);
      sent += made.filter(({ changed }) => changed).length;
      const notes = made
        .filter(({ entry }) => entry.state === 'intended')
        .map(({ entry }) => artifact({ ...entry, state: 'made' }));
      // Only a note: what is intended is undone just the same.
      if (notes.length > 0) await storage.putAll(notes, { on: 'any' });
      const failed = outcomes.find((outcome) => outcome.status === 'rejected');
      if (failed) throw failed.reason;
    }
    return sent;
  }

  async function undo(wave: string, which: readonly Purpose[] | 'all', options: UndoOptions = {}): Promise<UndoReport> {
    const all = await entries();
    const standing = new Map(all.filter(stands).map((entry) => [entry.id, entry]));
    const chosen = [...standing.values()]
      .filter((entry) => entry.wave === wave && (which === 'all' || which.includes(entry.purpose)))
      .filter((entry) => !options.except?.includes(entry.purpose))
      .filter((entry) => options.only?.(entry) ?? true)
      .reverse();
    const unreachable = new Map<Change['cluster'], string>();
    const notUndone: string[] = [];
    const notNoted: string[] = [];
    let undone = 0;
    for (const entry of chosen) {
      const line = (why: string) => notUndone.push(`${describeChange(entry.inverse)}: not done: ${why}`);
      const down = unreachable.get(entry.inverse.cluster);
      if (down !== undefined) {
        line(down);
        continue;
      }
      if (entry.inverse.kind === 'delete-topic') {
        const reason = await keepTopic(entry.inverse.topic, options);
        if (reason !== null) {
          line(reason);
          continue;
        }
      }
      standing.delete(entry.id);
      const inverse = withoutShared(entry.inverse, [...standing.values(), ...(await others(entry.purpose))]);
      options.beforeEach?.();
      beforeSend();
      try {
        if (inverse) await applyChange(inverse, clusters);
      } catch (error) {
        const { code, message } = error as CutoverError;
        // A topic that is gone has no settings to put back.
        if (code !== 'TOPIC_MISSING') {
          standing.set(entry.id, entry);
          if (code === 'CLUSTER_UNREACHABLE') unreachable.set(entry.inverse.cluster, message);
          line(message);
          continue;
        }
      }
      undone++;
      try {
        const { name, bytes } = artifact({ ...entry, state: 'undone' });
        await storage.put(name, bytes, { on: 'any' });
      } catch (error) {
        notNoted.push(`${describeChange(entry.inverse)}: done, but not noted: ${(error as Error).message}`);
      }
    }
    return { undone, notUndone, notNoted };
  }

  async function keep(wave: string, which: readonly Purpose[] = purposes): Promise<number> {
    const standing = (await entries(wave)).filter((entry) => stands(entry) && which.includes(entry.purpose));
    if (standing.length > 0) await storage.putAll(standing.map((entry) => artifact({ ...entry, state: 'kept' })));
    return standing.length;
  }

  async function keepTopic(topic: string, options: UndoOptions): Promise<string | null> {
    if (!options.removeTopics) return 'topics stay unless their removal is asked for';
    try {
      return await (options.onlyOurs?.(topic) ?? whyNotOurs(storage, clusters.target, migration, topic));
    } catch (error) {
      return `whose records it holds cannot be told: ${(error as Error).message}`;
    }
  }

  return { make, undo, keep, entries, ofOthers: others };
}

/** Equal for equal changes, whatever the order of their keys. */
export function entryId(wave: string, purpose: Purpose, change: Change): string {
  return createHash('sha256')
    .update(canonicalJson([wave, purpose, change]))
    .digest('hex')
    .slice(0, 24);
}

/** Access rules and quotas one at a time, topics a few at a time. */
function* batches(changes: readonly Change[]): Generator<Change[]> {
  const topicOf = (change: Change) =>
    change.kind === 'create-topic' ? change.topic.name : change.kind === 'alter-topic-configs' ? change.topic : null;
  let batch: Change[] = [];
  for (const change of changes) {
    if (change.kind === 'delete-topic') {
      throw new CutoverError('INTERNAL', { what: 'a topic is only ever deleted by undoing its creation' });
    }
    const topic = topicOf(change);
    const joins = topic !== null && batch[0]?.kind === change.kind && !batch.some((other) => topicOf(other) === topic);
    if (batch.length > 0 && (!joins || batch.length === topicsAtOnce)) {
      yield batch;
      batch = [];
    }
    batch.push(change);
  }
  if (batch.length > 0) yield batch;
}

/**
 * The state before as if we had done nothing: rules that stand because of another entry of ours count as absent, so that
 * the new entry holds them too and they stay until the last one is undone. Without that, a wave that needs a rule
 * which an earlier wave, or another migration, added would lose it when the earlier one is rolled back.
 */
function withoutOurs(change: Change, before: Before, standing: readonly JournalEntry[]): Before {
  if (change.kind === 'alter-broker-configs') {
    const configs = { ...before.configs };
    // The earliest entry knows what the user had.
    for (const { inverse } of [...standing].sort((a, b) => (a.at < b.at ? 1 : -1))) {
      if (inverse.kind !== 'alter-broker-configs' || inverse.cluster !== change.cluster) continue;
      for (const name of Object.keys(configs)) {
        if (name in inverse.set) configs[name] = inverse.set[name] ?? null;
        else if (inverse.unset.includes(name)) configs[name] = null;
      }
    }
    return { ...before, configs };
  }
  if (change.kind === 'create-scram-users') {
    const ours = new Set(standing.flatMap(({ inverse }) => usersDeletedBy(inverse, change.cluster)));
    return { ...before, scramUsers: before.scramUsers?.filter((user) => !ours.has(user)) ?? [] };
  }
  if (change.kind === 'import-schemas') {
    const ours = new Set(standing.flatMap(({ inverse }) => schemasDeletedBy(inverse, change.cluster)).map(schemaKey));
    return { ...before, schemas: before.schemas?.filter((key) => !ours.has(key)) ?? [] };
  }
  if (change.kind !== 'create-acls' || !before.aclKeys) return before;
  const ours = new Set(
    standing
      .filter((entry) => entry.inverse.cluster === change.cluster)
      .flatMap((entry) => (entry.inverse.kind === 'delete-acls' ? entry.inverse.acls.map(aclKey) : [])),
  );
  return { ...before, aclKeys: before.aclKeys.filter((key) => !ours.has(key)) };
}

/** The part of a change that does not hold yet and what it replaces, or null: what holds without us is the user's and stays. */
function stillNeeded(change: Change, before: Before): { change: Change; before: Before } | null {
  switch (change.kind) {
    case 'create-topic':
      return before.topicExisted ? null : { change, before };
    case 'delete-topic':
    case 'restore-replica-orders':
      return null;
    case 'move-leaders':
      return { change, before };
    case 'alter-topic-configs':
    case 'alter-broker-configs': {
      const earlier = before.configs ?? {};
      const set = Object.entries(change.set).filter(([name, value]) => !sameConfigValue(earlier[name] ?? null, value));
      const unset = change.unset.filter((name) => (earlier[name] ?? null) !== null);
      if (set.length + unset.length === 0) return null;
      const names = [...set.map(([name]) => name), ...unset];
      return {
        change: { ...change, set: Object.fromEntries(set), unset },
        before: { configs: Object.fromEntries(names.map((name) => [name, earlier[name] ?? null])) },
      };
    }
    case 'create-acls':
    case 'delete-acls': {
      const present = new Set(before.aclKeys);
      const acls = change.acls.filter((acl) => present.has(aclKey(acl)) === (change.kind === 'delete-acls'));
      return acls.length === 0 ? null : { change: { ...change, acls }, before };
    }
    case 'alter-quotas': {
      const quotas = change.quotas.filter(({ entity, set, unset }) => {
        const earlier = before.quotas?.[quotaKey(entity)] ?? {};
        return (
          Object.keys(set).some((name) => set[name] !== earlier[name]) || unset.some((name) => earlier[name] != null)
        );
      });
      return quotas.length === 0 ? null : { change: { ...change, quotas }, before };
    }
    case 'create-scram-users': {
      const users = change.users.filter(({ user }) => !before.scramUsers?.includes(user));
      return users.length === 0 ? null : { change: { ...change, users }, before };
    }
    case 'delete-scram-users':
    case 'delete-schemas':
      return null;
    case 'import-schemas': {
      const versions = change.versions.filter((one) => !before.schemas?.includes(schemaKey(one)));
      return versions.length === 0 ? null : { change: { ...change, versions }, before };
    }
    case 'alter-registry': {
      const differing = (wanted: Readonly<Record<string, string | null>>, now: typeof wanted = {}) =>
        Object.fromEntries(Object.entries(wanted).filter(([name, value]) => now[name] !== value));
      const modes = differing(change.modes, before.registry?.modes);
      const levels = differing(change.levels, before.registry?.levels);
      if (Object.keys(modes).length + Object.keys(levels).length === 0) return null;
      const earlier = (names: object, now: Readonly<Record<string, string | null>> = {}) =>
        Object.fromEntries(Object.keys(names).map((name) => [name, now[name] ?? null]));
      const registry = {
        modes: earlier(modes, before.registry?.modes),
        levels: earlier(levels, before.registry?.levels),
      };
      return { change: { ...change, modes, levels }, before: { registry } };
    }
  }
}

function schemasDeletedBy(inverse: Change, cluster: Change['cluster']): readonly NamedSchema[] {
  return inverse.kind === 'delete-schemas' && inverse.cluster === cluster ? inverse.versions : [];
}

function usersDeletedBy(inverse: Change, cluster: Change['cluster']): string[] {
  if (inverse.kind !== 'delete-scram-users' || inverse.cluster !== cluster) return [];
  return inverse.users.map(({ user }) => user);
}

/** What of an inverse may be done while other entries still rely on some of the rules or settings; null when nothing is left. */
function withoutShared(inverse: Change, others: Iterable<JournalEntry>): Change | null {
  if (inverse.kind === 'alter-broker-configs') {
    const held = new Set<string>();
    for (const { change } of others) {
      if (change.kind !== 'alter-broker-configs' || change.cluster !== inverse.cluster) continue;
      for (const name of [...Object.keys(change.set), ...change.unset]) held.add(name);
    }
    const set = Object.fromEntries(Object.entries(inverse.set).filter(([name]) => !held.has(name)));
    const unset = inverse.unset.filter((name) => !held.has(name));
    return Object.keys(set).length + unset.length === 0 ? null : { ...inverse, set, unset };
  }
  if (inverse.kind === 'delete-scram-users') {
    const held = new Set([...others].flatMap((other) => usersDeletedBy(other.inverse, inverse.cluster)));
    const users = inverse.users.filter(({ user }) => !held.has(user));
    return users.length === 0 ? null : { ...inverse, users };
  }
  if (inverse.kind === 'delete-schemas') {
    const held = new Set(
      [...others].flatMap((other) => schemasDeletedBy(other.inverse, inverse.cluster)).map(schemaKey),
    );
    const versions = inverse.versions.filter((one) => !held.has(schemaKey(one)));
    return versions.length === 0 ? null : { ...inverse, versions };
  }
  if (inverse.kind !== 'delete-acls') return inverse;
  const held = new Set<string>();
  for (const other of others) {
    if (other.inverse.kind === 'delete-acls' && other.inverse.cluster === inverse.cluster) {
      for (const acl of other.inverse.acls) held.add(aclKey(acl));
    }
  }
  const acls: Acl[] = inverse.acls.filter((acl) => !held.has(aclKey(acl)));
  return acls.length === 0 ? null : { ...inverse, acls };
}
