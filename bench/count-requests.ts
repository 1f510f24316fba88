/**
 * Loaded before a command (`node --import .../count-requests.ts?to=FILE`): counts the requests that it sends to brokers, by API key,
 * and writes them to FILE when it exits. Those on a mirror's own connections (`Cluster.open`) are not among them.
 */
import { subscribe } from 'node:diagnostics_channel';
import { writeFileSync } from 'node:fs';

const file = new URL(import.meta.url).searchParams.get('to');
const counts: Record<string, number> = {};
// One event a request as the library puts it on the wire.
subscribe('tracing:plt:kafka:connections:api:start', (event) => {
  const { apiKey } = event as { readonly apiKey: number };
  counts[apiKey] = (counts[apiKey] ?? 0) + 1;
});
process.once('exit', () => {
  if (file) writeFileSync(file, JSON.stringify(counts));
});
