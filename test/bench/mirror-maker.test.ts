import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mirroredTopic, mirrorMakerProperties } from '../../bench/mirror-maker.ts';
import type { LocalCluster } from '../../stack/cluster.ts';

const cluster = (name: 'source' | 'target', bootstrap: string) =>
  ({
    name,
    bootstrap,
    clientProperties: (user: string) => `sasl.mechanism=PLAIN\nsasl.jaas.config=of ${user} at ${name};\n`,
  }) as LocalCluster;

describe("MirrorMaker 2's settings", () => {
  const run = { alias: 'run3', topic: 'orders', tasks: 4, producer: { 'compression.type': 'lz4' } };
  const properties = mirrorMakerProperties(run, cluster('source', 's:1'), cluster('target', 't:1'));

  it('copy one way, one topic, with a task a partition', () => {
    assert.equal(properties['run3->target.enabled'], 'true');
    assert.equal(properties['target->run3.enabled'], 'false');
    assert.equal(properties['run3->target.topics'], 'orders');
    assert.equal(properties['tasks.max'], '4');
    assert.equal(mirroredTopic(run), 'run3.orders');
  });

  it('log in to each cluster as itself', () => {
    assert.equal(properties['run3.bootstrap.servers'], 's:1');
    assert.equal(properties['target.bootstrap.servers'], 't:1');
    assert.equal(properties['run3.sasl.jaas.config'], 'of cutover at source;');
    assert.equal(properties['target.sasl.jaas.config'], 'of cutover at target;');
  });

  it("are tuned for throughput, and a row's own settings win", () => {
    assert.equal(properties['target.producer.batch.size'], '327680');
    assert.equal(properties['target.producer.acks'], 'all');
    assert.equal(properties['target.producer.compression.type'], 'lz4');
    assert.equal(properties['run3.consumer.fetch.max.bytes'], '52428800');
  });
});
