/** What can be held about the Docker stack where no Docker runs: that its files fit each other and stack/. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { parseClusters } from '../../kafka/clusters.ts';
import { shutdownForceMs } from '../../worker/worker.ts';

interface Service {
  image?: string;
  build?: string;
  hostname?: string;
  env_file?: string;
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  entrypoint?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test?: string[]; disable?: boolean };
  profiles?: string[];
  command?: string[];
  stop_grace_period?: string;
}

const root = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const compose = parse(read('docker-compose.yml'), { merge: true }) as {
  services: Record<'source' | 'target' | 'temporal' | 'worker' | 'slack' | 'prometheus' | 'grafana', Service>;
  volumes: Record<string, null>;
};
const { services } = compose;
const startScript = 'examples/docker/start-kafka.sh';
const stackEnv = Object.fromEntries(
  read('examples/docker/stack.env')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split('=') as [string, string]),
);

describe('the Docker stack', () => {
  test('has the same Kafka versions as the stack without Docker', () => {
    const versions = /defaultVersions = \{ source: '(.+)', target: '(.+)' \}/.exec(read('stack/stack.ts'));
    assert.equal(services.source.image, `apache/kafka:${versions?.[1]}`);
    assert.equal(services.target.image, `apache/kafka:${versions?.[2]}`);
  });

  test('mounts only files that exist, and volumes that it declares', () => {
    for (const volume of Object.values(services).flatMap((service) => service.volumes ?? [])) {
      const [from = ''] = volume.split(':');
      assert.ok(from.startsWith('./') ? existsSync(join(root, from)) : from in compose.volumes, volume);
    }
    for (const service of Object.values(services)) {
      if (service.env_file) assert.ok(existsSync(join(root, service.env_file)), service.env_file);
      for (const name of Object.keys(service.depends_on ?? {})) assert.ok(name in services, name);
    }
  });

  test('is open to this machine only', () => {
    const ports = Object.values(services).flatMap((service) => service.ports ?? []);
    assert.equal(ports.length, 6);
    for (const port of ports) assert.match(port, /^127\.0\.0\.1:(\d+):\1$/);
  });

  for (const [file, sourceAddress, targetAddress] of [
    ['clusters.yaml', 'source:9092', 'target:9092'],
    ['clusters.host.yaml', 'localhost:19092', 'localhost:29092'],
  ] as const) {
    test(`has a ${file} that the product reads, with credentials that its brokers are given`, () => {
      const { clusters } = parseClusters(read(`examples/docker/${file}`), file, stackEnv);
      assert.deepEqual(clusters.get('legacy')?.bootstrap, [sourceAddress]);
      assert.deepEqual(clusters.get('next')?.bootstrap, [targetAddress]);
      for (const cluster of clusters.values()) {
        assert.equal(cluster.credentials.own.sasl?.username, 'cutover');
        assert.equal(cluster.credentials.forward.sasl?.username, 'mirror-forward');
        assert.equal(cluster.credentials.reverse.sasl?.username, 'mirror-reverse');
      }
    });
  }

  test('advertises to this machine the ports that it publishes, and to containers its own name', () => {
    for (const name of ['source', 'target'] as const) {
      const advertised = services[name].environment?.ADVERTISED_ON_HOST ?? '';
      assert.deepEqual(services[name].ports, [`127.0.0.1:${advertised.split(':')[1]}:${advertised.split(':')[1]}`]);
      assert.equal(services[name].hostname, name);
      assert.deepEqual(services[name].entrypoint, ['/bin/bash', '/stack/start-kafka.sh']);
      assert.equal(Buffer.from(services[name].environment?.CLUSTER_ID ?? '', 'base64url').length, 16);
    }
    assert.notEqual(services.source.environment?.CLUSTER_ID, services.target.environment?.CLUSTER_ID);
  });

  test('starts its brokers with a script that is valid and uses only variables that it is given', () => {
    execFileSync('bash', ['-n', join(root, startScript)]);
    const given = new Set([...Object.keys(stackEnv), 'CLUSTER_ID', 'ADVERTISED_ON_HOST', 'HOSTNAME']);
    for (const [, name = ''] of read(startScript).matchAll(/\$\{?([A-Z][A-Z_]+)/g)) assert.ok(given.has(name), name);
  });

  test('protects its brokers as the stack without Docker does', () => {
    const script = read(startScript);
    for (const line of [
      'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users=User:broker;User:cutover',
      'allow.everyone.if.no.acl.found=false',
      'auto.create.topics.enable=false',
    ]) {
      assert.ok(script.includes(`\n${line}\n`), line);
      const [key, value] = line.split('=');
      assert.ok(read('stack/cluster.ts').includes(`'${key}': '${value}'`), line);
    }
    assert.doesNotMatch(script, /PLAINTEXT(?<!SASL_PLAINTEXT)/);
  });

  test('shows metrics and Slack only to those who ask for them, and Prometheus scrapes where the worker listens', () => {
    const profiles = Object.entries(services).flatMap(([name, { profiles = [] }]) =>
      profiles.map((one) => `${name} ${one}`),
    );
    assert.deepEqual(profiles, ['slack slack', 'prometheus monitoring', 'grafana monitoring']);
    const port = services.worker.environment?.KAFKA_CUTOVER_METRICS?.split(':')[1];
    assert.ok(read('examples/monitoring/prometheus.yaml').includes(`targets: ["worker:${port}"]`));
    assert.deepEqual([services.slack.command, services.slack.healthcheck], [['slack'], { disable: true }]);
    const [, folder] = /path: (\S+) /.exec(read('examples/monitoring/grafana-dashboards.yaml')) ?? [];
    assert.ok(services.grafana.volumes?.some((volume) => volume.includes(`:${folder}/`)));
    assert.match(read('examples/monitoring/grafana-datasource.yaml'), /url: "http:\/\/prometheus:9090"/);
  });

  test('builds a worker image that does not run as root', () => {
    const dockerfile = read('Dockerfile');
    for (const service of [services.worker, services.slack]) {
      assert.partialDeepStrictEqual(service, { build: '.', read_only: true, tmpfs: ['/tmp'], cap_drop: ['ALL'] });
      const graceMs = Number.parseInt(service.stop_grace_period ?? '', 10) * 1_000;
      assert.ok(graceMs > shutdownForceMs && graceMs <= 2 * shutdownForceMs, service.stop_grace_period);
    }
    assert.match(dockerfile, /^FROM node:24-slim AS build$/m);
    assert.match(dockerfile, /^USER 1000$/m);
    assert.match(dockerfile, /^ENTRYPOINT \["node", "bin\/kafka-cutover\.js"\]\nCMD \["worker"\]$/m);
    assert.match(dockerfile, /^HEALTHCHECK .* CMD \["node", "bin\/kafka-cutover\.js", "worker", "--health"\]$/m);
    assert.match(dockerfile, /^ENV KAFKA_CUTOVER_METRICS=127\.0\.0\.1:\d+$/m);
    const ignored = read('.dockerignore').split('\n');
    for (const [, path = ''] of dockerfile.matchAll(/^COPY (?!--from)(\S+)/gm))
      assert.ok(!ignored.includes(path), path);
  });
});
