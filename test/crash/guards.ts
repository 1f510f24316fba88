/**
 * Shows of each check that it is needed: a migration is struck, or meddled with, twice. As the product is, all is well, or it waits and says
 * why; with the check's lines left out of a copy of the sources, what the check is there for must be seen. Text that is no longer in its file
 * is a failure, so the list follows the product.
 *
 *   npm run test:crash:guards [-- --only TEXT] [-- --out FILE] [-- --stop-file FILE] [-- --table]
 *
 * `--out` keeps what was seen; what stands there already of this build, and was right, is not run again. `--stop-file` ends it once that file is there.
 * `--table` prints what was seen for docs/crash-matrix.md and runs nothing.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { createAcls, deleteAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets } from '../../kafka/groups.ts';
import { dropConnection } from '../../kafka/wire.ts';
import { startStack } from '../../stack/stack.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { type CellResult, type Hands, type Path, runCell } from './cell.ts';
import { applicationListener, Lane, laneUsers } from './lane.ts';
import type { Fault } from './points.ts';
import { productBuild } from './results.ts';
import { connectTo, writeNumbered } from './writers.ts';

interface Edit {
  readonly file: string;
  readonly text: string;
  readonly instead?: string;
}

interface Guard {
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

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);
const everyMs = 10;
const maxHoldMs = 15_000;
const freezeMaxHoldMs = 10_000;
/** What is left out may keep a migration from ever ending. */
const brokenTimeoutMs = 180_000;
const noticeTimeoutMs = 60_000;
/** Of what was wrong. */
const linesShown = 4;
const tableChars = 240;
const [writer, newWriter, reader] = ['app-writer-1', 'app-writer-2', 'app-reader-1'] as const;

/** One record more, as some program would write it that nobody has told anything. */
async function write(hands: Hands, cluster: 'legacy' | 'next', user: string, producer: string): Promise<void> {
  const connection = await connectTo(hands.lane.login(cluster, user));
  await writeNumbered(connection, { topic: hands.topic, partition: 0, producer, sequence: 0 });
  dropConnection(connection);
}

const guards: readonly Guard[] = [
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
        text: 'return { summary: await fenceFor(wave, connections.file, scope).prove(cancellation()) };',
        instead: 'return { summary: String(typeof scope) };',
      },
      {
        file: 'migration/boundary.ts',
        text: 'return watermarks.get(key) !== end || stable.get(key) !== end || (before !== null && before.get(key) !== end);',
        instead: 'return watermarks.get(key) === undefined && stable.get(key) === end;',
      },
      { file: 'migration/boundary.ts', text: '  await refuseMoved(fenced, boundary);\n' },
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
    path: 'reverse',
    // The mirror dies too, before it has copied the last ones, and is missed later than who fences.
    strike: { point: 'closeWrites reverse create-acls@next before-journal', leg: 'opened', kind: 'kill' },
    says: ['FENCE_EXPIRED'],
    seen: /records lost|against|found nothing/,
  },
  {
    name: 'the audit sees a copy that differs',
    spoilt: [
      {
        file: 'kafka/batches.ts',
        text: '    bytes.writeInt32BE(baseSequence, 53);\n',
        instead:
          '    bytes.writeInt32BE(baseSequence, 53);\n    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);\n',
      },
      {
        file: 'kafka/batches.ts',
        text: '  bytes.writeInt32BE(fields.baseSequence, 53);\n',
        instead:
          '  bytes.writeInt32BE(fields.baseSequence, 53);\n  if (fields.producerId >= 0n) bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);\n',
      },
    ],
    leftOut: [
      {
        file: 'mirror/audit-compare.ts',
        text: '      if (!sameRecord(source, target)) this.#differ(kindOf(source, target), source, target);\n',
      },
    ],
    path: 'forward',
    says: ['PARITY_FAILED'],
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
    seen: /stuck/,
  },
];

interface Shown {
  readonly guard: string;
  /** Files whose lines were left out. */
  readonly leftOut: readonly string[];
  readonly struckBy: string;
  /** Null where nothing happens but a migration: the matrix begins with those. */
  readonly withIt: string | null;
  readonly withoutIt: string;
  /** What is not as it has to be, one line each. */
  readonly problems: readonly string[];
  readonly build: string;
  readonly date: string;
}

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    out: { type: 'string' },
    table: { type: 'boolean', default: false },
    'stop-file': { type: 'string' },
  },
});
const out = options.out ? resolve(options.out) : null;
const known = new Map<string, Shown>(
  (out && existsSync(out) ? (JSON.parse(readFileSync(out, 'utf8')) as Shown[]) : []).map((one) => [one.guard, one]),
);
if (options.table) process.stdout.write(`${table()}\n`);
else await showAll();

async function showAll(): Promise<void> {
  const build = productBuild();
  if (out && build === null) throw new Error('the product has changes that are not committed');
  for (const edit of guards.flatMap(({ leftOut, spoilt = [] }) => [...leftOut, ...spoilt])) partsAround(root, edit);
  process.env.KAFKA_CUTOVER_STACK_JAVA_OPTIONS ??= '-XX:TieredStopAtLevel=1';
  await using cleanup = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-guards-'));
  cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
  process.env.NODE_COMPILE_CACHE = join(dir, 'compiled');
  const chosen = guards.filter(({ name }) => {
    const seen = known.get(name);
    return name.includes(options.only) && !(seen?.build === build && seen.problems.length === 0);
  });
  const users = chosen.flatMap((_, index) => [`with-${index}`, `without-${index}`]);
  const superUsers = { 'super.users': ['broker', 'cutover', ...users].map((user) => `User:${user}`).join(';') };
  const applicationPassword = randomBytes(18).toString('hex');
  const stack = cleanup.use(
    await startStack({
      dir: join(dir, 'stack'),
      users: users.flatMap((user) => Object.values(laneUsers(user))),
      brokerConfig: { source: superUsers, target: superUsers },
      listeners: applicationListener(applicationPassword),
    }),
  );
  const strike = async (name: string, guard: Guard, edits: readonly Edit[], timeoutMs?: number) => {
    const tree = edits.length > 0 ? copyWith(join(dir, name), edits) : root;
    await using lane = await Lane.open(stack, { name, principal: name, applicationPassword, tree });
    const { strike: at, meddle, path, restMs } = guard;
    const faults: Fault[] = at ? [{ occurrence: 1, lastsMs: 0, ...at }] : [];
    const hold = at?.kind === 'freeze' ? freezeMaxHoldMs : maxHoldMs;
    return await runCell(lane, {
      name: `${name}-${path}`,
      path,
      faults,
      everyMs,
      maxHoldMs: hold,
      ...(timeoutMs && { timeoutMs }),
      ...(meddle && { meddle }),
      ...(restMs && { restMs }),
    });
  };
  let problems = 0;
  for (const [index, guard] of chosen.entries()) {
    if (options['stop-file'] && existsSync(options['stop-file'])) break;
    const spoilt = guard.spoilt ?? [];
    const needed = guard.strike !== undefined || spoilt.length > 0;
    const before = needed
      ? await strike(`with-${index}`, guard, spoilt, spoilt.length > 0 ? brokenTimeoutMs : 0)
      : null;
    const after = await strike(`without-${index}`, guard, [...spoilt, ...guard.leftOut], brokenTimeoutMs);
    const shown: Shown = {
      guard: guard.name,
      leftOut: [...new Set(guard.leftOut.map(({ file }) => file))],
      struckBy: guard.strike ? `${guard.path}: ${guard.strike.point}: ${guard.strike.kind}` : guard.path,
      withIt: before && toldOf(before),
      withoutIt: toldOf(after),
      problems: [...(before ? problemsWith(guard, before) : []), ...problemsWithout(guard, after)],
      build: build ?? 'with changes',
      date: new Date().toISOString(),
    };
    problems += shown.problems.length;
    known.set(guard.name, shown);
    process.stderr.write(`${JSON.stringify(shown, null, 1)}\n`);
    if (out) writeFileSync(out, `${JSON.stringify([...known.values()], null, 1)}\n`);
  }
  process.exitCode = problems === 0 ? 0 : 1;
}

function copyWith(tree: string, edits: readonly Edit[]): string {
  const left = new Set(['.git', 'node_modules', 'dist']);
  cpSync(root, tree, { recursive: true, filter: (path) => !left.has(path.slice(root.length + 1)) });
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  for (const { file, text, instead = '' } of edits) {
    writeFileSync(join(tree, file), partsAround(tree, { file, text }).join(instead));
  }
  return tree;
}

function partsAround(tree: string, { file, text }: Edit): readonly string[] {
  const parts = readFileSync(join(tree, file), 'utf8').split(text);
  if (parts.length !== 2) throw new Error(`${file} holds ${parts.length - 1} times, wanted once: ${text}`);
  return parts;
}

function problemsWith({ says = [], spoilt, strike }: Guard, result: CellResult): string[] {
  const problems: string[] = [];
  if (strike && !result.reached[0]) problems.push('with it: the point was not reached');
  const waited = result.waits.filter((code) => !says.includes(code));
  if (waited.length > 0) problems.push(`with it: it waited with ${waited.join(', ')}`);
  if (spoilt && result.outcome !== 'stuck') problems.push(`with it: ${result.outcome}`);
  if (!spoilt && result.faults.length > 0) problems.push(`with it: ${result.faults.join('; ')}`);
  return problems;
}

function problemsWithout({ seen, strike }: Guard, result: CellResult): string[] {
  const problems: string[] = [];
  if (strike && !result.reached[0]) problems.push('without it: the point was not reached');
  if (!seen.test(toldOf(result))) problems.push(`without it: nothing like ${seen} was seen`);
  return problems;
}

/** In one line. */
function toldOf({ outcome, waits, faults }: CellResult): string {
  const codes = [...new Set(waits)].join(', ');
  // What comes first and what comes last say most.
  const shown = faults.length <= linesShown ? faults : [...faults.slice(0, linesShown - 1), ...faults.slice(-1)];
  const lines = shown.map((line) => (line.split('\n')[0] ?? '').slice(0, 200));
  return [outcome, ...(codes ? [`waited: ${codes}`] : []), ...lines].join('; ');
}

function table(): string {
  const cut = (line: string) => line.slice(0, tableChars);
  const rows = [...known.values()].map(
    ({ guard, struckBy, withIt, withoutIt, problems }) =>
      `| ${guard} | \`${struckBy}\` | ${cut(withIt ?? 'as every undisturbed run')} | ${problems.length > 0 ? '**not shown**: ' : ''}${cut(withoutIt)} |`,
  );
  return ['| check | struck by | with it | without it |', '|---|---|---|---|', ...rows].join('\n');
}
