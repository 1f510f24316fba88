/** What can be held about the Kubernetes manifests where no Kubernetes runs: that they fit each other, the command line and the documents. */
import assert from 'node:assert/strict';
import { globSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { rootCertificates } from 'node:tls';
import { parseAllDocuments } from 'yaml';
import { readSlackPolicy } from '../../client/slack/policy.ts';
import { taskQueues } from '../../contract/status.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { shutdownForceMs } from '../../worker/worker.ts';
import { run, written } from '../client/command-line.ts';

interface Probe {
  readonly exec?: { readonly command: readonly string[] };
}

interface Container {
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly configMapKeyRef: { readonly name: string; readonly key: string } };
  }[];
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly stringData?: Readonly<Record<string, string>>;
  readonly spec?: Readonly<Record<string, unknown>>;
}

interface Pod {
  readonly terminationGracePeriodSeconds: number;
  readonly automountServiceAccountToken: boolean;
  readonly securityContext: { readonly runAsNonRoot: boolean; readonly runAsUser: number };
  readonly containers: readonly Container[];
  readonly volumes: readonly {
    readonly name: string;
    readonly configMap?: { readonly name: string };
    readonly secret?: { readonly secretName: string };
  }[];
}

/** What KEDA's scaler `temporal` takes (keda.sh/docs/2.22/scalers/temporal), as far as it stays. */
const scalerKeys = ['endpoint', 'namespace', 'taskQueue', 'queueTypes', 'targetQueueSize', 'activationTargetQueueSize'];

const root = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const manifests = globSync(join(root, 'examples/kubernetes/*.yaml')).flatMap((path) =>
  parseAllDocuments(readFileSync(path, 'utf8')).map((document): Manifest => {
    assert.deepEqual(document.errors, [], basename(path));
    return document.toJS() as Manifest;
  }),
);
const named = (kind: string, name: string) =>
  manifests.find((one) => one.kind === kind && one.metadata.name === name) ?? assert.fail(`no ${kind} ${name}`);
const deployments = manifests.filter(({ kind }) => kind === 'Deployment');
const podOf = ({ spec }: Manifest) => (spec as unknown as { template: { spec: Pod } }).template.spec;
const containerOf = (deployment: Manifest) => podOf(deployment).containers[0] as Container;

describe('the Kubernetes manifests', () => {
  it('are all of one namespace, and of one image, the version of the package', () => {
    for (const { kind, metadata } of manifests)
      assert.equal(
        kind === 'Namespace' ? metadata.name : metadata.namespace,
        'kafka-cutover',
        `${kind} ${metadata.name}`,
      );
    const { version } = JSON.parse(read('package.json')) as { version: string };
    assert.equal(deployments.length, 3);
    for (const one of deployments) assert.ok(containerOf(one).image.endsWith(`/kafka-cutover:${version}`));
  });

  it('run nothing as root, and nothing that can write or ask the cluster', () => {
    for (const deployment of deployments) {
      const { securityContext, automountServiceAccountToken } = podOf(deployment);
      assert.deepEqual([securityContext.runAsNonRoot, automountServiceAccountToken], [true, false]);
      assert.match(read('Dockerfile'), new RegExp(`^USER ${securityContext.runAsUser}$`, 'm'));
      assert.deepEqual(containerOf(deployment).securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
  });

  it('leave a worker the time that it takes to stop', () => {
    for (const one of deployments) {
      const graceMs = podOf(one).terminationGracePeriodSeconds * 1000;
      assert.ok(graceMs > shutdownForceMs && graceMs <= 2 * shutdownForceMs, String(graceMs));
    }
  });

  it('keep a worker of each kind where nodes are drained, rolled out or lost, and select pods that there are', () => {
    for (const name of ['kafka-cutover-control', 'kafka-cutover-mirror']) {
      const deployment = named('Deployment', name);
      const labels = { matchLabels: { app: name } };
      const pod = podOf(deployment) as Pod & { readonly topologySpreadConstraints: readonly object[] };
      assert.partialDeepStrictEqual(deployment.spec, {
        selector: labels,
        strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
        template: { metadata: { labels: labels.matchLabels } },
      });
      assert.deepEqual(named('PodDisruptionBudget', name).spec, { maxUnavailable: 1, selector: labels });
      assert.partialDeepStrictEqual(pod.topologySpreadConstraints[0], { labelSelector: labels });
    }
  });

  it('let nobody ask a pod anything, but one namespace the metrics of workers', () => {
    assert.deepEqual(named('NetworkPolicy', 'kafka-cutover').spec, { podSelector: {}, policyTypes: ['Ingress'] });
    const { ingress, podSelector } = named('NetworkPolicy', 'kafka-cutover-workers').spec as {
      podSelector: { matchExpressions: readonly { readonly values: readonly string[] }[] };
      ingress: readonly { readonly from: readonly object[]; readonly ports: readonly { readonly port: number }[] }[];
    };
    const workers = deployments.filter((one) => containerOf(one).args[0] === 'worker');
    assert.deepEqual(
      podSelector.matchExpressions[0]?.values,
      workers.map(({ metadata }) => metadata.name),
    );
    assert.ok(ingress.every(({ from, ports }) => from.length === 1 && ports.length === 1));
    for (const worker of workers) {
      const { value } = containerOf(worker).env.find(({ name }) => name === 'KAFKA_CUTOVER_METRICS') ?? {};
      assert.deepEqual(value, `0.0.0.0:${ingress[0]?.ports[0]?.port}`);
    }
  });

  it('say command lines that the command line takes', async () => {
    const lines = deployments.flatMap((deployment) => {
      const { args, startupProbe, readinessProbe } = containerOf(deployment);
      const probes = [startupProbe, readinessProbe].flatMap((probe) => (probe?.exec ? [probe.exec.command] : []));
      for (const [node, bin] of probes) assert.deepEqual([node, bin], ['node', 'bin/kafka-cutover.js']);
      return [args, ...probes.map((command) => command.slice(2))];
    });
    assert.equal(lines.length, 7);
    for (const args of new Set(lines.map((line) => line.join(' ')))) {
      // Taken, and then refused for what it is given here.
      const nothing = {
        KAFKA_CUTOVER_CLUSTERS: '/dev/null',
        KAFKA_CUTOVER_SLACK: '/dev/null',
        KAFKA_CUTOVER_METRICS: '127.0.0.1:1',
      };
      const { code } = (await run([...args.split(' '), '--json'], nothing)).json().error as { code: string };
      assert.match(code, /^(CLUSTERS_INVALID|SLACK_INVALID|WORKER_UNHEALTHY)$/, args);
    }
  });

  it('give variables that are documented, from entries that are there', () => {
    const documented = read('docs/cli.md');
    for (const deployment of deployments) {
      for (const { name, value, valueFrom } of containerOf(deployment).env) {
        assert.ok(documented.includes(`\`${name}\``), name);
        const from = valueFrom?.configMapKeyRef;
        const given = value ?? named('ConfigMap', from?.name ?? '').data?.[from?.key ?? ''];
        assert.ok(given, name);
      }
    }
  });

  it('mount files that the product reads: clusters.yaml and slack.yaml, each secret of theirs in a Secret', () => {
    for (const deployment of deployments) {
      const { volumes } = podOf(deployment);
      const { volumeMounts, env } = containerOf(deployment);
      for (const { name } of volumeMounts) assert.ok(volumes.some((volume) => volume.name === name));
      const config = named('ConfigMap', volumes.find(({ configMap }) => configMap)?.configMap?.name ?? '');
      const secret = named('Secret', volumes.find((volume) => volume.secret)?.secret?.secretName ?? '');
      const mountedAt = volumeMounts.find(({ name }) => name === 'secrets')?.mountPath ?? '';
      const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-kubernetes-'));
      for (const key of Object.keys(secret.stringData ?? {})) {
        writeFileSync(join(folder, key), key.endsWith('.pem') ? (rootCertificates[0] ?? '') : 'a-secret');
      }
      const file = env.find(({ name }) => /CLUSTERS|SLACK/.test(name))?.value ?? '';
      const key = basename(file);
      assert.equal(file, `${volumeMounts.find(({ name }) => name === 'config')?.mountPath}/${key}`);
      const text = (config.data?.[key] ?? '').replaceAll(mountedAt, folder);
      if (key === 'slack.yaml') {
        assert.equal(readSlackPolicy(written(text), {}).channel, 'C0123456789');
        continue;
      }
      const { clusters } = parseClusters(text, file, {});
      assert.deepEqual([...clusters.keys()], ['legacy', 'next']);
      for (const cluster of clusters.values())
        assert.deepEqual(Object.values(cluster.hasOwnPrincipal), [true, true], 'mirrors have logins of their own');
    }
  });

  it('scale the mirror by its own task queue, and never to nothing', () => {
    const scaled = named('ScaledObject', 'kafka-cutover-mirror').spec as {
      scaleTargetRef: { name: string };
      minReplicaCount: number;
      triggers: { type: string; metadata: Record<string, string> }[];
    };
    const { args, env } = containerOf(named('Deployment', scaled.scaleTargetRef.name));
    assert.deepEqual(args, ['worker', '--only', 'mirror']);
    assert.ok(scaled.minReplicaCount >= 1);
    const [temporal] = scaled.triggers;
    for (const key of Object.keys(temporal?.metadata ?? {})) assert.ok(scalerKeys.includes(key), key);
    const config = named('ConfigMap', 'kafka-cutover').data;
    assert.partialDeepStrictEqual(temporal, {
      type: 'temporal',
      metadata: {
        taskQueue: taskQueues.mirror,
        endpoint: config?.TEMPORAL_ADDRESS,
        namespace: config?.TEMPORAL_NAMESPACE,
      },
    });
    assert.ok(env.some(({ name }) => name === 'TEMPORAL_NAMESPACE'));
  });
});
