/**
 * Stands in for a schema registry that takes ids in mode IMPORT: written from Confluent's published API reference (subjects, versions, ids, modes,
 * compatibility, references, soft and permanent deletion, and their error codes). No registry of Confluent's was ever asked; Apicurio's is
 * (test/activities/schemas.test.ts), which does not take ids.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';
import type { RegistryConfig } from '../../kafka/clusters.ts';

interface Reference {
  readonly name: string;
  readonly subject: string;
  readonly version: number;
}

interface Stored {
  readonly id: number;
  readonly schema: string;
  readonly schemaType?: string;
  readonly references?: readonly Reference[];
  deleted: boolean;
}

type Answer = readonly [status: number, body: unknown];

export class RegistryStandIn {
  /** By subject, then by version. */
  readonly subjects = new Map<string, Map<number, Stored>>();
  readonly modes = new Map<string, string>([['', 'READWRITE']]);
  readonly levels = new Map<string, string>([['', 'BACKWARD']]);
  /** `POST /subjects/orders-value/versions`, one a request that changes something. */
  readonly changes: string[] = [];
  readonly #password = 'a password that nobody may see';
  #lastId: number;
  #port = 0;

  private constructor(firstId: number) {
    this.#lastId = firstId - 1;
  }

  /** At the top of a file or in a hook; ends with the file. @param firstId that it gives itself */
  static async start(firstId = 1): Promise<RegistryStandIn> {
    const standIn = new RegistryStandIn(firstId);
    const wanted = `Basic ${Buffer.from(`cutover:${standIn.#password}`).toString('base64')}`;
    const server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk) => {
        text += chunk;
      });
      request.on('end', () => {
        const { method = '', url = '', headers } = request;
        const body = text ? (JSON.parse(text) as Record<string, unknown>) : {};
        const [status, answer] =
          headers.authorization === wanted
            ? standIn.#answer(method, new URL(url, 'http://registry'), body)
            : refusal(401, 40101, 'Unauthorized');
        response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' });
        response.end(JSON.stringify(answer));
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    after(() => {
      server.closeAllConnections();
      server.close();
    });
    standIn.#port = (server.address() as AddressInfo).port;
    return standIn;
  }

  get config(): RegistryConfig {
    const authorization = `Basic ${Buffer.from(`cutover:${this.#password}`).toString('base64')}`;
    return { url: `http://127.0.0.1:${this.#port}`, authorization };
  }

  /** As an application registers: gives the id. */
  register(subject: string, schema: string, more: Pick<Stored, 'schemaType' | 'references'> = {}): number {
    const [status, body] = this.#register(subject, { schema, ...more });
    if (status !== 200) throw new Error(JSON.stringify(body));
    return (body as { id: number }).id;
  }

  /** `subject/version: id`, and whether it is deleted; sorted. */
  held(): string[] {
    const all = [...this.subjects].flatMap(([subject, versions]) =>
      [...versions].map(([version, { id, deleted }]) => `${subject}/${version}: ${id}${deleted ? ' deleted' : ''}`),
    );
    return all.sort();
  }

  #answer(method: string, url: URL, body: Record<string, unknown>): Answer {
    const [kind = '', ...parts] = url.pathname.split('/').slice(1).map(decodeURIComponent);
    const asked = (name: string) => url.searchParams.get(name) === 'true';
    if (method !== 'GET') this.changes.push(`${method} ${url.pathname}${url.search}`);
    if (kind === 'schemas') return this.#byId(Number(parts[1]));
    if (kind === 'mode') return this.#mode(method, parts[0] ?? '', body, asked('force'));
    if (kind === 'config') return this.#level(method, parts[0] ?? '', body);
    if (kind !== 'subjects') return refusal(404, 404, 'HTTP 404 Not Found');
    const [subject, , version] = parts;
    const live = (versions: Map<number, Stored>) => [...versions].filter(([, one]) => asked('deleted') || !one.deleted);
    if (subject === undefined) {
      return [200, [...this.subjects].filter(([, versions]) => live(versions).length > 0).map(([name]) => name)];
    }
    if (method === 'POST') return this.#register(subject, body);
    const versions = this.subjects.get(subject);
    if (!versions || (method === 'GET' && live(versions).length === 0)) return refusal(404, 40401, 'Subject not found');
    if (version === undefined) return [200, live(versions).map(([number]) => number)];
    const found = versions.get(Number(version));
    if (!found) return refusal(404, 40402, 'Version not found');
    if (method === 'DELETE') return this.#delete(subject, Number(version), found, asked('permanent'));
    if (found.deleted && !asked('deleted')) return refusal(404, 40402, 'Version not found');
    const { deleted: _, ...told } = found;
    return [200, { subject, version: Number(version), ...told }];
  }

  #register(subject: string, body: Record<string, unknown>): Answer {
    const { id, version, ...said } = body as Partial<Stored> & { version?: number };
    const importing = (this.modes.get(subject) ?? this.modes.get('')) === 'IMPORT';
    if (importing !== (id !== undefined)) {
      return refusal(422, 42205, `Subject ${subject} is ${importing ? '' : 'not '}in import mode`);
    }
    const schema = said as Omit<Stored, 'id' | 'deleted'>;
    for (const { subject: name, version: number } of schema.references ?? []) {
      const referred = this.subjects.get(name)?.get(number);
      if (!referred || referred.deleted) return refusal(422, 42201, `Invalid schema: no reference ${name}/${number}`);
    }
    const versions = this.subjects.get(subject) ?? new Map<number, Stored>();
    this.subjects.set(subject, versions);
    const text = JSON.stringify([schema.schema, schema.schemaType ?? null, schema.references ?? []]);
    const all = [...this.subjects.values()].flatMap((one) => [...one.values()]);
    const alike = (one: Stored) => JSON.stringify([one.schema, one.schemaType ?? null, one.references ?? []]) === text;
    const other = all.find((one) => one.id === id && !alike(one));
    if (other) return refusal(422, 42205, `Overwrite new schema with id ${id} is not permitted.`);
    const given = id ?? all.find(alike)?.id ?? ++this.#lastId;
    this.#lastId = Math.max(this.#lastId, given);
    if (![...versions.values()].some((one) => alike(one) && !one.deleted)) {
      versions.set(version ?? Math.max(0, ...versions.keys()) + 1, { ...schema, id: given, deleted: false });
    }
    return [200, { id: given }];
  }

  #byId(id: number): Answer {
    const found = [...this.subjects.values()].flatMap((all) => [...all.values()]).find((one) => one.id === id);
    if (!found) return refusal(404, 40403, 'Schema not found');
    const { id: _, deleted: __, ...told } = found;
    return [200, told];
  }

  #delete(subject: string, version: number, found: Stored, permanent: boolean): Answer {
    if (!permanent && found.deleted) return refusal(404, 40406, 'Schema was soft deleted');
    if (permanent && !found.deleted)
      return refusal(404, 40407, 'Schema was not deleted first before being permanently deleted');
    const referring = [...this.subjects.values()]
      .flatMap((all) => [...all.values()])
      .some((one) => one.references?.some((used) => used.subject === subject && used.version === version));
    if (referring) return refusal(422, 42206, 'One or more references exist to the schema');
    if (permanent) this.subjects.get(subject)?.delete(version);
    if (this.subjects.get(subject)?.size === 0) this.subjects.delete(subject);
    found.deleted = true;
    return [200, version];
  }

  #mode(method: string, subject: string, body: Record<string, unknown>, force: boolean): Answer {
    if (method === 'PUT') {
      if (body.mode === 'IMPORT' && this.subjects.has(subject) && !force) {
        return refusal(422, 42205, 'Cannot import since found existing subjects');
      }
      this.modes.set(subject, String(body.mode));
    }
    return this.#setting(method, this.modes, subject, { mode: this.modes.get(subject) }, 40409);
  }

  #level(method: string, subject: string, body: Record<string, unknown>): Answer {
    if (method === 'PUT') {
      this.levels.set(subject, String(body.compatibility));
      return [200, body];
    }
    return this.#setting(method, this.levels, subject, { compatibilityLevel: this.levels.get(subject) }, 40408);
  }

  #setting(method: string, all: Map<string, string>, subject: string, told: object, code: number): Answer {
    if (!all.has(subject)) return refusal(404, code, 'Subject has no setting of its own');
    if (method === 'DELETE') all.delete(subject);
    return [200, told];
  }
}

function refusal(status: number, code: number, message: string): Answer {
  return [status, { error_code: code, message }];
}
