/**
 * AWS's own models of its services, as botocore on PyPI ships them: what stands in for a service checks requests and its own answers by them. Fetched once
 * into the cache, like the stack's programs.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { cached, cacheFolder } from '../../stack/cache.ts';

/** The one that the stand-in was written against. */
const version = '1.43.11';
const downloadTimeoutMs = 120_000;

export interface Shape {
  readonly type: 'structure' | 'list' | 'map' | 'string' | 'integer' | 'long' | 'double' | 'boolean' | 'timestamp';
  readonly required?: readonly string[];
  readonly members?: Readonly<Record<string, Member>>;
  readonly member?: { readonly shape: string };
  readonly key?: { readonly shape: string };
  readonly value?: { readonly shape: string };
  readonly enum?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: string;
  readonly error?: { readonly httpStatusCode?: number };
}

interface Member {
  readonly shape: string;
  readonly location?: 'uri' | 'querystring' | 'header';
  readonly locationName?: string;
}

export interface Operation {
  readonly name: string;
  readonly http: { readonly method: string; readonly requestUri: string };
  readonly input?: { readonly shape: string };
  readonly output?: { readonly shape: string };
  readonly errors?: readonly { readonly shape: string }[];
}

export interface ServiceModel {
  readonly metadata: { readonly targetPrefix?: string; readonly signingName?: string; readonly endpointPrefix: string };
  readonly operations: Readonly<Record<string, Operation>>;
  readonly shapes: Readonly<Record<string, Shape>>;
}

/** @returns null where the model cannot be had, such as without Python or a network */
export async function serviceModel(service: string, apiVersion: string): Promise<ServiceModel | null> {
  const file = join('botocore', 'data', service, apiVersion, 'service-2.json.gz');
  try {
    const folder = await cached(cacheFolder(process.env), {
      name: `botocore-${version}`,
      mainFile: file,
      download: async (into) => {
        const install = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--no-input', '--only-binary', ':all:'];
        await promisify(execFile)('python3', [...install, '--no-compile', '--target', into, `botocore==${version}`], {
          timeout: downloadTimeoutMs,
        });
      },
    });
    return JSON.parse(gunzipSync(await readFile(join(folder, file))).toString('utf8')) as ServiceModel;
  } catch {
    return null;
  }
}

/**
 * What is wrong with a value by its shape, one line each; members that travel in the path or the query are not looked for.
 *
 */
export function wrongBy(model: ServiceModel, shapeName: string, value: unknown, path = ''): string[] {
  const shape = model.shapes[shapeName];
  if (!shape) return [`${path}: no shape ${shapeName}`];
  const is = (found: string) => [`${path || 'body'}: ${JSON.stringify(value)?.slice(0, 60)} is no ${found}`];
  switch (shape.type) {
    case 'structure': {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return is('structure');
      const members = Object.entries(shape.members ?? {}).filter(([, { location }]) => location === undefined);
      const nameOf = ([name, member]: [string, Member]) => member.locationName ?? name;
      const known = new Map(members.map((entry) => [nameOf(entry), entry[1]]));
      const unknown = Object.keys(value).filter((key) => !known.has(key));
      const missing = members
        .filter(([name]) => shape.required?.includes(name))
        .map(nameOf)
        .filter((key) => !(key in value));
      return [
        ...unknown.map((key) => `${path}.${key}: unknown`),
        ...missing.map((key) => `${path}.${key}: missing`),
        ...Object.entries(value).flatMap(([key, inner]) => {
          const member = known.get(key);
          return member ? wrongBy(model, member.shape, inner, `${path}.${key}`) : [];
        }),
      ];
    }
    case 'list': {
      if (!Array.isArray(value)) return is('list');
      if (outside(value.length, shape)) return is(`list of ${shape.min ?? 0} to ${shape.max}`);
      return value.flatMap((entry, index) => wrongBy(model, shape.member?.shape ?? '', entry, `${path}[${index}]`));
    }
    case 'map':
      if (typeof value !== 'object' || value === null) return is('map');
      return Object.entries(value).flatMap(([key, entry]) => [
        ...wrongBy(model, shape.key?.shape ?? '', key, `${path}.${key} (key)`),
        ...wrongBy(model, shape.value?.shape ?? '', entry, `${path}.${key}`),
      ]);
    case 'string':
      if (typeof value !== 'string') return is('string');
      if (outside(value.length, shape)) return is(`string of ${shape.min ?? 0} to ${shape.max} characters`);
      if (shape.enum && !shape.enum.includes(value)) return is(`one of ${shape.enum.join(', ')}`);
      return shape.pattern && !new RegExp(`^(?:${shape.pattern})$`).test(value) ? is(`match of ${shape.pattern}`) : [];
    case 'boolean':
      return typeof value === 'boolean' ? [] : is('boolean');
    case 'timestamp':
      return typeof value === 'number' || !Number.isNaN(Date.parse(String(value))) ? [] : is('time');
    default:
      if (typeof value !== 'number' || outside(value, shape)) return is(shape.type);
      return shape.type === 'double' || Number.isInteger(value) ? [] : is(shape.type);
  }
}

function outside(size: number, { min = 0, max = Number.POSITIVE_INFINITY }: Shape): boolean {
  return size < min || size > max;
}

/** The operation that a request is for, with what travels in its path and query; null: the service has no such one. */
export function operationOf(
  { operations, shapes }: ServiceModel,
  method: string,
  url: URL,
): {
  readonly operation: Operation;
  readonly parameters: Readonly<Record<string, string>>;
  readonly wrong: string[];
} | null {
  for (const operation of Object.values(operations)) {
    if (operation.http.method !== method) continue;
    const names: string[] = [];
    const pattern = operation.http.requestUri.replace(/\{([^}]+)\}/g, (_, name) => {
      names.push(name);
      return '([^/]+)';
    });
    const match = new RegExp(`^${pattern}$`).exec(url.pathname);
    if (!match) continue;
    const members = Object.entries(shapes[operation.input?.shape ?? '']?.members ?? {});
    const query = members.filter(([, { location }]) => location === 'querystring').map(([, m]) => m.locationName ?? '');
    const unknown = [...url.searchParams.keys()].filter((key) => !query.includes(key));
    return {
      operation,
      parameters: {
        ...Object.fromEntries(names.map((name, index) => [name, decodeURIComponent(match[index + 1] ?? '')])),
        ...Object.fromEntries(url.searchParams),
      },
      wrong: unknown.map((key) => `query ${key}: unknown`),
    };
  }
  return null;
}
