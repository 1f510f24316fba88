/** MSK Replicator against a stand-in that checks requests by AWS's own models; it never ran against AWS. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CutoverError } from '../../contract/errors.ts';
import type { PlanInput } from '../../contract/plan.ts';
import { mskReplicator, mskReplicatorWith } from '../../replicators/msk-replicator.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { serviceModel } from '../support/service-model.ts';
import { type AwsStandIn, arnOf, awsStandIn, failed, provisioned } from './aws-stand-in.ts';
import { endOf, onPaper, type Paper } from './paper-wave.ts';

// AWS's clients look for them here first.
process.env.AWS_ACCESS_KEY_ID = 'AKIDEXAMPLE';
process.env.AWS_SECRET_ACCESS_KEY = 'planted-secret-key';

const kafka = await serviceModel('kafka', '2018-11-14');
const cloudWatch = await serviceModel('cloudwatch', '2010-08-01');
const skip = kafka && cloudWatch ? false : "AWS's service models cannot be had: PyPI's botocore was not fetched";

const patienceMs = 20_000;
const topics = { 'orders.created': 2, 'orders.paid': 1 };
const source = arnOf('eu-west-1', 'legacy');
const target = arnOf('eu-central-1', 'next');
const forward = 'kafka-cutover-orders-all-forward';
const reverse = 'kafka-cutover-orders-all-reverse';
const network = { subnets: ['subnet-1', 'subnet-2'], securityGroups: ['sg-1'] };

async function stage(
  options: { readonly place?: object; readonly replicator?: object } & Omit<Partial<Paper>, 'replicator'> = {},
) {
  assert(kafka && cloudWatch);
  const { place, replicator, ...paper } = options;
  const aws = await awsStandIn(kafka, cloudWatch);
  aws.clusters.set(source, provisioned('kafka.m7g.large', '3.6.0'));
  aws.clusters.set(target, provisioned('express.m7g.large', '3.8.x'));
  const ends = new Map([
    ['orders.created/0', 10n],
    ['orders.created/1', 10n],
    ['orders.paid/0', 5n],
  ]);
  const staged = onPaper({
    topics,
    groups: ['billing'],
    places: {
      msk: {
        kind: 'msk-replicator',
        serviceExecutionRole: 'arn:aws:iam::123456789012:role/replication',
        source: { arn: source, ...network },
        target: { arn: target, ...network },
        endpoints: { kafka: aws.url, cloudwatch: aws.url },
        ...place,
      },
    },
    ...paper,
    replicator: { kind: 'msk-replicator', at: 'msk', ...replicator } as PlanInput['replicator'],
    plan: { fence: { maxHold: '30m' }, ...paper.plan },
  });
  const times = { watchEveryMs: 20, lookEveryMs: 5, stateMaxMs: patienceMs };
  const driver = mskReplicatorWith(times, async () => new Map(ends));
  return { aws, ends, driver, ...staged };
}

/** The list that it was made with. */
function sent<Entry>(
  { replicators }: AwsStandIn,
  name: string,
  list: 'replicationInfoList' | 'kafkaClusters',
): Entry[] {
  const replicator = replicators.get(name);
  assert(replicator, name);
  return replicator.input[list] as Entry[];
}

const states = ({ replicators }: AwsStandIn) => [...replicators].map(([name, { state }]) => `${name} ${state}`);
const asked = (aws: AwsStandIn, operation: string) => aws.asked.filter((name) => name === operation).length;

describe('MSK Replicator', { skip }, () => {
  it('makes a replicator each way before anybody waits, each in the region that it writes to, and copies from the start', async () => {
    const { aws, driver, leg, job } = await stage();
    assert.match(String(await driver.prepare?.(leg('forward'))), /forward made, .*reverse made/);
    assert.deepEqual(states(aws), [`${forward} CREATING`, `${reverse} CREATING`]);
    assert.deepEqual([...aws.regions], ['eu-central-1', 'eu-west-1']);
    const [info] = sent<Record<string, unknown>>(aws, reverse, 'replicationInfoList');
    assert.equal(info?.sourceKafkaClusterArn, target);
    assert.equal(info?.targetKafkaClusterArn, source);
    assert.deepEqual(info?.topicReplication, {
      topicsToReplicate: ['orders\\.created', 'orders\\.paid'],
      detectAndCopyNewTopics: false,
      copyTopicConfigurations: false,
      copyAccessControlListsForTopics: false,
      startingPosition: { type: 'EARLIEST' },
      topicNameConfiguration: { type: 'IDENTICAL' },
    });
    assert.deepEqual(info?.consumerGroupReplication, {
      consumerGroupsToReplicate: ['billing'],
      synchroniseConsumerGroupOffsets: false,
      detectAndCopyNewConsumerGroups: false,
    });
    assert.equal(await driver.prepare?.(leg('forward')), '');
    assert.equal(asked(aws, 'CreateReplicator'), 2);

    aws.metrics.set('MessageLag orders.created', 12).set('ReplicationLatency orders.created', 900);
    const copying = job('forward');
    const running = driver.run(copying.job);
    await waitFor('its metrics', patienceMs, async () => copying.notes().some((note) => note.includes('12 messages')));
    assert.match(
      copying.notes().join(),
      /12 messages not read yet \(which is not how far the copy is\), latency 900 ms/,
    );
    assert.deepEqual(copying.progress(), []);
    assert.deepEqual(await driver.position(leg('forward')), new Map());
    copying.end();
    await endOf(running);
  });

  it('is gone before anything opens, goes on as a new one after a fence that was lifted, and is taken away', async () => {
    const { aws, driver, leg, job } = await stage();
    await driver.prepare?.(leg('forward'));
    assert.equal(await driver.stop(leg('forward')), `MSK replicator ${forward} deleted`);
    assert.deepEqual(
      states(aws).filter((line) => line.startsWith(forward)),
      [],
    );
    assert.equal(await driver.stop(leg('forward')), '');
    const again = job('forward');
    const running = driver.run(again.job);
    await waitFor('another', patienceMs, async () => aws.replicators.get(forward)?.state === 'RUNNING');
    again.end();
    await endOf(running);
    assert.deepEqual(await driver.remove(leg('forward')), [`MSK replicator ${forward}`]);
    assert.deepEqual(await driver.remove(leg('reverse')), [`MSK replicator ${reverse}`]);
    assert.deepEqual(await driver.remove(leg('reverse')), []);
  });

  it('waits for one that is still being deleted before it makes the next of that name', async () => {
    const { aws, driver, leg, job } = await stage();
    await driver.prepare?.(leg('forward'));
    Object.assign(aws.replicators.get(forward) ?? {}, { state: 'DELETING', looks: 0 });
    const again = job('forward');
    const running = driver.run(again.job);
    await waitFor('another', patienceMs, async () => aws.replicators.get(forward)?.state === 'RUNNING');
    assert.equal(asked(aws, 'CreateReplicator'), 3);
    again.end();
    await endOf(running);
  });

  it('is left where the plan says so, and says what that means', async () => {
    const { aws, driver, leg } = await stage({ replicator: { atSwitch: 'leave' } });
    await driver.prepare?.(leg('forward'));
    assert.match(await driver.stop(leg('forward')), /stays, with nothing left to copy: only its own filter/);
    assert.equal(asked(aws, 'DeleteReplicator'), 0);
  });

  it('is changed to what the wave moves now', async () => {
    const { aws, driver, leg } = await stage({
      plan: { rollback: { reverseMirror: false }, fence: { maxHold: '30m' } },
    });
    await driver.prepare?.(leg('forward'));
    const [info] = sent<{ topicReplication: Record<string, unknown> }>(aws, forward, 'replicationInfoList');
    assert(info);
    info.topicReplication.topicsToReplicate = ['orders\\.created'];
    assert.match(String(await driver.prepare?.(leg('forward'))), /forward changed/);
    assert.deepEqual(info.topicReplication.topicsToReplicate, ['orders\\.created', 'orders\\.paid']);
    assert.equal(await driver.prepare?.(leg('forward')), '');
    assert.equal(asked(aws, 'UpdateReplicationInfo'), 1);
  });

  it('takes latency 0 of a topic that grows for what it is: a topic that the replicator may not touch', async () => {
    const { aws, ends, driver, leg, job } = await stage();
    await driver.prepare?.(leg('forward'));
    aws.metrics.set('MessageLag orders.paid', 0).set('ReplicationLatency orders.paid', 0);
    aws.metrics.set('MessageLag orders.created', 0).set('ReplicationLatency orders.created', 0);
    const copying = job('forward');
    const running = driver.run(copying.job);
    running.catch(() => {});
    // Idle topics have that latency too.
    const looks = () => asked(aws, 'GetMetricData');
    await waitFor('looks', patienceMs, async () => looks() > 6);
    const growing = setInterval(() => ends.set('orders.paid/0', (ends.get('orders.paid/0') ?? 0n) + 1n), 1);
    await assert
      .rejects(
        running,
        coded('REPLICATOR_FAILED', /may not touch the topic.*topic orders\.paid.*ReplicationLatency 0 at 3 looks/s),
      )
      .finally(() => clearInterval(growing));
  });

  it('stops at a refused login and at a replicator that failed', async () => {
    const { aws, driver, leg, job } = await stage();
    await driver.prepare?.(leg('forward'));
    aws.metrics.set('AuthError', 3);
    await assert.rejects(
      driver.run(job('forward').job),
      coded('REPLICATOR_FAILED', /refused by a cluster.*3 AuthErrors/s),
    );
    aws.metrics.clear();
    Object.assign(aws.replicators.get(forward) ?? {}, { state: 'FAILED' });
    await assert.rejects(
      driver.run(job('forward').job),
      coded('REPLICATOR_FAILED', /FAILED, ACCESS_DENIED, cannot reach the source/),
    );
  });

  it("never touches somebody else's replicator of that name", async () => {
    const { aws, driver, leg } = await stage();
    await driver.prepare?.(leg('forward'));
    Object.assign(aws.replicators.get(forward) ?? {}, { tags: {} });
    for (const verb of ['stop', 'remove'] as const) {
      await assert.rejects(
        async () => driver[verb](leg('forward')),
        coded('REPLICATOR_REFUSED', /of that name is not ours.*found tag kafka-cutover: none/s),
      );
    }
    assert.equal(asked(aws, 'DeleteReplicator'), 0);
  });

  it("tells AWS's refusals from its troubles, and shows no secret", async () => {
    const { aws, driver, leg } = await stage();
    aws.failures.push(failed('ForbiddenException', 403, 'not authorized to perform kafka:ListReplicators'));
    await assert.rejects(
      async () => driver.prepare?.(leg('forward')),
      coded(
        'REPLICATOR_REFUSED',
        /Amazon MSK in eu-central-1, list replicators.*403.*kafka:ListReplicators.*IAM action/s,
      ),
    );
    for (let attempt = 0; attempt < 3; attempt++) {
      aws.failures.push(failed('ServiceUnavailableException', 503, 'later'));
    }
    await assert.rejects(async () => driver.prepare?.(leg('forward')), coded('REPLICATOR_UNREACHABLE', /status 503/));
  });

  it('reads a cluster outside of MSK by its secret', async () => {
    const secret = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:legacy-abc';
    const { aws, driver, leg } = await stage({
      place: { source: { secret, ...network } },
      plan: { rollback: { reverseMirror: false }, fence: { maxHold: '30m' } },
    });
    await driver.prepare?.(leg('forward'));
    const [outside] = sent<object>(aws, forward, 'kafkaClusters');
    assert.deepEqual(outside, {
      apacheKafkaCluster: { apacheKafkaClusterId: 'legacy-id', bootstrapBrokerString: 'legacy-1:9093' },
      vpcConfig: { subnetIds: network.subnets, securityGroupIds: network.securityGroups },
      clientAuthentication: { saslScram: { mechanism: 'SHA512', secretArn: secret } },
      encryptionInTransit: { encryptionType: 'TLS' },
    });
    assert.deepEqual(await driver.remove(leg('reverse')), []);
  });
});

describe('preflight, asked about MSK Replicator', { skip }, () => {
  const blockers = async (staged: Awaited<ReturnType<typeof stage>>) =>
    (await mskReplicator.plan(staged.inquiry))
      .filter(({ severity }) => severity === 'blocker')
      .map(({ code, message }) => `${code} ${message}`)
      .join('\n');

  it('finds nothing in the way, and makes nothing', async () => {
    const staged = await stage();
    assert.equal(await blockers(staged), '');
    assert.deepEqual(staged.aws.asked, ['DescribeClusterV2', 'DescribeClusterV2']);
    const risks = (await mskReplicator.plan(staged.inquiry)).filter(({ code }) => code === 'REPLICATOR_RISK');
    assert.match(risks.map(({ message }) => message).join('\n'), /other offsets.*__mskmr.*at least once/s);
  });

  it('finds clusters that it cannot work with', async () => {
    const staged = await stage();
    staged.aws.clusters.set(source, provisioned('kafka.m5.large', '2.7.2', { iam: false }));
    staged.aws.clusters.delete(target);
    const found = await blockers(staged);
    assert.match(found, /IAM access control is off/);
    assert.match(found, /Kafka 2\.7\.2; identical topic names need 2\.8\.1/);
    assert.match(found, /REPLICATOR_REFUSED .*does not exist/);
  });

  it('finds a fence that ends before the replicator is gone, and another account', async () => {
    const short = await stage({ plan: { fence: { maxHold: '60s' } } });
    assert.match(
      await blockers(short),
      /deleting it takes minutes while applications wait, and fence\.maxHold is 60 s/,
    );
    const left = await stage({ plan: { fence: { maxHold: '60s' } }, replicator: { atSwitch: 'leave' } });
    assert.equal(await blockers(left), '');
    const elsewhere = source.replace('123456789012', '999999999999');
    const other = await stage({ place: { source: { arn: elsewhere, ...network } } });
    assert.match(await blockers(other), /different AWS accounts \(999999999999, 123456789012\)/);
  });

  it('finds what a source outside of MSK rules out', async () => {
    const secret = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:legacy-abc';
    const staged = await stage({
      place: { source: { secret, ...network } },
      clusters: { legacy: { bootstrap: 'legacy-1:9092' } },
    });
    staged.aws.clusters.set(target, provisioned('kafka.m7g.large', '3.8.x'));
    const found = await blockers(staged);
    assert.match(found, /writes to clusters of MSK alone, so nothing carries back to legacy/);
    assert.match(found, /read over SASL\/SCRAM with TLS/);
    assert.match(found, /brokers are kafka\.m7g\.large; from outside of MSK it writes to Express brokers alone/);
  });
});

function coded(code: string, message: RegExp) {
  return (error: unknown) => {
    assert.equal(error instanceof CutoverError && error.code, code, String(error));
    assert.match((error as Error).message, message);
    assert.doesNotMatch((error as Error).message, /planted/);
    return true;
  };
}
