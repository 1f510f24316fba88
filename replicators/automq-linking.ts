/**
 * AutoMQ's Kafka Linking behind the interface. The target's brokers copy, byte for byte, at the same offsets, and forward to the source what is written to a
 * mirror topic, until it is promoted. There is no way back. Deleting a mirror topic deletes the topic with all its records, also a promoted one, so
 * nothing here ever deletes one, nor a link.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { ReplicatorPlan } from '../contract/plan.ts';
import { replicatorKinds } from '../contract/replicators.ts';
import type { ClusterConfig } from '../kafka/clusters.ts';
import type { Wave } from '../migration/wave.ts';
import { automqLinkingFindings } from './automq-linking-findings.ts';
import {
  type AutomqLinks,
  type AutomqMirror,
  automqLinkName,
  automqLinks,
  type SourceCluster,
} from './automq-links.ts';
import type { Leg, Replicator } from './replicator.ts';
import { untilAborted } from './waiting.ts';

/** Between two looks at mirror topics. */
const watchEveryMs = 2_000;
/** Of mirror topics that were promoted. */
const promotedMaxMs = 120_000;
/** Until nothing is left to copy, right before the opening is decided. */
const lagMaxMs = 20_000;

export const automqLinking: Replicator = {
  capabilities: replicatorKinds['automq-linking'],

  plan: automqLinkingFindings,

  // It reads as our forward principal, which has what a mirror has, and writes as the brokers do. WRITE on the source it gets none: nothing is forwarded.
  rights: () => ({ source: [], target: [] }),

  async prepare(leg) {
    const { wave } = leg;
    const links = linksOf(leg);
    const link = automqLinkName(wave);
    const there = await links.link(link);
    if (there === null && planOf(wave).link !== undefined) {
      throw new CutoverError('REPLICATOR_REFUSED', {
        what: 'the plan names a link that is not there',
        where: links.name,
        found: `no link ${link}`,
        next: 'Correct replicator.link in the plan, or leave it out: then one is made.',
      });
    }
    if (there === null) {
      wave.beforeSend();
      await links.create(link, sourceClusterOf(wave.clusters.source.config));
    }
    const mirrors = await links.mirrors(link);
    const missing = wave.topicNames.filter((topic) => !mirrors.has(topic));
    if (missing.length > 0) {
      wave.beforeSend();
      await links.createMirrors(link, missing);
    }
    return `link ${link}${there === null ? ' made' : ''}, ${missing.length} mirror topics created`;
  },

  async run(job) {
    if (job.shard > 0 || job.direction === 'reverse') return untilAborted(job.signal);
    await automqLinking.prepare?.(job);
    const links = linksOf(job);
    const link = automqLinkName(job.wave);
    while (!job.signal.aborted) {
      const mirrors = await links.mirrors(link);
      for (const topic of job.wave.topicNames) {
        const mirror = mirrors.get(topic);
        if (mirror?.state === 'PAUSED' && mirror.error === '') {
          job.wave.beforeSend();
          await links.setState(link, mirror, 'LINKING');
        } else refuseStopped(links, link, topic, mirror);
      }
      const lag = job.wave.topicNames.reduce((sum, topic) => sum + (mirrors.get(topic)?.lag ?? 0), 0);
      job.onProgress([], [`link ${link}: ${lag} records behind, as it says`]);
      await sleep(watchEveryMs, undefined, { signal: job.signal }).catch(() => {});
    }
  },

  // It tells sums of topics alone; with identical offsets the target's own log ends say it all.
  position: async () => new Map(),

  async stop(leg) {
    const links = linksOf(leg);
    const link = automqLinkName(leg.wave);
    if (leg.direction === 'reverse' || (await links.link(link)) === null) return '';
    const mirrors = await links.mirrors(link);
    const copying = leg.wave.topicNames.filter(
      (topic) => mirrors.has(topic) && mirrors.get(topic)?.state !== 'PROMOTED',
    );
    if (copying.length === 0) return '';
    await links.await(link, copying, 'lag 0', (mirror) => mirror?.state === 'LINKING' && !mirror.lag, lagMaxMs);
    return `AutoMQ Linking to ${leg.wave.clusters.target.name}: ${copying.length} mirror topics at lag 0`;
  },

  async promote(leg) {
    const { wave, direction } = leg;
    if (direction === 'reverse') return '';
    const links = linksOf(leg);
    const link = automqLinkName(wave);
    const mirrors = await links.mirrors(link);
    for (const topic of wave.topicNames) {
      const mirror = mirrors.get(topic);
      if (mirror === undefined || mirror.state === 'PROMOTED') continue;
      wave.beforeSend();
      await links.setState(link, mirror, 'PROMOTED');
    }
    const promoted = (mirror: AutomqMirror | undefined) => mirror?.state === 'PROMOTED';
    await links.await(link, wave.topicNames, 'PROMOTED', promoted, promotedMaxMs);
    return `${wave.topicNames.length} mirror topics promoted on ${wave.clusters.target.name}`;
  },

  /** After an abort nothing is copied any more; link and topics stay, since taking them away would delete records. */
  async remove(leg) {
    if (leg.direction === 'reverse') return [];
    const links = linksOf(leg);
    const link = automqLinkName(leg.wave);
    if ((await links.link(link)) === null) return [];
    const mirrors = await links.mirrors(link);
    const paused: string[] = [];
    for (const topic of leg.wave.topicNames) {
      const mirror = mirrors.get(topic);
      if (mirror?.state !== 'LINKING') continue;
      leg.wave.beforeSend();
      await links.setState(link, mirror, 'PAUSED');
      paused.push(`mirroring of ${topic} (paused; link ${link} and the topic stay)`);
    }
    return paused;
  },
};

function refuseStopped(links: AutomqLinks, link: string, topic: string, mirror: AutomqMirror | undefined): void {
  if (mirror && mirror.error === '' && mirror.state !== 'PROMOTED') return;
  throw new CutoverError('REPLICATOR_FAILED', {
    what: mirror?.state === 'PROMOTED' ? 'somebody promoted a mirror topic' : 'a mirror topic does not copy',
    where: `${links.name}, link ${link}, topic ${topic}`,
    found: mirror ? [mirror.state, mirror.error].filter(Boolean).join(', ') : 'no mirror topic',
    wanted: 'LINKING',
  });
}

function sourceClusterOf(config: ClusterConfig): SourceCluster {
  const { sasl, tls } = config.credentials.forward;
  return {
    endpoint: config.bootstrap.join(','),
    securityProtocol: `${sasl ? 'SASL_' : ''}${tls ? 'SSL' : 'PLAINTEXT'}`,
    ...(sasl && {
      saslMechanism: sasl.mechanism.toUpperCase().replaceAll('-', '_'),
      user: sasl.username,
      password: sasl.password,
    }),
    ...(tls?.ca && { truststoreCertificates: tls.ca }),
    ...(tls?.cert && tls.key && { keystoreCertificateChain: tls.cert, keystoreKey: tls.key }),
  };
}

function linksOf({ wave, file, signal }: Pick<Leg, 'wave' | 'file' | 'signal'>): AutomqLinks {
  return automqLinks(file.replicator(planOf(wave).at, 'automq-linking'), wave.clusters, signal);
}

function planOf({ plan: { replicator } }: Pick<Wave, 'plan'>): ReplicatorPlan<'automq-linking'> {
  if (replicator.kind === 'automq-linking') return replicator;
  throw new CutoverError('INTERNAL', { what: 'another replicator was asked for', found: replicator.kind });
}
