/** `kafka-cutover mirror --end`: puts back what `mirror` in the foreground changed on both clusters; the copies stay. */
import { CutoverError } from '../contract/errors.ts';
import { type Plan, waveOf } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { describeChange } from '../migration/change.ts';
import { release } from '../migration/claims.ts';
import { restoreFinalSettings, standingCopies } from '../migration/final-settings.ts';
import { type JournalEntry, type Purpose, stands, together } from '../migration/journal.ts';
import { movedLeaders } from '../migration/leaders.ts';
import { openingDecided } from '../migration/opening.ts';
import { latestInventory, type Wave } from '../migration/wave.ts';
import { Connections } from './connections.ts';
import type { UndoResult } from './types.ts';

export interface EndResult extends UndoResult {
  /** What was put back, one line each. */
  readonly changes: readonly string[];
}

/** What keeps applications out of the target goes last, when nothing lets them in any more. */
const closing: readonly Purpose[] = ['protection', 'group-protection'];

/**
 * Safe to run twice. The mirror must have ended.
 *
 * @param options.wave needed where the plan has several
 * @param options.removeTarget also deletes the topics that we created, where all their records are ours
 * @throws CutoverError USAGE without a wave where there are several; MIGRATION_NOT_FOUND when nothing is stored; USE_ROLLBACK once opening was decided; ALREADY_RUNNING while a
 *   fence stands, which only a migration sets
 */
export async function endForegroundMirror(
  plan: Plan,
  clusters: ClustersFile,
  { removeTarget, wave: named }: { readonly removeTarget: boolean; readonly wave?: string | undefined },
): Promise<EndResult> {
  const name = waveOf(plan, named);
  await using connections = new Connections(clusters);
  const inventory = await latestInventory(await connections.storage(plan), plan.name);
  if (inventory === null) {
    throw new CutoverError('MIGRATION_NOT_FOUND', {
      what: 'nothing is stored for this plan',
      where: `plan ${plan.name}`,
      next: 'Nothing of it was ever changed, so there is nothing to put back.',
    });
  }
  const wave = await connections.wave({ plan, wave: name, inventory });
  const before = (await wave.journal.entries(wave.wave)).filter(stands);
  await refuseMigration(wave, before);
  const kept: Purpose[] = removeTarget ? [] : ['topic'];
  const reports = [
    await wave.journal.undo(wave.wave, 'all', {
      removeTopics: removeTarget,
      except: [...closing, ...movedLeaders, 'target-settings', ...kept],
    }),
  ];
  const copies = await standingCopies(wave);
  // Topics that were there before us have the settings again that they had.
  const only = ({ change }: JournalEntry) => !(change.kind === 'alter-topic-configs' && copies.has(change.topic));
  reports.push(await wave.journal.undo(wave.wave, ['target-settings'], { only }));
  const settled = await restoreFinalSettings(wave, copies);
  reports.push(await wave.journal.undo(wave.wave, closing));
  // Now that no mirror can move them any more.
  reports.push(await wave.journal.undo(wave.wave, movedLeaders));
  await release(wave.storage, wave.migration, { topics: wave.topicNames, groups: wave.groups });

  const changes = [...(await linesOf(wave, before)), ...settled.map(describeChange)];
  const { undone, notUndone } = together(...reports);
  const left = notUndone.length > 0 ? `, ${notUndone.length} not` : '';
  const summary = `${undone} changes undone${left}; ${copies.size} topics that we created stay, with the settings that they are to keep`;
  return { undone, notUndone, changes, summary };
}

/** What a workflow moved, or is about to move, is for the workflow to undo. */
async function refuseMigration(wave: Wave, standing: readonly JournalEntry[]): Promise<void> {
  const where = `plan ${wave.migration}`;
  const opened = await openingDecided(wave.storage, { ...wave, direction: 'forward' });
  if (opened) {
    const what = `opening ${wave.plan.target} was decided at ${opened.at}`;
    throw new CutoverError('USE_ROLLBACK', { what, where, next: 'Use `kafka-cutover rollback`, or finalize it.' });
  }
  const fence = standing.find(({ purpose }) => purpose === 'fence-source' || purpose === 'group-fence-source');
  if (!fence) return;
  throw new CutoverError('ALREADY_RUNNING', {
    what: 'a migration has fenced the source',
    where,
    found: describeChange(fence.change),
    next: 'Use `kafka-cutover abort`; where no worker is alive, `kafka-cutover unfence` first.',
  });
}

/** What stood before and does not any more, newest first; rules and settings that others rely on stay, and it is said. */
async function linesOf(wave: Wave, before: readonly JournalEntry[]): Promise<string[]> {
  const now = new Map((await wave.journal.entries(wave.wave)).map((entry) => [entry.id, entry]));
  const lines: string[] = [];
  for (const { id, inverse, purpose } of [...before].reverse()) {
    const entry = now.get(id);
    if (entry && stands(entry)) continue;
    const others = await wave.journal.ofOthers(purpose);
    const shared = others.some(({ change }) => change.cluster === inverse.cluster);
    lines.push(`${describeChange(inverse)}${shared ? ' (as far as no other migration relies on it)' : ''}`);
  }
  return lines;
}
