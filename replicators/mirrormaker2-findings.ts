/**
 * What preflight says about MirrorMaker 2 here: what cannot work, what stays a risk, and which of its traps our settings and steps close. Facts about it:
 * docs/replicators.md names the sources.
 */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import { Connect, withoutLogins } from './connect.ts';
import {
  isOurSetting,
  type MirrorMakerPlan,
  sideSettings,
  sourceConnector,
  sourceSettings,
  type Work,
} from './mirrormaker2-settings.ts';
import type { Inquiry } from './replicator.ts';

/** Kafka's own default for `max.request.size`. */
const requestBytesDefault = 1_048_576;
const topicsNamedMax = 3;

export async function mirrormaker2Findings(inquiry: Inquiry): Promise<readonly Finding[]> {
  const { plan } = inquiry;
  if (plan.replicator.kind !== 'mirrormaker2') return [];
  return [
    ...aboutSettings(plan.replicator, inquiry),
    ...aboutTraps(inquiry),
    ...aboutRisks(inquiry),
    ...(inquiry.running ? [] : await aboutConnect(plan.replicator, inquiry)),
  ];
}

const cannot = (where: string, message: string, next?: string): Finding =>
  finding('REPLICATOR_CANNOT', where, message, next);
const leaves = (where: string, message: string): Finding => finding('REPLICATOR_LEAVES', where, message);
const risk = (where: string, message: string, next?: string): Finding =>
  finding('REPLICATOR_RISK', where, message, next);

function aboutSettings(replicator: MirrorMakerPlan, { plan, clusters }: Inquiry): Finding[] {
  const found: Finding[] = [];
  const here = 'plan replicator.settings';
  for (const name of Object.keys(replicator.settings).filter(isOurSetting)) {
    found.push(cannot(here, `${name} is what our steps rely on`, 'Leave it out: clusters.yaml and the plan say it.'));
  }
  for (const [name, value] of Object.entries(replicator.settings)) {
    if (!/password|secret|jaas/i.test(name) || /^\$\{/.test(value)) continue;
    found.push(
      cannot(
        here,
        `${name} holds a secret, and a plan is stored and shown`,
        "Refer to it by one of Connect's config providers.",
      ),
    );
  }
  const wrongPrefix = Object.keys(replicator.settings).filter((name) =>
    /^(target\.)?producer\.(?!override\.)/.test(name),
  );
  if (wrongPrefix.length > 0 && replicator.connect !== 'dedicated') {
    found.push(
      risk(
        here,
        `${wrongPrefix.join(', ')}: on a Connect cluster the producer that copies does not read them`,
        'Write `producer.override.` in front instead.',
      ),
    );
  }
  if (replicator.naming === 'prefixed') {
    found.push(
      cannot(
        'plan replicator.naming',
        `topics would be called ${plan.source}.<topic> on the target, and applications ask for <topic>: no switch leads there`,
        'Set naming to identity, or carry positions alone with `kafka-cutover positions FILE`.',
      ),
    );
  }
  for (const side of ['source', 'target'] as const) {
    const { name, credentials } = clusters[side].config;
    if (!credentials.forward.token) continue;
    found.push(
      cannot(
        `cluster ${name}`,
        'its login is a token, for which MirrorMaker 2 needs settings that only its own workers can hold',
        'Give `forward` and `reverse` a password or a certificate.',
      ),
    );
  }
  if (replicator.connect === 'dedicated') {
    const next = 'Use a Connect cluster, or set rollback.reverseMirror to false.';
    if (plan.rollback.reverseMirror) {
      found.push(
        cannot(
          'plan replicator.connect',
          'a dedicated process cannot be made to begin at the boundary, so it cannot carry back',
          next,
        ),
      );
    }
    if (!clusters.target.config.hasOwnPrincipal.forward) {
      const message = `it has no login of its own on ${clusters.target.name}, so nothing but people keeps it from writing there after the switch`;
      found.push(risk('plan replicator.connect', message, 'Give the target a `forward` login in clusters.yaml.'));
    }
  }
  if (plan.mirror.shards > 1 || plan.mirror.maxBytesPerSecond > 0) {
    found.push(
      leaves(
        'plan mirror',
        'shards and maxBytesPerSecond are of our own mirror: MirrorMaker 2 takes tasks.max, and quotas of the clusters',
      ),
    );
  }
  return found;
}

/** Its defaults and omissions that would harm this move, and that ours see to. */
function aboutTraps({ plan, inventory, facts }: Inquiry): Finding[] {
  const { topics, acls, groups } = inventory.structural;
  const found: Finding[] = [];
  const note = (message: string, names: readonly string[] = []) =>
    found.push(leaves('replicator mirrormaker2', names.length > 0 ? `${message}: ${list(names)}` : message));
  const otherReplicas = topics.filter(({ replicationFactor }) => replicationFactor !== 2).map(({ name }) => name);
  if (otherReplicas.length > 0)
    note('it creates topics at replication factor 2; we create them as they are on the source', otherReplicas);
  const unsynced = topics.filter(({ configs }) =>
    ['min.insync.replicas', 'message.timestamp.type', 'unclean.leader.election.enable'].some((name) => name in configs),
  );
  if (unsynced.length > 0) {
    const names = unsynced.map(({ name }) => name);
    if (plan.metadata.configs)
      note(
        'it does not copy min.insync.replicas, message.timestamp.type and unclean.leader.election.enable; our steps do',
        names,
      );
    else
      found.push(
        risk(
          'plan metadata.configs',
          `min.insync.replicas, message.timestamp.type and unclean.leader.election.enable are not copied by MirrorMaker 2, and not by us: ${list(names)}`,
        ),
      );
  }
  const dropped = acls.filter(
    ({ resourceType, patternType, operation, permission }) =>
      resourceType !== 'topic' || patternType !== 'literal' || (operation === 'write' && permission === 'allow'),
  );
  if (dropped.length > 0) {
    const what = `it copies literal READ rules of topics only, and drops ${dropped.length} of ${acls.length}: WRITE, groups, transactional ids, prefixes`;
    if (plan.metadata.acls) note(`${what}; our steps carry them`);
    else found.push(risk('plan metadata.acls', `${what}, and the plan leaves them out too`));
  }
  const transactional = topics.filter(
    ({ name }) => facts.transactional[name] ?? facts.shapes.find((shape) => shape.topic === name)?.transactionalAt,
  );
  if (transactional.length > 0) {
    note(
      'it would show records of aborted transactions; we set read_committed, and its offsets fall behind by a marker a transaction',
      transactional.map(({ name }) => name),
    );
  }
  if (plan.replicator.kind === 'mirrormaker2' && plan.replicator.connect !== 'dedicated') {
    note(
      "with a Connect worker's default header.converter values of headers arrive in base64; we set the one that leaves bytes as they are",
    );
  }
  note(
    'it looks for new topics and partitions every 10 minutes; we set 30 s, and refuse a fence while partitions are missing',
  );
  const large = topics.filter(
    ({ name }) => Number(facts.inForce[name]?.['max.message.bytes'] ?? 0) > requestBytesDefault,
  );
  if (large.length > 0)
    note(
      'its producer refuses records above 1 MB, a limit that is often set under the wrong prefix; we set it for the largest topic',
      large.map(({ name }) => name),
    );
  if (groups.length > 0)
    note(
      `it carries a position to the nearest point that it has noted, up to 100 records off, and no further back than 64 of them; we carry ${groups.length} groups ourselves, proven record by record`,
    );
  return found;
}

/** What nobody can take away. */
function aboutRisks({ plan, inventory, facts }: Inquiry): Finding[] {
  const found: Finding[] = [
    risk(
      'replicator mirrormaker2',
      `records have other offsets on ${plan.target}: positions that are kept outside Kafka (Flink, Iceberg, databases) are of no use there`,
    ),
    risk(
      'replicator mirrormaker2',
      'at least once: a worker that dies writes again what it had not noted. Duplicates are counted and named; they are not taken away',
    ),
  ];
  const compacted = inventory.structural.topics.filter(({ name }) =>
    (facts.inForce[name]?.['cleanup.policy'] ?? '').includes('compact'),
  );
  if (compacted.length > 0) {
    found.push(
      risk(
        'replicator mirrormaker2',
        `what the source's cleaner takes away while we compare cannot be told from what was never copied, on ${list(compacted.map(({ name }) => name))}`,
      ),
    );
  }
  return found;
}

/** Whether the Connect cluster is there, and would take the connectors. Creates nothing. */
async function aboutConnect(
  replicator: MirrorMakerPlan,
  { plan, file, clusters, inventory }: Inquiry,
): Promise<Finding[]> {
  if (replicator.connect === 'dedicated') return [];
  const config = file.connect(replicator.connect);
  const where = `Connect ${config.name}`;
  const connect = new Connect(config);
  try {
    const version = await connect.version();
    if (!isSupportedVersion(version)) {
      return [
        cannot(
          where,
          `it is Kafka Connect ${version}; connectors that begin stopped, at given positions, need 3.7`,
          'Use a newer Connect cluster.',
        ),
      ];
    }
    if (!(await connect.plugins()).includes(sourceConnector)) {
      return [
        cannot(
          where,
          `${sourceConnector} is not among its plugins`,
          "Put Kafka's connect-mirror jars on its plugin path.",
        ),
      ];
    }
    const { structural } = inventory;
    const work: Work = {
      migration: plan.name,
      wave: 'all',
      direction: 'forward',
      plan: replicator,
      clusters: { source: clusters.source.config, target: clusters.target.config },
      topics: structural.topics.map(({ name }) => name),
      groups: structural.groups.map(({ group }) => group),
      targetBrokers: clusters.target.brokers.length,
      recordBytesMax: 0,
      partitions: structural.topics.reduce((sum, { partitions }) => sum + partitions, 0),
    };
    const refused: Finding[] = [];
    for (const { name, settings } of [sourceSettings(work), ...sideSettings(work)]) {
      const errors = await connect.validate({ ...settings, name });
      if (errors.length > 0)
        refused.push(
          cannot(where, `it would refuse connector ${name}: ${withoutLogins(errors.slice(0, 3).join('; '))}`),
        );
    }
    return refused;
  } catch (error) {
    if (!(error instanceof CutoverError)) throw error;
    const { what, where: place, found } = error.detail;
    return [finding(error.code, where, [what, place, found].filter(Boolean).join(', '))];
  }
}

/** KIP-980: connectors that begin stopped. */
function isSupportedVersion(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 3 || (major === 3 && minor >= 7);
}

function list(names: readonly string[]): string {
  const more = names.length - topicsNamedMax;
  return `${names.slice(0, topicsNamedMax).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
