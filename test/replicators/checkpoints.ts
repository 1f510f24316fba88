/** What MirrorMaker 2 would write into the target's groups by itself: its checkpoints (`Checkpoint` in connect/mirror-client: plain protocol structs). */
import type { Wave } from '../../migration/wave.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import type { Stack } from '../../stack/stack.ts';

/** Offsets on the target by `group/topic/partition`; the last of each counts. */
export async function ownCheckpoints({ target }: Stack, wave: Wave): Promise<Map<string, bigint>> {
  if (!target) throw new Error('needs a stack of our own');
  const topic = `${wave.migration}-${wave.wave}-forward-${wave.plan.source}.checkpoints.internal`;
  const { records } = await readWithJava(target, 'cutover', topic);
  const found = new Map<string, bigint>();
  for (const { key, value } of records) {
    if (key === null || value === null) continue;
    const text = (at: number) => key.subarray(at + 2, at + 2 + key.readInt16BE(at)).toString('utf8');
    const group = text(0);
    const name = text(2 + Buffer.byteLength(group));
    const partition = key.readInt32BE(4 + Buffer.byteLength(group) + Buffer.byteLength(name));
    // Version, offset on the source, offset on the target.
    found.set(`${group}/${name}/${partition}`, value.readBigInt64BE(2 + 8));
  }
  return found;
}
