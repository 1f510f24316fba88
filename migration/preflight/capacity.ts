/** How long copying may take, and whether what it needs is there until then. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import type { Inventory } from '../inventory.ts';
import type { Facts } from './facts.ts';
import { replicasOf } from './markers.ts';
import { duration, hours, list, megabytes } from './wording.ts';

/** Slower than any mirror that we have measured: what copying may take at most is judged with it; bytes per second. */
const copyRateMin = 20_000_000;
/** Of the time for which the source keeps a record; what copying may take before records are deleted under the mirror. */
const retentionShare = 0.5;

/** Cautious: as slow as any mirror was, and as the plan and the source allow. */
export function expectedCopyMs({ partitions }: Inventory['measured'], plan: Plan, facts: Facts): number {
  const rate = Math.min(copyRateMin, ...ratesKnown(plan, facts));
  return (bytesOf(partitions) / rate) * 1_000;
}

export function aboutCapacity(inventory: Inventory, plan: Plan, facts: Facts): Finding[] {
  if (facts.measurements === null || inventory.structural.topics.length === 0) return [];
  return [
    ...aboutDuration(inventory, plan, facts),
    ...aboutRetention(inventory, plan, facts),
    ...aboutDisks(inventory, facts),
  ];
}

function aboutDuration({ measured }: Inventory, plan: Plan, facts: Facts): Finding[] {
  const speed = facts.measurements?.readSpeed ?? null;
  const limit = plan.mirror.maxBytesPerSecond;
  const told = measured.partitions.some((p) => p.bytes !== null);
  const size = told ? megabytes(bytesOf(measured.partitions)) : 'an unknown size (DESCRIBE on the cluster would tell)';
  const rates = ratesKnown(plan, facts);
  const rate = Math.min(...rates, ...(rates.length === 0 ? [copyRateMin] : []));
  const by =
    speed !== null && rate !== limit
      ? `as fast as the source was read for ${(speed.ms / 1_000).toFixed(1)} s; what the target takes was not tried`
      : rate === limit
        ? 'the limit of mirror.maxBytesPerSecond'
        : 'assumed: there is too little to measure';
  const time = told
    ? `: about ${duration((bytesOf(measured.partitions) / rate) * 1_000)} at ${megabytes(rate)}/s (${by})`
    : '';
  return [finding('COPY_ESTIMATE', 'source', `${size} to copy${time}`)];
}

/** Topics whose records the source deletes sooner than a cautious copy would have read them. */
function aboutRetention({ structural, measured }: Inventory, plan: Plan, facts: Facts): Finding[] {
  const copyMs = expectedCopyMs(measured, plan, facts);
  const partitionsOf = Map.groupBy(measured.partitions, (p) => p.topic);
  const lookedMs = Math.max(1, facts.nowMs - Date.parse(measured.takenAt));
  return structural.topics.flatMap(({ name }) => {
    const settings = facts.inForce[name] ?? {};
    if (!(settings['cleanup.policy'] ?? 'delete').includes('delete')) return [];
    const partitions = partitionsOf.get(name) ?? [];
    const offsets = partitions.reduce((sum, p) => sum + Number(BigInt(p.end) - BigInt(p.start)), 0);
    if (offsets === 0) return [];
    const found: Finding[] = [];
    const judge = (keptMs: number, why: string) => {
      if (keptMs < 0 || copyMs <= keptMs * retentionShare) return;
      const message = `copying may take ${hours(copyMs)}, the source keeps its records for ${hours(keptMs)} (${why})`;
      found.push(finding('RETENTION_OUTRUNS_COPY', `topic ${name}`, message));
    };
    const retentionMs = Number(settings['retention.ms'] ?? -1);
    judge(retentionMs, `retention.ms ${retentionMs}`);
    const retentionBytes = Number(settings['retention.bytes'] ?? -1);
    const arrived = facts.measurements?.arrived[name] ?? 0;
    if (retentionBytes >= 0 && arrived > 0) {
      const bytesPerMs = (arrived * (bytesOf(partitions) / offsets)) / lookedMs;
      judge((retentionBytes * partitions.length) / bytesPerMs, `retention.bytes ${retentionBytes} at the rate of now`);
    }
    return found.slice(0, 1);
  });
}

function aboutDisks(inventory: Inventory, facts: Facts): Finding[] {
  const { targetDisks, targetBytes } = facts.measurements ?? { targetDisks: [], targetBytes: 0 };
  const brokers = inventory.measured.target.brokers;
  const replicas = new Map(inventory.structural.topics.map(({ name }) => [name, replicasOf(name, inventory, facts)]));
  const all = inventory.measured.partitions.reduce((sum, p) => sum + (p.bytes ?? 0) * (replicas.get(p.topic) ?? 1), 0);
  const need = Math.max(0, all - targetBytes);
  const unknown = brokers - targetDisks.length;
  if (unknown > 0) {
    const message = `${unknown} of ${brokers} brokers do not tell; ${megabytes(need)} are needed in all`;
    return [finding('TARGET_DISK_UNKNOWN', 'target', message)];
  }
  const free = targetDisks.reduce((sum, disk) => sum + disk.usableBytes, 0);
  const share = need / brokers;
  const short = targetDisks.filter((disk) => disk.usableBytes < share);
  if (need <= free && short.length === 0) return [];
  const each = short.map((disk) => `broker ${disk.broker} has ${megabytes(disk.usableBytes)} free`);
  const message = `${megabytes(need)} are needed with all replicas, ${megabytes(share)} a broker: ${list(each)}`;
  return [finding('TARGET_DISK_SHORT', 'target', message)];
}

/** Bytes a second that neither the plan nor the source lets a mirror go beyond. */
function ratesKnown(plan: Plan, { measurements }: Facts): number[] {
  const speed = measurements?.readSpeed ?? null;
  return [
    ...(plan.mirror.maxBytesPerSecond > 0 ? [plan.mirror.maxBytesPerSecond] : []),
    ...(speed === null ? [] : [(speed.bytes / speed.ms) * 1_000]),
  ];
}

function bytesOf(partitions: Inventory['measured']['partitions']): number {
  return partitions.reduce((sum, p) => sum + (p.bytes ?? 0), 0);
}
