/** After the opening: what is proven, what a way back would cost, and the record of it all. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError, type Finding } from '../contract/errors.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { aclKey } from '../kafka/acls.ts';
import { listOffsets } from '../kafka/offsets.ts';
import { readBoundary, sidesOf } from '../migration/boundary.ts';
import { storeEvidence } from '../migration/evidence.ts';
import { fenceFacts } from '../migration/fences/facts.ts';
import { leftOver } from '../migration/follow-metadata.ts';
import { groupsName, readPositions } from '../migration/groups.ts';
import { isSampled } from '../migration/needs.ts';
import { newest } from '../migration/newest.ts';
import { openingDecided } from '../migration/opening.ts';
import { readOwners } from '../migration/owners.ts';
import { strangersOn } from '../migration/pairs.ts';
import { readProducerIds } from '../migration/producer-ids.ts';
import { readSample } from '../migration/sample.ts';
import { schemasOnlyOn } from '../migration/schemas.ts';
import { storeReport, type VerifyReport, verifyMove } from '../migration/verify.ts';
import { readInventory } from '../migration/wave.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities } from './types.ts';

const silentLookEveryMs = 1_000;

export function verifyActivities(
  connections: Connections,
): Pick<ControlActivities, 'verify' | 'rollbackCost' | 'writeEvidence'> {
  return {
    async verify({ direction, boundary: name, ...scope }) {
      const wave = await connections.wave(scope);
      const signal = cancellation();
      const stored = await readBoundary(wave.storage, name);
      const positions = await readPositions(wave.storage, groupsName({ ...wave, ...stored }));
      const back = direction === 'forward' ? 'reverse' : 'forward';
      const mirrorBack = await readProducerIds(wave.storage, wave.migration, back);
      const fenced = wave.clusters[sidesOf(direction).from];
      const ownersBack = () => readOwners(wave.storage, wave.migration, back, fenced, wave.partitions);
      const { offsetIdentity, ourProducers } = capabilitiesOf(wave.plan);
      const strangers = ourProducers ? null : offsetIdentity ? [] : await strangersOn(wave, back);
      // What the source has by now counts: it was followed until the fence.
      const structural = await newest(wave);
      const left = await leftOver(wave, structural);
      const approvedAcls = new Set(wave.inventory.structural.acls.map(aclKey));
      const sampled = isSampled(wave.plan) ? await readSample(wave, wave.topicNames) : null;
      const opening = await openingDecided(wave.storage, { ...wave, direction });
      const verifyOnce = () =>
        verifyMove({
          clusters: wave.clusters,
          direction,
          structural,
          approvedAcls,
          leftOver: left,
          boundary: stored.boundary,
          into: stored.into,
          ...(strangers && { strangers }),
          audit: stored.audit,
          positions,
          mirrorBack,
          openedAt: opening?.at ?? null,
          ownersBack,
          sampled,
          plan: wave.plan,
          signal,
        });
      // Producers that were just pointed at the new cluster get their time, before a topic counts as silent.
      const until = Date.now() + wave.plan.verify.producersWait;
      let report = await verifyOnce();
      while (onlySilent(report) && Date.now() < until) {
        await sleep(silentLookEveryMs, undefined, { signal });
        report = await verifyOnce();
      }
      const schemas = await schemasOnlyOn(wave, sidesOf(direction).from);
      report = { ...report, findings: [...report.findings, ...schemas] };
      await storeReport(wave.storage, { ...wave, ...stored }, report);
      const [blocker] = report.findings.filter((found) => found.severity === 'blocker');
      if (blocker) throw new CutoverError(blocker.code, { what: blocker.message, where: blocker.where });
      return { summary: summaryOf(report), findings: report.findings };
    },

    async rollbackCost({ boundary: name, ...scope }) {
      const wave = await connections.wave(scope);
      const { direction, boundary, into } = await readBoundary(wave.storage, name);
      const [live, left] = [sidesOf(direction).into, sidesOf(direction).from];
      const ends = async (side: 'source' | 'target') =>
        listOffsets(wave.clusters[side], wave.partitions, 'highWatermark');
      const [liveEnds, leftEnds] = await Promise.all([ends(live), ends(left)]);
      const beyond = (ends: ReadonlyMap<string, bigint>, from: ReadonlyMap<string, bigint>) =>
        [...from].reduce((sum, [key, end]) => sum + Number((ends.get(key) ?? end) - end), 0);
      const [written, carried] = [beyond(liveEnds, into), beyond(leftEnds, boundary)];
      const schemas = direction === 'forward' ? await schemasOnlyOn(wave, 'target') : [];
      return [
        ...schemas.map(
          ({ where, message }) =>
            `schemas of the ${where}: ${message}; carried back as far as that registry takes them`,
        ),
        `0 records lost: ${written} records written to ${wave.clusters[live].name} since the switch, ${carried} of them carried back already`,
        `writers pause again, for at most ${wave.plan.fence.maxHold / 1000} s`,
        ...fenceFacts(wave.plan, 'reverse', { topics: wave.topicNames, groups: wave.groups }),
        `${wave.groups.length} groups go back to their positions on ${wave.clusters[live].name}`,
      ];
    },

    async writeEvidence({ plan, inventory, ...rest }) {
      const storage = await connections.storage(plan);
      const approved = inventory === null ? null : await readInventory(storage, inventory);
      return storeEvidence(storage, {
        plan,
        inventory,
        digest: approved?.digest ?? null,
        findings: approved?.findings ?? [],
        ...rest,
      });
    },
  };
}

/** Nothing is wrong but that some topic has had no record yet. */
function onlySilent({ findings }: VerifyReport): boolean {
  const silent = (found: Finding) => found.code === 'TOPIC_SILENT';
  return findings.some(silent) && findings.every((found) => silent(found) || found.severity !== 'blocker');
}

function summaryOf(report: VerifyReport): string {
  const silent = report.topics.filter((topic) => topic.traffic === 'silent').length;
  const traffic = silent === 0 ? 'all topics written to' : `${silent} topics silent`;
  const empty = report.withoutRecord > 0 ? ` and ${report.withoutRecord} offsets without a record` : '';
  const compared = report.sampled
    ? 'compared and equal (as a sample: parity is NOT proven)'
    : 'equal up to the boundary';
  return `${report.recordsCompared} records${empty} ${compared}, ${report.groups.checked} positions, ${report.configsCompared} settings, ${report.aclsCompared} access rules checked; ${traffic}`;
}
