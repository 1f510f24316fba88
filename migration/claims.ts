/**
 * One migration per topic and group. Who owns what stands in storage (`claims/...`), for people and preflight; that two
 * migrations which start at the same moment cannot both own it, a transactional id's epoch decides.
 *
 * Claiming: read the owner, raise the epoch (InitProducerId) on both clusters, read the owner again, write ourselves
 * as tentative, check that the epochs are still ours, write ourselves as held. If two do this at once, the one that
 * raises an epoch second either reads the first one's record after it, or the first one's check finds the epoch
 * raised. So both may fail, and then try again, but never both succeed.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import { overtakenTerms, raiseTerms, type Term } from '../kafka/terms.ts';
import { transactionsAreTold } from '../kafka/transactions.ts';
import type { Clusters } from './change.ts';
import { getAllJson, type Storage, toJson } from './storage.ts';

export interface Claimed {
  readonly topics: readonly string[];
  readonly groups: readonly string[];
}

export interface Owner {
  readonly kind: 'topic' | 'group';
  readonly name: string;
  readonly migration: string;
  /** ISO 8601. */
  readonly at: string;
}

interface ClaimRecord {
  readonly migration: string;
  readonly at: string;
  readonly state: 'tentative' | 'held' | 'released';
  readonly source: Epoch;
  readonly target: Epoch;
}

interface Epoch {
  readonly producerId: string;
  readonly epoch: number;
}

interface Item {
  readonly kind: 'topic' | 'group';
  readonly name: string;
  readonly artifact: string;
  readonly transactionalId: string;
}

/** Tries when another claim interferes, each after a short random pause. */
const attemptsMax = 5;
const pauseMaxMs = 300;

/**
 * Makes the migration the owner of its topics and groups on both clusters. What it owns already stays as it is.
 *
 * @throws CutoverError CLAIMED_BY_OTHER naming the owner, CLUSTER_ACCESS_DENIED (needs WRITE and DESCRIBE on
 *   transactional ids that begin with `kafka-cutover-claim-`), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function claim(clusters: Clusters, storage: Storage, migration: string, wanted: Claimed): Promise<void> {
  const items = itemsOf(wanted);
  for (let attempt = 1; ; attempt++) {
    const open = await unclaimed(storage, migration, items);
    if (open.length === 0) return;
    const ids = open.map((item) => item.transactionalId);
    const [source, target] = await Promise.all([raiseTerms(clusters.source, ids), raiseTerms(clusters.target, ids)]);
    const still = await unclaimed(storage, migration, open);
    const record = (item: Item, state: ClaimRecord['state']) => ({
      name: item.artifact,
      bytes: toJson({
        migration,
        at: new Date().toISOString(),
        state,
        source: toEpoch(source.get(item.transactionalId)),
        target: toEpoch(target.get(item.transactionalId)),
      } satisfies ClaimRecord),
    });
    await storage.putAll(still.map((item) => record(item, 'tentative')));
    const [lostOnSource, lostOnTarget] = await Promise.all([
      // Where terms cannot be read the target's decide. Two that claim for different targets at the same moment both hold it then.
      (await transactionsAreTold(clusters.source)) ? overtakenTerms(clusters.source, source) : new Set<string>(),
      overtakenTerms(clusters.target, target),
    ]);
    const lost = (item: Item) => lostOnSource.has(item.transactionalId) || lostOnTarget.has(item.transactionalId);
    await storage.putAll(still.map((item) => record(item, lost(item) ? 'released' : 'held')));
    const first = still.find(lost);
    if (first && attempt === attemptsMax) {
      throw new CutoverError('CLAIMED_BY_OTHER', {
        what: `another migration claims the same ${first.kind} at this moment`,
        where: `${first.kind} ${first.name}`,
        next: 'Wait until that migration shows in `kafka-cutover status`, then finish or abort it.',
      });
    }
    if (first) await sleep(randomInt(pauseMaxMs));
  }
}

/** Gives up what the migration owns; what others own is left alone. */
export async function release(storage: Storage, migration: string, owned: Claimed): Promise<void> {
  const released: { name: string; bytes: Buffer }[] = [];
  const records = await allClaims(storage);
  for (const item of itemsOf(owned)) {
    const record = records.get(item.artifact);
    if (record?.migration !== migration || record.state === 'released') continue;
    released.push({ name: item.artifact, bytes: toJson({ ...record, state: 'released' } satisfies ClaimRecord) });
  }
  if (released.length > 0) await storage.putAll(released, { on: 'any' });
}

/** Who owns which of these; what nobody owns is left out. For preflight: changes nothing. */
export async function ownersOf(storage: Storage, wanted: Claimed): Promise<Owner[]> {
  const owners: Owner[] = [];
  const records = await allClaims(storage);
  for (const { kind, name, artifact } of itemsOf(wanted)) {
    const record = records.get(artifact);
    if (record && record.state !== 'released') owners.push({ kind, name, migration: record.migration, at: record.at });
  }
  return owners;
}

/** By artifact; all in one read, which costs as much as one of them. */
async function allClaims(storage: Storage): Promise<ReadonlyMap<string, ClaimRecord>> {
  return new Map((await getAllJson<ClaimRecord>(storage, 'claims/')).map(({ name, value }) => [name, value]));
}

/**
 * Items that we do not hold yet.
 *
 * @throws CutoverError CLAIMED_BY_OTHER
 */
async function unclaimed(storage: Storage, migration: string, items: readonly Item[]): Promise<Item[]> {
  const open: Item[] = [];
  const others: { readonly item: Item; readonly record: ClaimRecord }[] = [];
  const records = await allClaims(storage);
  for (const item of items) {
    const record = records.get(item.artifact);
    if (record && record.state !== 'released' && record.migration !== migration) others.push({ item, record });
    else if (record?.state !== 'held') open.push(item);
  }
  const first = others[0];
  if (!first) return open;
  const { item, record } = first;
  const names = others.slice(0, 5).map((other) => `${other.item.kind} ${other.item.name}`);
  throw new CutoverError('CLAIMED_BY_OTHER', {
    what: `owned by migration ${record.migration}`,
    where: `${names.join(', ')}${others.length > 5 ? ` and ${others.length - 5} more` : ''}`,
    found: `migration ${record.migration}, since ${record.at}`,
    wanted: `nobody, or migration ${migration}`,
    next: `Finish or abort migration ${record.migration} first (\`kafka-cutover status ${record.migration}\`), then claim ${item.kind} ${item.name} again.`,
  });
}

/** Raises the epoch of each item's transactional id; whoever raised it before is no longer the newest. */
function toEpoch(term: Term | undefined): Epoch {
  return { producerId: String(term?.producerId ?? -1n), epoch: term?.epoch ?? -1 };
}

function itemsOf({ topics, groups }: Claimed): Item[] {
  return [
    ...topics.map(
      (name): Item => ({
        kind: 'topic',
        name,
        artifact: `claims/topic/${name}`,
        transactionalId: `kafka-cutover-claim-${name}`,
      }),
    ),
    ...groups.map(
      (name): Item => ({
        kind: 'group',
        name,
        artifact: `claims/group/${encodeURIComponent(name)}`,
        // No topic name holds a colon, so no topic has this id.
        transactionalId: `kafka-cutover-claim-group:${name}`,
      }),
    ),
  ];
}
