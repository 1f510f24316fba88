/** How findings name many things. */

/** Names in a message; the rest is in the inventory. */
const listedMax = 10;

export function list(items: readonly string[]): string {
  const shown = items.slice(0, listedMax).join(', ');
  return items.length > listedMax ? `${shown} and ${items.length - listedMax} more` : shown;
}

export function hours(ms: number): string {
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/** `40 s`, `12 min`, `3.5 h`. */
export function duration(ms: number): string {
  if (ms < 120_000) return `${Math.ceil(ms / 1_000)} s`;
  return ms < 7_200_000 ? `${Math.ceil(ms / 60_000)} min` : hours(ms);
}

/** In powers of 1,000, as disks are sold. */
export function megabytes(bytes: number): string {
  return bytes < 10_000_000_000 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
