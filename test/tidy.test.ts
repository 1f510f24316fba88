/**
 * What holds the repository together beyond types: who may import whom, one version of Temporal, documents that
 * agree with the code. Each test lists everything that is wrong, one line each.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { codes } from '../contract/errors.ts';
import { planKeys, planWords } from '../contract/plan-words.ts';
import { renderCodes } from '../docs/generate-codes.ts';
import { planSchemaInWords, renderPlan } from '../docs/generate-plan.ts';
import { renderReplicators } from '../docs/generate-replicators.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** Tracked files and those that are about to be. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root })
  .toString()
  .split('\0')
  .filter((path) => path !== '' && existsSync(join(root, path)) && statSync(join(root, path)).isFile());
const sources = files.filter((path) => /\.(ts|js)$/.test(path));
const documents = files.filter((path) => path.endsWith('.md'));
const texts = files.filter((path) => !/\.(png|gif|ico|bin|gz|tgz)$/.test(path) && path !== 'package-lock.json');
const thisFile = 'test/tidy.test.ts';

/** Imports run towards the front of this list only. */
const layers = ['contract', 'kafka', 'mirror', 'migration', 'replicators', 'activities', 'worker', 'client'];
/** Workflow code runs in Temporal's sandbox and is replayed: it sees types, and what is pure. */
const sandbox = 'workflows';
const product = [...layers, sandbox];
const besideTheProduct = ['stack', 'examples', 'test', 'bench', 'docs'];

interface Import {
  readonly from: string;
  /** A path in the repository, or a package's name. */
  readonly to: string;
  readonly typeOnly: boolean;
  /** Loaded when it is needed: `await import(...)`. */
  readonly lazy: boolean;
}

describe('imports', () => {
  const imports = sources.flatMap(importsOf);
  const between = (from: readonly string[], to: readonly string[]) =>
    imports.filter((line) => from.includes(folderOf(line.from)) && to.includes(folderOf(line.to)));

  it('are found at all', () => {
    assert.ok(imports.length > 100);
    assert.ok(imports.some((line) => line.typeOnly) && imports.some((line) => line.lazy));
  });

  it(`run one way: ${layers.join(' < ')}`, () => {
    const wrong = between(layers, layers).filter(
      ({ from, to }) => layers.indexOf(folderOf(to)) > layers.indexOf(folderOf(from)),
    );
    none(wrong.map(said));
  });

  it('of workflow code are the contract, itself, the workflow SDK, and types of activities', () => {
    const packages = ['@temporalio/workflow', '@temporalio/common'];
    const wrong = imports
      .filter((line) => folderOf(line.from) === sandbox)
      .filter(({ to, typeOnly }) => {
        if (folderOf(to) === sandbox || packages.includes(to)) return false;
        // plan.ts holds zod schemas, and each cached workflow would build its own.
        if (to === 'contract/plan.ts') return !typeOnly;
        if (folderOf(to) === 'contract') return false;
        return !(folderOf(to) === 'activities' && typeOnly);
      });
    none(wrong.map(said));
  });

  it('of workflow code are for the worker, which bundles it; others take types only', () => {
    const wrong = imports.filter(
      ({ from, to, typeOnly }) =>
        product.includes(folderOf(from)) &&
        ![sandbox, 'worker'].includes(folderOf(from)) &&
        folderOf(to) === sandbox &&
        !typeOnly,
    );
    none(wrong.map(said));
  });

  it('of the product never reach into tests, examples, benchmarks or the local stack (which the command line loads lazily)', () => {
    const wrong = between(product, besideTheProduct).filter(
      ({ from, to, lazy, typeOnly }) =>
        !(folderOf(from) === 'client' && folderOf(to) === 'stack' && (lazy || typeOnly)),
    );
    none(wrong.map(said));
  });

  it('of the contract are zod and nothing else, so that everybody may import it', () => {
    const wrong = imports.filter(
      ({ from, to }) => folderOf(from) === 'contract' && folderOf(to) !== 'contract' && to !== 'zod',
    );
    none(wrong.map(said));
  });

  it('name files that exist', () => {
    none(imports.filter(({ to }) => to.includes('/') && isOurs(to) && !existsSync(join(root, to))).map(said));
  });
});

describe('file names', () => {
  it('say what is inside: no utils, helpers or common, and no barrels', () => {
    const vague = /^(utils?|helpers?|common|shared|misc|index)$/;
    const allowed = 'workflows/index.ts'; // where Temporal's bundle begins
    const wrong = sources.filter(
      (path) =>
        path !== allowed &&
        [...dirname(path).split('/'), basename(path).replace(/(\.test)?\.[jt]s$/, '')].some((word) => vague.test(word)),
    );
    none(wrong);
  });
});

describe('dependencies', () => {
  const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string>>;
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version?: string }> };

  it('hold every part of Temporal at one exact version', () => {
    const wanted = { ...manifest.dependencies, ...manifest.devDependencies };
    const temporal = Object.entries(wanted).filter(([name]) => name.startsWith('@temporalio/'));
    const version = temporal[0]?.[1] ?? '';
    assert.match(version, /^\d+\.\d+\.\d+$/);
    const locked = Object.entries(lock.packages).filter(([path]) =>
      /(^|\/)node_modules\/@temporalio\/[^/]+$/.test(path),
    );
    assert.ok(locked.length >= temporal.length);
    none([
      ...temporal
        .filter(([, found]) => found !== version)
        .map(([name, found]) => `package.json: ${name} ${found}, wanted ${version}`),
      ...locked
        .filter(([, found]) => found.version !== version)
        .map(([path, found]) => `package-lock.json: ${path} ${found.version}, wanted ${version}`),
    ]);
  });
});

describe('documents', () => {
  it('list the codes that the code has', () => {
    assert.equal(
      read('docs/codes.md'),
      renderCodes(),
      'docs/codes.md is out of date: run `node docs/generate-codes.ts`',
    );
  });

  it('tell of replicators what the lists have', () => {
    const wanted = renderReplicators();
    const what = 'docs/replicators.md is out of date: run `node docs/generate-replicators.ts`';
    assert.equal(read('docs/replicators.md'), wanted, what);
  });

  it('list the keys that a plan has, each with its meaning', () => {
    const keys = planKeys(planSchemaInWords);
    none(keys.filter(([, key]) => !key.description).map(([path]) => `${path} has no words in contract/plan-words.ts`));
    const said = new Set(keys.map(([, key]) => key.description));
    none(
      Object.entries(planWords).flatMap(([path, words]) => (said.has(words) ? [] : [`${path} is no key of a plan`])),
    );
    assert.equal(read('docs/plan.md'), renderPlan(), 'docs/plan.md is out of date: run `node docs/generate-plan.ts`');
  });

  it('name every environment variable of ours, and only those that exist', () => {
    // Names ending in _ are built from parts; LEGACY_ and NEXT_ are what the local stack calls its secrets.
    const variable = /\bKAFKA_CUTOVER_[A-Z][A-Z0-9_]*[A-Z0-9]\b/g;
    const named = (paths: readonly string[]) =>
      new Set(
        paths.flatMap((path) => read(path).match(variable) ?? []).filter((name) => !/_(LEGACY|NEXT)(_|$)/.test(name)),
      );
    const code = [...product, 'stack', 'bin', 'bench', 'examples', 'test'];
    const used = named(
      files.filter((path) => code.includes(folderOf(path)) && path !== thisFile && !path.endsWith('.md')),
    );
    const explained = named([
      ...documents,
      ...files.filter((path) => /(^|\/)(docker-compose\.yml|Dockerfile)$/.test(path)),
    ]);
    const documented = named(documents);
    none([
      ...[...used].filter((name) => !documented.has(name)).map((name) => `${name} is used and no document explains it`),
      ...[...explained].filter((name) => !used.has(name)).map((name) => `${name} is documented and nothing uses it`),
    ]);
  });

  it('link only to files that exist', () => {
    const broken = documents.flatMap((path) =>
      [...withoutCode(read(path)).matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)]
        .map(([, link = '']) => link)
        .filter((link) => !/^([a-z]+:|#)/.test(link))
        .filter((link) => !existsSync(join(root, dirname(path), decodeURI(link.replace(/#.*$/, '')))))
        .map((link) => `${path}: ${link}`),
    );
    none(broken);
  });

  it('name only tests that exist: files, and in brackets behind a file what it says, or the codes that it meets', () => {
    const wrong = documents.flatMap((path) =>
      [...read(path).matchAll(/`(test\/[^`\s]+\.ts)`(?: \(([^)]*)\))?/g)].flatMap(([, file = '', said = '']) => {
        if (!existsSync(join(root, file))) return [`${path}: ${file}`];
        const text = read(file);
        const named = said.startsWith('`')
          ? [...said.matchAll(/`([A-Z_]+)`/g)].map(([, code = '']) => code)
          : said.split('; ');
        return named.filter((words) => !text.includes(words)).map((words) => `${path}: ${file} does not say: ${words}`);
      }),
    );
    none(wrong);
  });

  it('name only npm scripts that exist', () => {
    const scripts = (JSON.parse(read('package.json')) as { scripts?: Record<string, string> }).scripts ?? {};
    const wrong = documents.flatMap((path) =>
      [...read(path).matchAll(/\bnpm (?:run ([a-z][\w:-]*)|(test)\b)/g)]
        .map(([, script, test]) => script ?? test ?? '')
        .filter((name) => !(name in scripts))
        .map((name) => `${path}: npm run ${name}`),
    );
    none([...new Set(wrong)]);
  });
});

describe('codes', () => {
  it('are each used by the product: a list of what never happens helps nobody', () => {
    const others = sources.filter((path) => product.includes(folderOf(path)) || folderOf(path) === 'stack');
    const text = others
      .filter((path) => path !== 'contract/errors.ts')
      .map(read)
      .join('\n');
    none(Object.keys(codes).filter((code) => !new RegExp(`\\b${code}\\b`).test(text)));
  });
});

describe('files', () => {
  it('hold no notes to ourselves', () => {
    none(linesMatching(texts, new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')})\\b`)));
  });

  it('name no folder of the machine that they were written on', () => {
    const machine = ['work', 'tmp/kp', 'root', 'home/[a-z]+'].map((folder) => `/${folder}(?:/|\\b)`);
    none(linesMatching(texts, new RegExp(`(?<![\\w.}~)\\]])(?:${machine.join('|')})`)));
  });
});

/** Static, dynamic and re-exporting imports of a file, paths resolved. */
function importsOf(path: string): Import[] {
  const source = withoutComments(read(path));
  const found: Import[] = [];
  const add = (specifier: string, typeOnly: boolean, lazy: boolean) => {
    const to = specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : specifier;
    found.push({ from: path, to, typeOnly, lazy });
  };
  for (const [, keyword, names = '', specifier = ''] of source.matchAll(
    /^(?:import|export)(\s+type)?\b([^;'"]*?)\bfrom\s*['"]([^'"]+)['"]/gm,
  )) {
    add(specifier, keyword !== undefined || everyNameIsAType(names), false);
  }
  for (const [, specifier = ''] of source.matchAll(/^import\s*['"]([^'"]+)['"]/gm)) add(specifier, false, false);
  for (const [all, specifier = ''] of source.matchAll(/\b(?:typeof\s+)?import\(\s*['"]([^'"]+)['"]\s*\)/g)) {
    add(specifier, all.startsWith('typeof'), true);
  }
  return found;
}

/** `{ type A, type B }`: nothing is left of it at run time but the import itself, which is what counts here. */
function everyNameIsAType(names: string): boolean {
  const inner = /^\s*\{([^}]*)\}\s*$/.exec(names)?.[1];
  if (inner === undefined) return false;
  const list = inner
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  return list.length > 0 && list.every((name) => name.startsWith('type '));
}

function withoutComments(source: string): string {
  return source.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '');
}

const withoutCode = (markdown: string): string => markdown.replace(/```[\s\S]*?```/g, '').replace(/`[^`\n]*`/g, '');

const folderOf = (path: string): string => path.split('/')[0] ?? '';
const isOurs = (path: string): boolean => [...product, ...besideTheProduct].includes(folderOf(path));
const said = ({ from, to, typeOnly }: Import): string => `${from} imports ${typeOnly ? 'types of ' : ''}${to}`;

function linesMatching(paths: readonly string[], pattern: RegExp): string[] {
  return paths
    .filter((path) => path !== thisFile)
    .flatMap((path) =>
      read(path)
        .split('\n')
        .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim().slice(0, 120)}`] : [])),
    );
}

function none(wrong: readonly string[]): void {
  assert.equal(wrong.join('\n'), '');
}
