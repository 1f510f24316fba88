/** What preflight says about Cluster Linking here. Facts about it: docs/replicators.md names the sources. */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import type { Side } from '../migration/change.ts';
import { type ClusterLinkingPlan, isOurLinkSetting, linkName, secretsOf } from './cluster-linking-settings.ts';
import { ClusterLinks } from './cluster-links.ts';
import type { Inquiry } from './replicator.ts';

const topicsNamedMax = 3;

const cannot = (where: string, message: string, next?: string): Finding =>
  finding('REPLICATOR_CANNOT', where, message, next);
const leaves = (where: string, message: string): Finding => finding('REPLICATOR_LEAVES', where, message);
const risk = (where: string, message: string, next?: string): Finding =>
  finding('REPLICATOR_RISK', where, message, next);

export async function clusterLinkingFindings(inquiry: Inquiry): Promise<readonly Finding[]> {
  const { replicator } = inquiry.plan;
  if (replicator.kind !== 'cluster-linking') return [];
  return [
    ...aboutPlan(replicator, inquiry),
    ...aboutRecords(inquiry),
    ...(inquiry.running ? [] : await aboutLinks(replicator, inquiry)),
  ];
}

function aboutPlan(replicator: ClusterLinkingPlan, { plan, file, clusters }: Inquiry): Finding[] {
  const found: Finding[] = [];
  const here = 'plan replicator.settings';
  for (const name of Object.keys(replicator.settings).filter(isOurLinkSetting)) {
    const why =
      name.startsWith('acl.') && replicator.settings['acl.sync.enable'] === 'true'
        ? "ACL sync deletes the target's rules that the source does not have, also those that keep applications out until the opening; our steps carry rules"
        : 'it is what our steps rely on';
    found.push(cannot(here, `${name}: ${why}`, 'Leave it out: clusters.yaml and the plan say it.'));
  }
  if (replicator.link !== undefined && Object.keys(replicator.settings).length > 0) {
    found.push(
      cannot(here, `link ${replicator.link} is people's, and is left as it is`, 'Leave out `link` or `settings`.'),
    );
  }
  const place = file.replicator(replicator.at, 'cluster-linking');
  if (plan.rollback.reverseMirror && place.source === null) {
    found.push(
      cannot(
        'plan rollback.reverseMirror',
        `the way back needs a bidirectional link, and so Cluster Linking on ${plan.source} too, whose REST API is not in clusters.yaml`,
        `Give replicators.${replicator.at}.source in clusters.yaml where ${plan.source} is Confluent's too; else set rollback.reverseMirror to false.`,
      ),
    );
  }
  if (replicator.link === undefined) {
    for (const [side, role] of [
      ['source', 'forward'],
      ['target', 'reverse'],
    ] as const) {
      const { name, credentials } = clusters[side].config;
      if (!credentials[role].token || (side === 'target' && !plan.rollback.reverseMirror)) continue;
      const next = `Give \`${role}\` of ${name} a password or a certificate, or make the link yourself and name it as replicator.link.`;
      found.push(cannot(`cluster ${name}`, 'its login is a token, which a link of ours cannot be given', next));
    }
  }
  if (plan.mirror.shards > 1 || plan.mirror.maxBytesPerSecond > 0) {
    found.push(
      leaves('plan mirror', "shards and maxBytesPerSecond are of our own mirror: a link takes its brokers' quotas"),
    );
  }
  return found;
}

function aboutRecords({ plan, inventory, facts }: Inquiry): Finding[] {
  const here = 'replicator cluster-linking';
  const found = [
    leaves(
      here,
      "it does not carry schema validation, tiered storage and placement of replicas, which stay the target's own",
    ),
    risk(
      here,
      plan.rollback.reverseMirror
        ? 'promoting and reversing is done by its brokers one topic after the other, after it was accepted: applications wait until all are done'
        : 'promoting is done by its brokers after it was accepted: applications wait until all topics are done, and nothing leads back',
    ),
  ];
  const transactional = inventory.structural.topics
    .map(({ name }) => name)
    .filter((name) => facts.transactional[name] !== undefined);
  if (transactional.length > 0) {
    found.push(
      risk(
        here,
        `transactions are copied as bytes, and its older releases do not support them on mirror topics: one that is open at the end stays open on the target. ${list(transactional)}`,
        'Our fence ends open transactions first; look into the notes of your release.',
      ),
    );
  }
  return found;
}

/** Whether the APIs answer, and nothing there stands in the way. Makes nothing. */
async function aboutLinks(replicator: ClusterLinkingPlan, inquiry: Inquiry): Promise<Finding[]> {
  const { plan, file, clusters, inventory } = inquiry;
  const place = file.replicator(replicator.at, 'cluster-linking');
  const { sourceClusterId, targetClusterId } = inventory.structural;
  const found: Finding[] = [];
  const sides: readonly Side[] = plan.rollback.reverseMirror ? ['target', 'source'] : ['target'];
  for (const side of sides) {
    const at = place[side];
    if (at === null) continue;
    const where = `Confluent REST of ${plan[side]}`;
    const links = new ClusterLinks(
      at,
      where,
      side === 'target' ? targetClusterId : sourceClusterId,
      secretsOf(clusters),
    );
    try {
      found.push(...(await aboutSide(links, side, replicator, inquiry)));
    } catch (error) {
      if (!(error instanceof CutoverError)) throw error;
      const { what, where: at, found: answer } = error.detail;
      found.push(finding(error.code, where, [what, at, answer].filter(Boolean).join(', '), error.detail.next));
    }
  }
  return found;
}

async function aboutSide(
  links: ClusterLinks,
  side: Side,
  replicator: ClusterLinkingPlan,
  { plan, inventory, facts }: Inquiry,
): Promise<Finding[]> {
  const found: Finding[] = [];
  const all = await links.links();
  // A wave of this plan that ran before may have left its own.
  const ours = new Set(
    [...new Set(['all', ...plan.waves.map(({ name }) => name)])].map((wave) =>
      linkName({ migration: plan.name, wave, plan }),
    ),
  );
  const mirrors = new Set<string>();
  for (const { name } of all) {
    const settings = await links.settings(name);
    const where = `${links.name}, link ${name}`;
    if (settings.get('acl.sync.enable') === 'true') {
      const message =
        'its ACL sync deletes rules that its filter covers and the other cluster does not have: also those that close this one to applications until the opening, and fences';
      found.push(cannot(where, message, 'Set acl.sync.enable to false there; our steps carry rules.'));
    }
    if (!ours.has(name)) {
      if (settings.get('consumer.offset.sync.enable') === 'true') {
        const message =
          'it syncs positions of groups: where its filters cover a group that moves, two write its positions';
        found.push(risk(where, message, 'Exclude the groups that move by consumer.offset.group.filters.'));
      }
      continue;
    }
    for (const topic of (await links.mirrors(name)).keys()) mirrors.add(topic);
    if (replicator.link === undefined) continue;
    if ((settings.get('cluster.link.prefix') ?? '') !== '') {
      found.push(cannot(where, 'it prefixes names of topics, and applications ask for them as they are on the source'));
    }
    if (plan.rollback.reverseMirror && settings.get('link.mode') !== 'BIDIRECTIONAL') {
      const next = 'Make it bidirectional, on both clusters, or set rollback.reverseMirror to false.';
      found.push(cannot(where, `link.mode is ${settings.get('link.mode') ?? 'not set'}: it leads nowhere back`, next));
    }
    if (settings.get('consumer.offset.sync.enable') === 'true' && inventory.structural.groups.length > 0) {
      const count = inventory.structural.groups.length;
      found.push(
        leaves(where, `it syncs positions of groups; we exclude the ${count} that move, and carry them ourselves`),
      );
    }
  }
  if (replicator.link !== undefined && !all.some(({ name }) => name === replicator.link)) {
    found.push(cannot(links.name, `no link ${replicator.link}`, 'Correct replicator.link, or leave it out.'));
  }
  if (side === 'target') {
    const inTheWay = inventory.structural.topics
      .map(({ name }) => name)
      .filter((name) => facts.targetTopics[name] !== undefined && !mirrors.has(name));
    if (inTheWay.length > 0) {
      const message = `topics exist there that are no mirror topics, and no link adopts a topic: ${list(inTheWay)}`;
      found.push(cannot(`cluster ${plan.target}`, message, 'Delete them there, or leave them out of the plan.'));
    }
  }
  return found;
}

function list(names: readonly string[]): string {
  const more = names.length - topicsNamedMax;
  return `${names.slice(0, topicsNamedMax).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
