/** What preflight says about MSK Replicator here. Facts about it: docs/replicators-vendors.md names the sources. */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import type { ReplicatorPlan } from '../contract/plan.ts';
import type { MskReplicatorPlace } from '../kafka/replicator-places.ts';
import type { Side } from '../migration/change.ts';
import { MskApi } from './msk-api.ts';
import type { Inquiry } from './replicator.ts';

/** AWS's quota. */
const topicsMax = 750;
/** Less, and the fence may end while the replicator is being deleted. A guess: AWS does not say how long that takes (docs/replicators-vendors.md). */
const deletionMs = 1_200_000;

const here = 'replicator msk-replicator';

const cannot = (where: string, message: string, next?: string): Finding =>
  finding('REPLICATOR_CANNOT', where, message, next);
const leaves = (message: string): Finding => finding('REPLICATOR_LEAVES', here, message);
const risk = (message: string, next?: string): Finding => finding('REPLICATOR_RISK', here, message, next);

export async function mskReplicatorFindings(inquiry: Inquiry): Promise<readonly Finding[]> {
  const { replicator } = inquiry.plan;
  if (replicator.kind !== 'msk-replicator') return [];
  const place = inquiry.file.replicator(replicator.at, 'msk-replicator');
  return [
    ...aboutPlace(place, inquiry),
    ...aboutPlan(replicator, inquiry),
    ...aboutRecords(inquiry),
    ...(inquiry.running ? [] : await aboutClusters(place, inquiry)),
  ];
}

function aboutPlace({ target, source, name }: MskReplicatorPlace, { plan, clusters }: Inquiry): Finding[] {
  const found: Finding[] = [];
  const where = `replicators.${name}`;
  const account = (arn: string) => arn.split(':')[4];
  if ('arn' in source) {
    if (account(source.arn) !== account(target.arn)) {
      found.push(
        cannot(
          where,
          `source and target are in different AWS accounts (${account(source.arn)}, ${account(target.arn)})`,
        ),
      );
    }
    return found;
  }
  const { config } = clusters.source;
  const login = config.credentials.forward;
  if (!login.tls || !login.sasl?.mechanism.startsWith('scram')) {
    found.push(
      cannot(
        `cluster ${config.name}`,
        'a source outside of MSK is read over SASL/SCRAM with TLS, and its bootstrap addresses here are of another listener',
        'Name its SASL_SSL listener with SCRAM in clusters.yaml.',
      ),
    );
  }
  if (plan.rollback.reverseMirror) {
    found.push(
      cannot(
        'plan rollback.reverseMirror',
        `it writes to clusters of MSK alone, so nothing carries back to ${plan.source}`,
        'Set rollback.reverseMirror to false and waive ROLLBACK_IMPOSSIBLE, or choose a replicator that can.',
      ),
    );
  }
  return found;
}

function aboutPlan(replicator: ReplicatorPlan<'msk-replicator'>, { plan, inventory }: Inquiry): Finding[] {
  const found: Finding[] = [];
  const { topics, groups } = inventory.structural;
  if (topics.length > topicsMax) {
    found.push(
      cannot(
        'plan topics',
        `${topics.length} topics, and one replicator takes ${topicsMax}`,
        'Split the plan into waves.',
      ),
    );
  }
  if (replicator.atSwitch === 'delete' && plan.fence.maxHold < deletionMs) {
    found.push(
      cannot(
        'plan replicator.atSwitch',
        `deleting it takes minutes while applications wait, and fence.maxHold is ${plan.fence.maxHold / 1000} s`,
        'Set fence.maxHold to 20m or more and raise delivery.timeout.ms of producers, or set replicator.atSwitch to leave.',
      ),
    );
  }
  if (replicator.atSwitch === 'leave') {
    found.push(
      risk(
        'it stays after the switch: one that begins again where it last noted its place writes its last records once more, among those of applications; and nothing but its own filter keeps it from copying back what the way back brings',
        'Set replicator.atSwitch to delete where applications can wait for minutes.',
      ),
    );
  }
  if (plan.rollback.reverseMirror) {
    found.push(
      risk(
        'the way back begins at the start of the logs: that it leaves out what came from the source rests on its own filter (header __mskmr), and costs as much traffic as the way there',
      ),
    );
  }
  found.push(
    leaves(
      'settings and literal READ rules of topics, without WRITE, prefixes, groups: switched off, since our steps carry all of them',
    ),
  );
  if (groups.length > 0) {
    found.push(
      leaves(
        `its positions are approximate, and only of groups without members: switched off; we carry ${groups.length} groups ourselves, proven record by record`,
      ),
    );
  }
  found.push(
    leaves(
      'it begins at the end of the logs by default, and creates topics at replication factor 3: set to EARLIEST, and we create topics',
    ),
  );
  if (plan.mirror.shards > 1 || plan.mirror.maxBytesPerSecond > 0) {
    found.push(
      leaves('shards and maxBytesPerSecond are of our own mirror: it scales itself, and takes quotas of the clusters'),
    );
  }
  return found;
}

function aboutRecords({ plan }: Inquiry): Finding[] {
  return [
    risk(
      `records have other offsets on ${plan.target}: positions that are kept outside Kafka (Flink, Iceberg, databases) are of no use there`,
    ),
    risk('each record gets a header (__mskmr), which consumers see; it must not be taken away while a way back exists'),
    risk('at least once: what it had not noted when a part of it ends is written again'),
  ];
}

/** Whether AWS answers, and both clusters are what it takes. Makes nothing. */
async function aboutClusters(place: MskReplicatorPlace, { plan }: Inquiry): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const side of ['target', 'source'] as const) {
    const cluster = place[side];
    if (!('arn' in cluster)) continue;
    const where = `cluster ${plan[side]}, ${cluster.arn}`;
    try {
      const api = await MskApi.open(place, cluster.arn.split(':')[3] ?? '');
      try {
        found.push(...(await aboutCluster(api, place, side, where)));
      } finally {
        api.close();
      }
    } catch (error) {
      if (!(error instanceof CutoverError)) throw error;
      const { what, where: at, found: answer, next } = error.detail;
      found.push(finding(error.code, where, [what, at, answer].filter(Boolean).join(', '), next));
    }
  }
  return found;
}

async function aboutCluster(api: MskApi, place: MskReplicatorPlace, side: Side, where: string): Promise<Finding[]> {
  const cluster = place[side];
  if (!('arn' in cluster)) return [];
  const found: Finding[] = [];
  const { state, serverless, instanceType, version, iam } = await api.cluster(cluster.arn);
  if (state !== 'ACTIVE') found.push(cannot(where, `the cluster is ${state}, wanted ACTIVE`, 'Wait until it is.'));
  if (!iam) {
    found.push(
      cannot(where, 'IAM access control is off, by which the replicator logs in', 'Switch it on for the cluster.'),
    );
  }
  if (!serverless && isOlder(version, [2, 8, 1])) {
    found.push(cannot(where, `Kafka ${version}; identical topic names need 2.8.1 or later`, 'Upgrade the cluster.'));
  }
  if (side === 'target' && !('arn' in place.source) && !instanceType.startsWith('express.')) {
    const kind = serverless ? 'serverless' : instanceType;
    found.push(
      cannot(
        where,
        `brokers are ${kind}; from outside of MSK it writes to Express brokers alone`,
        'Choose an Express cluster.',
      ),
    );
  }
  return found;
}

/** `3.6.0`, `2.8.1`, `3.7.x.kraft`. */
function isOlder(version: string, than: readonly [number, number, number]): boolean {
  const parts = version.split('.').map((part) => Number.parseInt(part, 10));
  for (const [index, wanted] of than.entries()) {
    const part = parts[index] ?? 0;
    if (Number.isNaN(part) || part > wanted) return false;
    if (part < wanted) return true;
  }
  return false;
}
