/** A wave of a plan with MirrorMaker 2 on real clusters and a real Connect worker. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { parse, stringify } from 'yaml';
import { Connections } from '../../activities/connections.ts';
import { examine } from '../../activities/preflight.ts';
import type { Scope } from '../../activities/types.ts';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { type ClustersFile, parseClusters } from '../../kafka/clusters.ts';
import { storeInventory, type Wave } from '../../migration/wave.ts';
import { type ConnectWorker, startConnect } from '../../stack/connect.ts';
import type { Stack } from '../../stack/stack.ts';
import { uniqueName } from '../support/stack.ts';

export interface ConnectRig {
  readonly worker: ConnectWorker;
  readonly file: ClustersFile;
  readonly connections: Connections;
  /** With `connects` in it. */
  readonly clustersFile: string;
}

/** Name of the Connect cluster in clusters.yaml. */
export const onprem = 'onprem';

/** Ends with the file. */
export async function connectRig(stack: Stack): Promise<ConnectRig> {
  if (!stack.target) throw new Error('needs a stack of our own');
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-connect-'));
  const worker = await startConnect({
    cluster: stack.target,
    user: 'cutover',
    folder,
    groupId: uniqueName('connect'),
  });
  after(async () => {
    await worker[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  const rig = rigOf(stack, worker, folder);
  after(() => rig.connections[Symbol.asyncDispose]());
  return rig;
}

/** @param folder takes a clusters.yaml that knows the Connect cluster */
export function rigOf(stack: Stack, worker: ConnectWorker, folder: string): ConnectRig {
  const clustersFile = join(folder, 'clusters.yaml');
  const connects = { [onprem]: { url: worker.url } };
  const text = stringify({ ...parse(readFileSync(stack.clustersFile, 'utf8')), connects });
  writeFileSync(clustersFile, text, { mode: 0o600 });
  const file = parseClusters(text, clustersFile, stack.env);
  return { worker, file, connections: new Connections(file), clustersFile };
}

/** Examined and stored, as preflight leaves it. */
export async function waveOf(
  { connections }: ConnectRig,
  input: Partial<PlanInput> & Pick<PlanInput, 'name' | 'topics'>,
): Promise<{ readonly scope: Scope; readonly wave: Wave }> {
  const plan = parsePlan({
    source: 'legacy',
    target: 'next',
    replicator: { kind: 'mirrormaker2', connect: onprem },
    ...input,
  });
  const { signal } = new AbortController();
  const examined = await examine(connections, plan, { audit: false, signal });
  const inventory = await storeInventory(await connections.storage(plan), plan.name, examined);
  const scope = { plan, wave: 'all', inventory };
  return { scope, wave: await connections.wave(scope) };
}
