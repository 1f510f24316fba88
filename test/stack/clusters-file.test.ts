import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { parseClusters } from '../../kafka/clusters.ts';
import {
  clusterEntry,
  clusterEnvironment,
  clustersYaml,
  entryFromOutside,
  envFile,
} from '../../stack/clusters-file.ts';

const users = { cutover: 'c', 'mirror-forward': 'f', 'mirror-reverse': 'r', 'app-writer-1': 'w' };
const source = { name: 'source' as const, bootstrap: '127.0.0.1:1,127.0.0.1:2', users };
const target = { name: 'target' as const, bootstrap: '127.0.0.1:3', users };

describe('the stack’s clusters.yaml', () => {
  const yaml = clustersYaml({ source: clusterEntry(source), target: clusterEntry(target) });
  const env = { ...clusterEnvironment(source), ...clusterEnvironment(target) };

  test('is read by the product, with three principals for each cluster', () => {
    const { clusters } = parseClusters(yaml, 'clusters.yaml', env);
    assert.deepEqual([...clusters.keys()], ['legacy', 'next']);
    const legacy = clusters.get('legacy');
    assert.deepEqual(legacy?.bootstrap, ['127.0.0.1:1', '127.0.0.1:2']);
    assert.deepEqual(legacy?.credentials.own.sasl, {
      mechanism: 'scram-sha-512',
      username: 'cutover',
      password: 'c',
    });
    assert.equal(legacy?.credentials.forward.sasl?.username, 'mirror-forward');
    assert.equal(legacy?.credentials.reverse.sasl?.password, 'r');
    assert.deepEqual(legacy?.hasOwnPrincipal, { forward: true, reverse: true });
  });

  test('holds no password', () => {
    const secrets = { cutover: 's3cret-a', 'mirror-forward': 's3cret-b', 'mirror-reverse': 's3cret-c' };
    assert.doesNotMatch(clustersYaml({ source: clusterEntry({ ...source, ...{ users: secrets } }) }), /s3cret/);
  });

  test('holds only the clusters that were asked for', () => {
    assert.deepEqual(Object.keys(parse(clustersYaml({ target: clusterEntry(target) }))), ['next']);
  });

  test('comes with an environment that a shell can read, whatever is in it', () => {
    assert.equal(envFile({ A: "it's", B: '$HOME' }), `export A='it'\\''s'\nexport B='$HOME'\n`);
  });

  test('takes an outside cluster’s entry, and says when nothing describes that cluster', async (context) => {
    const folder = await mkdtemp(join(tmpdir(), 'kafka-cutover-clusters-'));
    context.after(() => rm(folder, { recursive: true }));
    const path = join(folder, 'clusters.yaml');
    await writeFile(path, 'legacy: { bootstrap: "kafka:9092", tls: { ca: { file: ca.pem } } }\n');

    const entry = entryFromOutside(path, 'source', 'kafka:9092');

    assert.deepEqual(entry, { bootstrap: 'kafka:9092', tls: { ca: { file: join(folder, 'ca.pem') } } });
    assert.throws(() => entryFromOutside(undefined, 'source', 'kafka:9092'), /KAFKA_CUTOVER_STACK_CLUSTERS/);
    assert.throws(() => entryFromOutside(path, 'target', 'kafka:9092'), /no such entry.*`next`/);
    assert.throws(() => entryFromOutside(path, 'source', 'other:9092'), /bootstrap kafka:9092.*bootstrap other:9092/);
    assert.throws(() => entryFromOutside(join(folder, 'none'), 'source', 'kafka:9092'), /STACK_UNAVAILABLE/);
  });
});
