/** A report's document of any size, as a migration of so many partitions leaves it. */
import { createHash } from 'node:crypto';
import type { ReportDocument } from '../client/report/document.ts';
import { finding } from '../contract/errors.ts';
import { parsePlan } from '../contract/plan.ts';
import type { Phase, Step, StepRecord } from '../contract/status.ts';
import type { Evidence } from '../migration/evidence.ts';
import type { Inventory } from '../migration/inventory.ts';

const partitionsEach = 10;
const groupsMax = 200;
const recordsEach = 1_000_000;
const began = Date.parse('2026-01-02T00:00:00.000Z');
const iso = (ms: number) => new Date(began + ms).toISOString();
const hash = (text: string) => createHash('sha256').update(text).digest('hex');

export function largeReport(partitions: number): ReportDocument {
  const name = 'large';
  const topics = Array.from(
    { length: Math.ceil(partitions / partitionsEach) },
    (_, i) => `team-${i % 40}.orders.v${i}`,
  );
  const places = topics.flatMap((topic, index) =>
    Array.from({ length: Math.min(partitionsEach, partitions - index * partitionsEach) }, (_, partition) => ({
      topic,
      partition,
    })),
  );
  const end = (index: number) => String(recordsEach + index);
  const fence = `all/${began + 3_660_000}-forward`;
  const groups = Array.from({ length: groupsMax }, (_, i) => `app-${i}`);
  const positions = places.map(({ topic, partition }, index) => ({
    group: `app-${Math.floor(index / partitionsEach) % groupsMax}`,
    topic,
    partition,
    committed: end(index),
    written: end(index),
    class: 'exact',
    replays: 0,
  }));
  const configs = { 'cleanup.policy': 'delete', 'retention.ms': '604800000', 'min.insync.replicas': '2' };
  const evidence: Evidence = {
    version: 1,
    writtenAt: iso(7_200_000),
    plan: parsePlan({ name, source: 'legacy', target: 'next', topics: { include: ['team-.*'] } }),
    digest: hash(name),
    outcome: 'completed',
    waves: [{ wave: 'all', outcome: 'completed', sourceOfTruth: 'target', since: iso(3_602_000), proof: 'closed' }],
    steps: stepsOf(),
    decisions: [`${iso(3_599_000)} approved cutover, 1 of 1, by ana (claimed, update)`],
    gates: [],
    findings: [],
    clusters: { sourceId: 'source-id', targetId: 'target-id' },
    inventory: {
      name: `${name}/inventory/1`,
      content: {
        structural: {
          sourceClusterId: 'source-id',
          targetClusterId: 'target-id',
          topics: topics.map((topic) => ({
            name: topic,
            topicId: hash(topic).slice(0, 22),
            partitions: partitionsEach,
            replicationFactor: 3,
            configs,
          })),
          groups: groups.map((group) => ({ group, type: 'classic' as const })),
          acls: [],
          quotas: [],
        },
        measured: { partitions: [], groups: [] } as unknown as Inventory['measured'],
      },
      findings: topics
        .slice(0, 300)
        .map((topic) => finding('TOPIC_COMPACTED', `topic ${topic}`, 'cleanup.policy is compact')),
    },
    boundaries: {
      [`${name}/boundary/${fence}`]: {
        direction: 'forward',
        deadlineMs: began + 3_660_000,
        at: iso(3_600_900),
        boundary: Object.fromEntries(
          places.map(({ topic, partition }, index) => [`${topic}/${partition}`, end(index)]),
        ),
        audit: places.map(({ topic, partition }, index) => ({
          topic,
          partition,
          start: '0',
          position: end(index),
          records: recordsEach + index,
          digest: `0:${hash(topic)}:${hash(`${topic}/${partition}`)}`,
          differences: 0,
          first: null,
        })),
        tookMs: { settle: 20, copy: 50, audit: 300 },
      },
    },
    groups: {
      [`${name}/groups/${fence}`]: {
        at: iso(3_601_300),
        positions,
        groups: groups.map((group) => ({
          group,
          exact: positions.filter((position) => position.group === group).length,
          replays: 0,
          untranslatable: 0,
          replayedRecords: 0,
          skipped: null,
        })),
      },
    },
    verifications: {
      [`${name}/verify/${fence}`]: {
        at: iso(3_610_000),
        direction: 'forward',
        parityProven: true,
        recordsCompared: 1,
        withoutRecord: 0,
        topics: topics.map((topic) => ({
          topic,
          partitions: partitionsEach,
          records: 1,
          traffic: 'seen',
          newRecords: 100,
          carriedBack: 100,
          replicationFactor: 3,
          settings: configs,
        })),
        firstRecordAt: iso(3_602_400),
        groups: { checked: positions.length, asWritten: positions.length, movedOn: 0 },
        configsCompared: topics.length * 3,
        aclsCompared: 0,
        quotasCompared: 0,
        findings: [],
      },
    },
    openings: { [`${name}/opening/all/forward`]: { deadlineMs: began + 3_660_000, at: iso(3_601_800) } },
    lag: [
      {
        kind: 'mirror',
        wave: 'all',
        direction: 'forward',
        shard: 0,
        shards: 1,
        samples: Array.from({ length: 240 }, (_, i) => [began + i * 15_000, i * 4_000_000, 960_000_000] as const),
      },
    ],
    journal: topics.map((topic, index) => ({
      at: iso(1_000 + index),
      wave: 'all',
      purpose: 'topic',
      state: 'kept',
      change: `target: create topic ${topic} (${partitionsEach} partitions)`,
      inverse: `target: delete topic ${topic}`,
    })),
    standing: [],
  };
  return {
    name,
    at: iso(7_300_000),
    outcome: 'completed',
    pointer: null,
    evidence,
    evidenceSha256: hash('evidence'),
    status: null,
    notes: [],
  };
}

function stepsOf(): StepRecord[] {
  const record = (
    step: Step,
    from: number,
    until: number,
    phases: readonly (readonly [Phase, number])[] = [],
  ): StepRecord => ({
    step,
    wave: 'all',
    direction: 'forward',
    startedAt: iso(from),
    endedAt: iso(until),
    summary: `${step} done`,
    phases: phases.map(([name, at]) => ({ name, endedAt: iso(at) })),
  });
  return [
    record('preflight', 0, 60_000),
    record('prepare-target', 60_000, 120_000),
    record('mirror', 120_000, 3_600_900),
    record('fence', 3_600_000, 3_600_900, [
      ['close', 3_600_100],
      ['prove', 3_600_450],
      ['transactions', 3_600_500],
      ['drain', 3_600_900],
    ]),
    record('sync-offsets', 3_600_900, 3_601_300, [['positions', 3_601_300]]),
    record('switch-producers', 3_601_300, 3_602_100, [
      ['shut-out', 3_601_400],
      ['settings', 3_601_700],
      ['decision', 3_601_800],
      ['open-writes', 3_602_000],
    ]),
    record('verify', 3_602_100, 3_610_000),
  ];
}
