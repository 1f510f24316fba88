/**
 * Any other system behind the interface, such as a dual-write bridge of people's own: each verb is one signed webhook (docs/webhook.md). A verb asks for a state,
 * so it may come again, under another id, and is done then at once. What the system can do is what the plan says; what it did, our own reading of both logs tells.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import type { ReplicatorPlan } from '../contract/plan.ts';
import { replicatorKinds } from '../contract/replicators.ts';
import { latestBoundary, readBoundary, sidesOf } from '../migration/boundary.ts';
import { callSigned } from '../migration/switches/webhook.ts';
import type { Wave } from '../migration/wave.ts';
import type { Inquiry, Leg, Replicator } from './replicator.ts';
import { untilAborted } from './waiting.ts';

export type Verb = 'plan' | 'prepare' | 'start' | 'status' | 'promote' | 'stop' | 'remove';

/** Between two questions how it is. */
const watchEveryMs = 5_000;
/** Until it is asked again whether something is done. */
const askAgainMs = 1_000;
/** Of one call, repeated under its id. */
const giveUpAfterMs = 45_000;
/** Characters of its words that are shown. */
const saidMax = 300;
const removedMax = 100;

/** What it may answer; everything may be left out. */
interface Answer {
  /** `pending`: accepted, not done yet. `failed`: it does not copy, and needs people. */
  readonly state?: 'done' | 'pending' | 'failed';
  readonly message?: string;
  readonly positions?: Readonly<Record<string, string>>;
  readonly removed?: readonly string[];
  readonly findings?: readonly { readonly severity?: string; readonly message?: string }[];
}

export const external = externalWith(watchEveryMs, askAgainMs);

/** @param times other than the defaults are for tests */
export function externalWith(watchMs: number, againMs: number): Replicator {
  return {
    capabilities: replicatorKinds.external,

    async plan(inquiry) {
      const found = [...aboutWords(inquiry)];
      return inquiry.running ? found : [...found, ...(await askedFindings(inquiry))];
    },

    // It works as our two mirrors' principals, or as whatever people gave it.
    rights: () => ({ source: [], target: [] }),

    prepare: (leg) => until(leg, 'prepare', againMs),

    async run(job) {
      if (job.shard > 0) return untilAborted(job.signal);
      await until(job, 'start', againMs);
      while (!job.signal.aborted) {
        const answer = await ask(job, 'status');
        if (answer.state === 'failed') throw failed(job, 'status', answer, 'running');
        job.onProgress(
          [...positionsOf(answer, job.wave)].map(([key, position]) => {
            const slash = key.lastIndexOf('/');
            const [topic, partition] = [key.slice(0, slash), Number(key.slice(slash + 1))];
            return { topic, partition, position, records: Number(position), bytes: 0 };
          }),
          answer.message ? [shown(answer.message, job)] : [],
        );
        await sleep(watchMs, undefined, { signal: job.signal }).catch(() => {});
      }
    },

    position: async (leg) => positionsOf(await ask(leg, 'status'), leg.wave),

    promote: (leg) => until(leg, 'promote', againMs),

    stop: (leg) => until(leg, 'stop', againMs),

    async remove(leg) {
      if (leg.direction === 'reverse' && !planOf(leg.wave).reverse) return [];
      let removed: readonly string[] = [];
      await until(leg, 'remove', againMs, (answer) => {
        removed = (answer.removed ?? []).slice(0, removedMax).map((line) => shown(String(line), leg));
      });
      return removed;
    },
  };
}

/** What people should know of a system that we only have the word of. */
function aboutWords({ plan, file }: Inquiry): Finding[] {
  const { replicator } = plan;
  if (replicator.kind !== 'external') return [];
  // Throws where there is none of that name.
  file.webhook(replicator.webhook);
  const where = `webhook ${replicator.webhook}`;
  const found = [
    finding(
      'REPLICATOR_RISK',
      where,
      'what it says it does is its word: records are compared by us, and that it has stopped rests on its answer, and on its login being shut out where it has one of ours',
      'Let it log in as `forward` and `reverse` of clusters.yaml, which rules shut out at the switch.',
    ),
  ];
  if (replicator.offsets === 'other') {
    const message = `records have other offsets on ${plan.target}: positions that are kept outside Kafka are of no use there. Records must arrive unchanged, in order, by partition`;
    found.push(finding('REPLICATOR_RISK', where, message));
  }
  return found;
}

async function askedFindings({ plan, file, clusters, inventory }: Inquiry): Promise<Finding[]> {
  const { structural } = inventory;
  const groups = structural.groups.map(({ group }) => group);
  const subject = {
    webhook: webhookOf({ plan, file }),
    migration: plan.name,
    wave: 'all',
    from: clusters.source.config,
    to: clusters.target.config,
    topics: Object.fromEntries(structural.topics.map(({ name, partitions }) => [name, partitions])),
    groups,
  };
  const where = `webhook ${subject.webhook.name}`;
  try {
    const answer = await send(subject, 'plan', { direction: 'forward', boundary: null });
    const code = { blocker: 'REPLICATOR_CANNOT', warning: 'REPLICATOR_RISK', info: 'REPLICATOR_LEAVES' } as const;
    const said = (answer.findings ?? []).map(({ severity, message = 'no reason given' }) =>
      finding(code[severity as keyof typeof code] ?? 'REPLICATOR_RISK', where, cut(message, subject.webhook.secret)),
    );
    if (answer.state !== 'failed') return said;
    const why = cut(answer.message ?? 'it says that it cannot', subject.webhook.secret);
    return [...said, finding('REPLICATOR_CANNOT', where, why)];
  } catch (error) {
    if (!(error instanceof CutoverError)) throw error;
    return [finding(error.code, where, [error.detail.what, error.detail.found].filter(Boolean).join(', '))];
  }
}

/** Asks until it is done. @returns one line for people */
async function until(leg: Leg, verb: Verb, againMs: number, last?: (answer: Answer) => void): Promise<string> {
  const { patience } = planOf(leg.wave);
  const deadline = performance.now() + patience;
  for (;;) {
    leg.wave.beforeSend();
    const answer = await ask(leg, verb);
    if (answer.state === 'failed') throw failed(leg, verb, answer, 'done');
    if (answer.state !== 'pending') {
      last?.(answer);
      const words = answer.message ? `: ${shown(answer.message, leg)}` : '';
      return `${webhookOf(aboutLeg(leg)).name} says ${verb} ${leg.direction} is done${words}`;
    }
    if (performance.now() > deadline) throw failed(leg, verb, answer, `done within ${patience / 1000} s`);
    await sleep(againMs, undefined, { signal: leg.signal });
  }
}

function failed(leg: Leg, verb: Verb, answer: Answer, wanted: string): CutoverError {
  return new CutoverError('REPLICATOR_FAILED', {
    what: `the replicator does not come so far as to ${verb}`,
    where: `webhook ${webhookOf(aboutLeg(leg)).name}, ${leg.direction}`,
    found: [answer.state, answer.message && shown(answer.message, leg)].filter(Boolean).join(', '),
    wanted,
  });
}

async function ask(leg: Leg, verb: Verb): Promise<Answer> {
  const { wave, direction } = leg;
  const { from, into } = sidesOf(direction);
  const subject = {
    webhook: webhookOf(aboutLeg(leg)),
    migration: wave.migration,
    wave: wave.wave,
    from: wave.clusters[from].config,
    to: wave.clusters[into].config,
    topics: Object.fromEntries(wave.topics.map(({ name, partitions }) => [name, partitions])),
    groups: wave.groups,
  };
  const boundary = direction === 'reverse' && verb === 'start' ? await reverseBoundary(wave) : null;
  return send(subject, verb, { direction, boundary }, leg.signal);
}

/** On the cluster that is read on the way back: from here on records are its own. */
async function reverseBoundary(wave: Wave): Promise<ReadonlyMap<string, bigint>> {
  const name = await latestBoundary(wave.storage, { ...wave, direction: 'forward' });
  if (name === null) {
    throw new CutoverError('INTERNAL', { what: 'no boundary to carry back from', where: `wave ${wave.wave}` });
  }
  return (await readBoundary(wave.storage, name)).into;
}

interface Subject {
  readonly webhook: ReturnType<Leg['file']['webhook']>;
  readonly migration: string;
  readonly wave: string;
  readonly from: { readonly name: string; readonly bootstrap: readonly string[] };
  readonly to: { readonly name: string; readonly bootstrap: readonly string[] };
  readonly topics: Readonly<Record<string, number>>;
  readonly groups: readonly string[];
}

async function send(
  { webhook, migration, wave, from, to, topics, groups }: Subject,
  verb: Verb,
  about: { readonly direction: string; readonly boundary: ReadonlyMap<string, bigint> | null },
  signal?: AbortSignal,
): Promise<Answer> {
  const id = randomBytes(16).toString('hex');
  const body = JSON.stringify({
    id,
    migration,
    wave,
    action: 'replicate',
    verb,
    direction: about.direction,
    from: from.name,
    to: to.name,
    bootstrap: { from: from.bootstrap.join(','), to: to.bootstrap.join(',') },
    topics,
    groups,
    boundary: about.boundary && Object.fromEntries([...about.boundary].map(([key, at]) => [key, at.toString()])),
  });
  const what = `${verb} of the replicator, ${about.direction},`;
  const { answer } = await callSigned(webhook, { id, body, what }, { giveUpAfterMs, ...(signal && { signal }) });
  return (answer ?? {}) as Answer;
}

/** Of partitions that move; what is no offset is left out. */
function positionsOf({ positions = {} }: Answer, wave: Wave): ReadonlyMap<string, bigint> {
  const known = new Set(wave.partitions.map(({ topic, partition }) => `${topic}/${partition}`));
  return new Map(
    Object.entries(positions)
      .filter(([key, offset]) => known.has(key) && /^\d{1,19}$/.test(String(offset)))
      .map(([key, offset]) => [key, BigInt(offset)]),
  );
}

const aboutLeg = ({ wave, file }: Pick<Leg, 'wave' | 'file'>) => ({ plan: wave.plan, file });

function webhookOf({ plan, file }: Pick<Inquiry, 'plan' | 'file'>): Subject['webhook'] {
  return file.webhook(planOf({ plan }).webhook);
}

function planOf({ plan: { replicator } }: Pick<Wave, 'plan'>): ReplicatorPlan<'external'> {
  if (replicator.kind === 'external') return replicator;
  throw new CutoverError('INTERNAL', { what: 'another replicator was asked for', found: replicator.kind });
}

const shown = (text: string, leg: Leg): string => cut(text, webhookOf(aboutLeg(leg)).secret);

function cut(text: string, secret: string): string {
  return text.replaceAll(secret, '***').replace(/\s+/g, ' ').trim().slice(0, saidMax);
}
