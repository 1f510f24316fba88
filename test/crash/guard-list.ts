/** The checks that a migration stands on, what would be left out to be without each, and what must be seen then. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createAcls, deleteAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets } from '../../kafka/groups.ts';
import { dropConnection } from '../../kafka/wire.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import type { Hands, Path } from './cell.ts';
import { laneUsers } from './lane.ts';
import type { Fault } from './points.ts';
import { connectTo, writeNumbered } from './writers.ts';

export interface Edit {
  readonly file: string;
  readonly text: string;
  readonly instead?: string;
}

export interface Guard {
  /** What it sees to. */
  readonly name: string;
  /** Lines of the product, which stand once in their file, and what stands there instead. */
  readonly leftOut: readonly Edit[];
  /** What is broken in the product for it to be needed, with it and without. */
  readonly spoilt?: readonly Edit[];
  readonly path: Path;
  readonly strike?: Pick<Fault, 'point' | 'leg' | 'kind'> & { readonly lastsMs?: number };
  readonly meddle?: (hands: Hands) => Promise<void>;
  readonly restMs?: number;
  /** How the product as it is comes through: by itself, or after it has said one of these codes. */
  readonly says?: readonly string[];
  /** Without it: in what is wrong, or in how it ended and what it waited for. */
  readonly seen: RegExp;
}

/** @throws Error when the text does not stand there exactly once: the list has to follow the product */
export function partsAround(tree: string, { file, text }: Edit): readonly string[] {
  const parts = readFileSync(join(tree, file), 'utf8').split(text);
  if (parts.length !== 2) throw new Error(`${file} holds ${parts.length - 1} times, wanted once: ${text}`);
  return parts;
}

const run = promisify(execFile);
const noticeTimeoutMs = 60_000;
const [writer, newWriter, reader] = ['app-writer-1', 'app-writer-2', 'app-reader-1'] as const;

/** One record more, as some program would write it that nobody has told anything. */
async function write(hands: Hands, cluster: 'legacy' | 'next', user: string, producer: string): Promise<void> {
  const connection = await connectTo(hands.lane.login(cluster, user));
  await writeNumbered(connection, { topic: hands.topic, partition: 0, producer, sequence: 0 });
  dropConnection(connection);
}

export const guards: readonly Guard[] = [
  {
    name: 'a change is in the journal before it is made',
    leftOut: [
      {
        file: 'migration/journal.ts',
        text: '      if (recorded.length > 0) await storage.putAll(recorded);\n',
      },
    ],
    path: 'abort',
    strike: { point: 'closeWrites forward create-acls@legacy sent', leg: 'cutover', kind: 'kill' },
    seen: /applications to write to legacy/,
  },
  {
    name: 'applications are kept out of the target until it opens',
    leftOut: [
      {
        file: 'migration/prepare.ts',
        text: "    changes += await makeAcls(wave, 'protection', 'target', deny('topic'));\n",
      },
    ],
    path: 'forward',
    seen: /next accepted|TARGET_DIVERGED|FOREIGN|stuck/,
  },
  {
    name: 'nobody writes behind the fence: its rules are proven, and log ends stand still',
    leftOut: [
      {
        file: 'activities/fence.ts',
        text: 'return { summary: await fenceFor(wave, connections.file, { ...request, deadlineMs }).prove(cancellation()) };',
        instead: 'return { summary: String(deadlineMs) };',
      },
      {
        file: 'migration/boundary.ts',
        text: 'return watermarks.get(key) !== end || stable.get(key) !== end || (before !== null && before.get(key) !== end);',
        instead: 'return watermarks.get(key) === undefined && stable.get(key) === end;',
      },
      { file: 'migration/boundary.ts', text: '  await refuseMoved(fenced, boundary);\n' },
      // The copy of what is still written would be longer than the boundary: that alone is seen too.
      { file: 'migration/boundary.ts', text: '  await awaitCopy(other, boundary, options);\n' },
      {
        file: 'activities/fence.ts',
        text: '      await refuseMoved(wave.clusters[sidesOf(request.direction).from], boundary);\n',
      },
      {
        file: 'activities/mirror.ts',
        text: 'const watches = [fence.watch(signal), watchRecords(wave, side, began, signal)];',
        instead: 'const watches = [cancelled()];',
      },
    ],
    path: 'forward',
    strike: { point: 'closeWrites forward before-complete', leg: 'cutover', kind: 'meddle' },
    // Some other program that owns the rules takes away what it does not know.
    async meddle({ lane, topic }) {
      const rule = { principal: `User:${writer}`, host: '*', operation: 'write', permission: 'deny' } as const;
      const where = { resourceType: 'topic', resourceName: topic, patternType: 'literal' } as const;
      await deleteAcls(await lane.admin('legacy'), [{ ...rule, ...where }]);
    },
    says: ['FENCE_NOT_PROVEN', 'ACCESS_CHANGED', 'SOURCE_WRITTEN_AFTER_FENCE'],
    seen: /legacy accepted \d+ records|records more on the cluster that was left|differ|against/,
  },
  {
    name: 'what was written after the boundary keeps the target closed',
    leftOut: [
      {
        file: 'activities/fence.ts',
        text: '      await refuseMoved(wave.clusters[sidesOf(request.direction).from], boundary);\n',
      },
      {
        file: 'activities/mirror.ts',
        text: 'const watches = [fence.watch(signal), watchRecords(wave, side, began, signal)];',
        instead: 'const watches = [fence.watch(signal)];',
      },
    ],
    path: 'forward',
    strike: { point: 'moveGroups forward before-complete', leg: 'cutover', kind: 'meddle' },
    // No rule keeps a super user out.
    meddle: (hands) => write(hands, 'legacy', 'cutover', 'stray'),
    // What was written is copied once the fence is lifted; until then the copies differ.
    says: ['FENCE_NOT_PROVEN', 'SOURCE_WRITTEN_AFTER_FENCE', 'TARGET_DIVERGED'],
    seen: /against|records more on the cluster that was left/,
  },
  {
    name: 'records are copied up to the boundary, and compared, before the other cluster opens',
    leftOut: [
      { file: 'migration/boundary.ts', text: '  await awaitCopy(other, boundary, options);\n' },
      {
        file: 'migration/boundary.ts',
        text: '  const audit = await auditTo(boundary, options);\n',
        instead: '  const audit = options.audit as never[];\n',
      },
    ],
    path: 'forward',
    // The mirror dies too, before it has copied the last ones, and is missed later than who fences.
    strike: { point: 'closeWrites forward create-acls@legacy before-journal', leg: 'cutover', kind: 'kill' },
    says: ['FENCE_EXPIRED'],
    seen: /records lost|against|found nothing/,
  },
  {
    name: 'the audit sees a copy that differs',
    // The last byte of every batch that the mirror writes: the end of a header.
    spoilt: [
      {
        file: 'mirror/prepare.ts',
        text: '    this.#send(batch, firstOffset, count, aborted);\n',
        instead:
          '    batch.bytes.writeUInt8(batch.bytes.readUInt8(batch.bytes.length - 1) ^ 1, batch.bytes.length - 1);\n' +
          '    batch.restamp(producerId, baseSequence, transactionEpoch);\n' +
          '    this.#send(batch, firstOffset, count, aborted);\n',
      },
    ],
    leftOut: [
      {
        file: 'mirror/audit-compare.ts',
        text: '      if (!sameRecord(source, target)) this.#differ(kindOf(source, target), source, target);\n',
      },
    ],
    path: 'forward',
    // The mirror looks at its last batch when it begins again.
    says: ['PARITY_FAILED', 'TARGET_DIVERGED'],
    seen: /against|was acknowledged at offset/,
  },
  {
    name: 'positions are read back where they were written',
    leftOut: [
      {
        file: 'migration/groups.ts',
        text: '  await Promise.all([readBack(into, reading, carried), refuseMoved(from, reading, here)]);\n',
        instead: '  await refuseMoved(from, reading, here);\n',
      },
    ],
    path: 'forward',
    strike: { point: 'moveGroups forward offset-commit@next answered', leg: 'cutover', kind: 'meddle' },
    // Somebody resets the group on the target.
    async meddle({ lane, topic, group }) {
      await commitOffsets(await lane.admin('next'), group, [{ topic, partition: 0, offset: 0n }]);
    },
    seen: /the group stands at 0@0/,
  },
  {
    name: 'groups cannot commit any more where they were, once their positions are final',
    leftOut: [
      {
        file: 'activities/groups.ts',
        text: 'const fenced = await fenceFor(wave, connections.file, request).closeGroups(boundary, signal);',
        instead: 'const fenced = new Set<string>();',
      },
    ],
    path: 'forward',
    strike: { point: 'moveGroups forward before-complete', leg: 'cutover', kind: 'meddle' },
    // A consumer that goes on: what it was told is committed must not be read again.
    async meddle({ lane, topic, group, committed }) {
      await using cluster = await Cluster.connect(lane.login('legacy', reader));
      const positions = [0, 1].map((partition) => ({ topic, partition, offset: 5n + BigInt(partition) }));
      const taken = await commitOffsets(cluster, group, positions).then(
        () => true,
        () => false,
      );
      if (taken) committed(5n);
    },
    seen: /the group stands at 0@3 1@4 on next, wanted 0@5 1@6/,
  },
  {
    name: 'the mirror is shut out before the target opens',
    leftOut: [
      {
        file: 'activities/fence.ts',
        text: "      [{ kind: 'create-acls', cluster: side, acls }],\n",
        instead: '      acls.length > 0 ? [] : [],\n',
      },
    ],
    path: 'forward',
    strike: { point: 'openWrites forward before-complete', leg: 'cutover', kind: 'meddle' },
    // A mirror that slept on some other machine writes what it has read long ago.
    meddle: (hands) => write(hands, 'next', laneUsers(hands.lane.name).forward, 'legacy-old-0').catch(() => undefined),
    seen: /[1-9]\d* duplicated/,
  },
  {
    name: 'nothing is opened without a boundary that both clusters keep',
    leftOut: [
      {
        file: 'migration/boundary.ts',
        text: '  const name = boundaryName(fence);\n  await putJson(storage, name, {',
        instead: '  const name = boundaryName(fence);\n  void ({',
      },
    ],
    path: 'forward',
    seen: /STORAGE_CORRUPT/,
  },
  {
    name: 'once opening is decided nobody lifts the fence, not even by hand',
    leftOut: [
      {
        file: 'migration/opening.ts',
        text: '  if (!decision || fence.concerns?.(decision) === false) return;\n',
        instead: '  if (decision || !decision) return;\n',
      },
    ],
    path: 'forward',
    strike: { point: 'openWrites forward before-complete', leg: 'cutover', kind: 'meddle' },
    // Somebody who believes that nothing moves any more.
    async meddle({ lane, plan }) {
      const file = join(lane.scene.dir, `${plan.name}.json`);
      writeFileSync(file, JSON.stringify(plan));
      const env = { ...process.env, ...lane.scene.env };
      const cli = join(lane.tree, 'bin/kafka-cutover.js');
      await run(process.execPath, [cli, 'unfence', file], { env }).catch(() => undefined);
    },
    seen: /legacy accepted \d+ records/,
  },
  {
    name: 'a fence whose time is over is lifted',
    leftOut: [
      {
        file: 'activities/fence.ts',
        text: '  const applications = await held.lift();\n',
        instead: '  const applications = { undone: 0, notUndone: [], notNoted: [] };\n',
      },
    ],
    path: 'reverse',
    strike: {
      point: 'drainToBoundary reverse boundary before-journal',
      leg: 'opened',
      kind: 'freeze',
      lastsMs: 12_000,
    },
    says: ['FENCE_EXPIRED'],
    seen: /stuck/,
  },
  {
    name: 'somebody who slept does not go on where another has gone on since',
    leftOut: [{ file: 'migration/journal.ts', text: '          options.beforeEach?.();\n          beforeSend();\n' }],
    path: 'abort',
    strike: {
      point: 'closeWrites forward create-acls@legacy after-journal',
      leg: 'cutover',
      kind: 'freeze',
      lastsMs: 40_000,
    },
    seen: /applications to write to legacy|every application to try again/,
  },
  {
    name: 'a right that comes after the fence is seen',
    leftOut: [
      {
        file: 'migration/fences/acl.ts',
        text: '    if (changed.length > 0) throw accessChanged(watch.cluster, changed);\n',
      },
    ],
    path: 'forward',
    strike: { point: 'openWrites forward before-complete', leg: 'cutover', kind: 'meddle' },
    restMs: 8_000,
    async meddle({ lane, topic, noticed }) {
      const who = { principal: `User:${newWriter}`, host: '*', operation: 'write', permission: 'allow' } as const;
      const rule = { ...who, resourceType: 'topic', resourceName: topic, patternType: 'literal' } as const;
      const legacy = await lane.admin('legacy');
      await createAcls(legacy, [rule]);
      // Whoever is told takes it away again.
      void waitFor('somebody to notice', noticeTimeoutMs, noticed)
        .catch(() => undefined)
        .then(() => deleteAcls(legacy, [rule]));
    },
    says: ['ACCESS_CHANGED'],
    seen: /^(?!.*ACCESS_CHANGED).*completed/,
  },
  {
    name: 'what is written to the target is mirrored back, from before it opens',
    leftOut: [
      {
        file: 'workflows/steps/fence.ts',
        text: "  if (direction === 'forward' && plan.rollback.reverseMirror) background.start('mirror:reverse');\n\n  begin(",
        instead: '\n  begin(',
      },
    ],
    path: 'reverse',
    // Nothing is lost: the way back begins to copy then, and its fence is over before it has.
    seen: /stuck|FENCE_EXPIRED/,
  },
];
