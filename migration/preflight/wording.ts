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
