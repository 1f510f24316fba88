/** What preflight says about AutoMQ's Kafka Linking here. Facts about it: docs/replicators-vendors.md names the sources. */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import { fenceKinds } from '../contract/fences.ts';
import { automqLinkName, automqLinks } from './automq-links.ts';
import type { Inquiry } from './replicator.ts';

const here = 'replicator automq-linking';
const topicsNamedMax = 3;

const cannot = (where: string, message: string, next?: string): Finding =>
  finding('REPLICATOR_CANNOT', where, message, next);
const risk = (message: string, next?: string): Finding => finding('REPLICATOR_RISK', here, message, next);

export async function automqLinkingFindings(inquiry: Inquiry): Promise<readonly Finding[]> {
  const { plan, file, clusters, running, inventory } = inquiry;
  const { replicator } = plan;
  if (replicator.kind !== 'automq-linking') return [];
  const found: Finding[] = [];
  const { name, credentials } = clusters.source.config;
  if (credentials.forward.token) {
    const message = 'its login is a token or MSK IAM, which the link does not take';
    found.push(cannot(`cluster ${name}`, message, 'Give `forward` a password or a certificate.'));
  }
  found.push(
    risk('promoting is done after it was accepted: applications wait until all topics are done. Nothing leads back'),
    risk(
      'a mirror topic or a link that is deleted takes the topic and its records along, also after the promotion: neither is ever deleted here',
      'Keep the link, and keep Terraform from destroying it, until AutoMQ says how it goes without the topics.',
    ),
  );
  if (!fenceKinds[plan.fence.kind].enforced || !inventory.measured.target.authorizer) {
    found.push(
      risk(
        `what is written to a mirror topic on ${plan.target} is forwarded to ${plan.source}, as the link's user there: without rules that keep applications out of the target, it goes past the fence`,
        `Give the link's user (\`forward\` of ${plan.source}) no WRITE there.`,
      ),
    );
  }
  if (plan.mirror.shards > 1 || plan.mirror.maxBytesPerSecond > 0) {
    found.push(finding('REPLICATOR_LEAVES', here, 'shards and maxBytesPerSecond are of our own mirror'));
  }
  return running ? found : [...found, ...(await aboutLink(replicator, inquiry, file))];
}

async function aboutLink(
  replicator: { readonly at: string; readonly link?: string | undefined },
  { plan, clusters, inventory, facts }: Inquiry,
  file: Inquiry['file'],
): Promise<Finding[]> {
  const links = automqLinks(file.replicator(replicator.at, 'automq-linking'), clusters);
  const found: Finding[] = [];
  try {
    const mirrors = new Set<string>();
    for (const wave of plan.waves.length > 0 ? plan.waves.map((one) => one.name) : ['all']) {
      const link = automqLinkName({ migration: plan.name, wave, plan });
      const there = await links.link(link);
      if (there === null && replicator.link !== undefined) {
        found.push(cannot(links.name, `no link ${link}`, 'Correct replicator.link, or leave it out.'));
      }
      if (there === null) continue;
      if (there.error !== '') {
        found.push(cannot(`${links.name}, link ${link}`, [there.status, there.error].join(', '), 'Mend the link.'));
      }
      for (const [topic, { state }] of await links.mirrors(link)) {
        mirrors.add(topic);
        if (state !== 'PROMOTED' || !inventory.structural.topics.some((one) => one.name === topic)) continue;
        const next = 'Delete it there, with its records, or leave it out of the plan.';
        found.push(
          cannot(`cluster ${plan.target}, topic ${topic}`, 'it was promoted, and cannot be mirrored again', next),
        );
      }
    }
    const inTheWay = inventory.structural.topics
      .map(({ name }) => name)
      .filter((name) => facts.targetTopics[name] !== undefined && !mirrors.has(name));
    if (inTheWay.length > 0) {
      const names = `${inTheWay.slice(0, topicsNamedMax).join(', ')}${inTheWay.length > topicsNamedMax ? ` and ${inTheWay.length - topicsNamedMax} more` : ''}`;
      const message = `topics exist there that are no mirror topics: ${names}`;
      found.push(cannot(`cluster ${plan.target}`, message, 'Delete them there, or leave them out of the plan.'));
    }
  } catch (error) {
    if (!(error instanceof CutoverError)) throw error;
    const { what, where, found: answer, next } = error.detail;
    found.push(finding(error.code, links.name, [what, where, answer].filter(Boolean).join(', '), next));
  }
  return found;
}
