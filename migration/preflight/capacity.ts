/** How long copying may take, and whether what it needs is there until then. */
import type { Inventory } from '../inventory.ts';

/** Slower than any mirror that we have measured: how long copying may take is estimated with it; bytes per second. */
const copyRateMin = 20_000_000;

export function expectedCopyMs({ partitions }: Inventory['measured']): number {
  return (partitions.reduce((sum, p) => sum + (p.bytes ?? 0), 0) / copyRateMin) * 1_000;
}
