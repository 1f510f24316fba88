/** How numbers are written for people: times, counts, bytes, rates. Always rounded down: 99.99 % is not done. */

/** `800 ms`, `4.2 s`, `2m 03s`, `5h 12m`, `3d 4h`. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return '-';
  if (ms < 1_000) return `${Math.floor(ms)} ms`;
  if (ms < 10_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const two = (value: number) => String(value).padStart(2, '0');
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h ${two(Math.floor((seconds % 3_600) / 60))}m`;
  return `${Math.floor(seconds / 86_400)}d ${Math.floor((seconds % 86_400) / 3_600)}h`;
}

/** `1,204,551`. */
export function count(value: number): string {
  return Math.floor(value).toLocaleString('en-US');
}

/** `45.2k`, `1.1M`: for rates and lags, where the size matters and the last digit does not. */
export function roughly(value: number): string {
  return scaled(value, 1_000, ['', 'k', 'M', 'G', 'T']);
}

/** `22.1 MB`, in powers of 1,000 as disks and networks are sold. */
export function bytes(value: number): string {
  return scaled(value, 1_000, [' B', ' kB', ' MB', ' GB', ' TB', ' PB']);
}

function scaled(value: number, base: number, suffixes: readonly string[]): string {
  let rest = Math.max(0, value);
  let power = 0;
  while (rest >= base && power < suffixes.length - 1) {
    rest /= base;
    power++;
  }
  const digits = power === 0 || rest >= 100 ? 0 : 1;
  return `${(Math.floor(rest * 10 ** digits) / 10 ** digits).toFixed(digits)}${suffixes[power]}`;
}
