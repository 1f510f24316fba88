/**
 * Stands in for Kubernetes' API server: as much of it as the switch asks for, written from its published API reference (ConfigMap, Secret,
 * Deployment, Status, merge patches, resourceVersion) and from what `kubectl rollout status` waits for. No real cluster was ever asked.
 */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';
import type { KubernetesConfig } from '../../kafka/clusters.ts';
import { makeAuthority } from '../kafka/certificates.ts';

type Json = Record<string, unknown>;

export interface StoredObject {
  readonly kind: 'ConfigMap' | 'Secret';
  data: Record<string, string>;
  immutable?: boolean;
  resourceVersion: number;
}

/** What its controller does at each look, the last for ever. */
type Look = Partial<{ observed: boolean; replicas: number; updated: number; available: number; conditions: Json[] }>;

export interface StoredDeployment {
  wanted: number;
  paused?: boolean;
  generation: number;
  /** Annotations of the pod template. */
  annotations: Record<string, string>;
  /** After each restart. */
  readonly rollout: readonly Look[];
  looks: number;
}

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body: Json | null;
}

const everyReplica = (count: number): Look => ({ observed: true, replicas: count, updated: count, available: count });

export class KubernetesStandIn {
  /** By `namespace/name`. */
  readonly objects = new Map<string, StoredObject>();
  readonly deployments = new Map<string, StoredDeployment>();
  readonly asked: Asked[] = [];
  token = 'a token that nobody may see';
  /** Called before each request is answered; a number is answered with that status. */
  meddle: (asked: Asked) => number | undefined = () => undefined;
  readonly #authority = makeAuthority('kubernetes authority');
  #port = 0;

  static async start(): Promise<KubernetesStandIn> {
    const standIn = new KubernetesStandIn();
    const { cert, key } = standIn.#authority.issue({ commonName: 'kubernetes', addresses: ['127.0.0.1'] });
    const server = createServer({ cert, key }, (request, response) => {
      let text = '';
      request.on('data', (chunk) => {
        text += chunk;
      });
      request.on('end', () => {
        const { method = '', url: path = '', headers } = request;
        const asked = { method, path, body: text ? (JSON.parse(text) as Json) : null };
        const [status, answer] =
          headers.authorization === `Bearer ${standIn.token}`
            ? standIn.#answer(asked, headers['content-type'])
            : refusal(401, 'Unauthorized', 'Unauthorized');
        response.writeHead(status, { 'content-type': 'application/json' });
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

  get config(): KubernetesConfig & { readonly ca: string } {
    const server = `https://127.0.0.1:${this.#port}`;
    return { name: 'prod', server, ca: this.#authority.cert, token: { value: this.token } };
  }

  addObject(name: string, kind: StoredObject['kind'], data: Record<string, string>): StoredObject {
    const object = { kind, data: { ...data }, resourceVersion: 100 };
    this.objects.set(name, object);
    return object;
  }

  /** @param rollout after a restart; by default done at the second look */
  addDeployment(name: string, wanted: number, rollout?: readonly Look[]): StoredDeployment {
    const usual = [{ observed: true, replicas: wanted + 1, updated: wanted, available: wanted }, everyReplica(wanted)];
    const deployment = { wanted, generation: 1, annotations: {}, rollout: rollout ?? usual, looks: 0 };
    this.deployments.set(name, deployment);
    return deployment;
  }

  #answer(asked: Asked, contentType: string | undefined): [number, Json] {
    this.asked.push(asked);
    const meddled = this.meddle(asked);
    if (meddled !== undefined) return refusal(meddled, 'Meddled', 'the test wants it');
    if (asked.method === 'PATCH' && contentType !== 'application/merge-patch+json') {
      return refusal(415, 'UnsupportedMediaType', `the body of the request was in an unknown format: ${contentType}`);
    }
    const [, namespace, plural, name] =
      /^\/(?:api\/v1|apis\/apps\/v1)\/namespaces\/([^/]+)\/(configmaps|secrets|deployments)\/([^/]+)$/.exec(
        asked.path,
      ) ?? [];
    const id = `${namespace}/${name}`;
    if (plural === 'deployments') return this.#aboutDeployment(id, asked);
    const object = this.objects.get(id);
    const kind = plural === 'secrets' ? 'Secret' : 'ConfigMap';
    if (object?.kind !== kind) return refusal(404, 'NotFound', `${plural} "${name}" not found`);
    if (asked.method === 'PATCH') {
      const { metadata, data } = asked.body as {
        metadata?: { resourceVersion?: string };
        data: Record<string, string>;
      };
      if (metadata?.resourceVersion !== undefined && metadata.resourceVersion !== String(object.resourceVersion)) {
        const message = 'the object has been modified; please apply your changes to the latest version and try again';
        return refusal(409, 'Conflict', `Operation cannot be fulfilled on ${plural} "${name}": ${message}`);
      }
      if (object.immutable) {
        // Worse than the real one: it repeats what was sent.
        const message = `data: Invalid value: ${JSON.stringify(data)}: field is immutable when \`immutable\` is set`;
        return refusal(422, 'Invalid', message);
      }
      object.data = { ...object.data, ...data };
      object.resourceVersion++;
    }
    return [200, { kind, metadata: { name, resourceVersion: String(object.resourceVersion) }, data: object.data }];
  }

  #aboutDeployment(id: string, asked: Asked): [number, Json] {
    const found = this.deployments.get(id);
    if (!found) return refusal(404, 'NotFound', `deployments.apps "${id.split('/')[1]}" not found`);
    if (asked.method === 'PATCH') {
      const { spec } = asked.body as { spec: { template: { metadata: { annotations: Record<string, string> } } } };
      const annotations = { ...found.annotations, ...spec.template.metadata.annotations };
      // A template that is the same is no new generation.
      if (JSON.stringify(annotations) !== JSON.stringify(found.annotations)) {
        found.generation++;
        found.looks = 0;
      }
      found.annotations = annotations;
    }
    const rolls = found.generation > 1;
    const look = rolls
      ? (found.rollout[Math.min(found.looks, found.rollout.length - 1)] ?? {})
      : everyReplica(found.wanted);
    if (asked.method === 'GET') found.looks++;
    const { observed = true, replicas, updated, available, conditions = [] } = look;
    return [
      200,
      {
        kind: 'Deployment',
        metadata: { generation: found.generation },
        spec: { replicas: found.wanted, ...(found.paused && { paused: true }) },
        // Counts of 0 are left out, as Kubernetes leaves them out.
        status: {
          observedGeneration: observed ? found.generation : found.generation - 1,
          ...(replicas && { replicas }),
          ...(updated && { updatedReplicas: updated }),
          ...(available && { availableReplicas: available }),
          conditions,
        },
      },
    ];
  }
}

function refusal(code: number, reason: string, message: string): [number, Json] {
  return [code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code }];
}
