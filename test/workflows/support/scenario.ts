/**
 * The world as a workflow test wants it: activities that record what was called and answer at once, and
 * that a test makes fail, wait or answer otherwise. One scenario per migration, found by the plan's name.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, Context } from '@temporalio/activity';
import { toFailure } from '../../../activities/failures.ts';
import type { Activities, Measurement } from '../../../activities/types.ts';
import { type Code, CutoverError, codes, type Finding } from '../../../contract/errors.ts';
import { parsePlan } from '../../../contract/plan.ts';
import { workflowId } from '../../../contract/status.ts';
import { verifyApproval } from '../../../migration/approvals.ts';

type Name = keyof Activities;
// A test replaces an answer by any function: what it gets and gives is up to it.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Behaviour = (request: any) => unknown;

const beatEveryMs = 20;

export class Scenario {
  readonly name: string;
  /** Every call in order: `closeWrites forward`, with several waves `a: closeWrites forward`. Background activities are in `background`. */
  readonly calls: string[] = [];
  /** `+mirror forward` when one starts, `-mirror forward` when it ends. */
  readonly background: string[] = [];
  readonly requests = new Map<Name, unknown[]>();
  digest = 'digest-1';
  difference: readonly string[] = [];
  findings: readonly Finding[] = [];
  readonly #behaviours = new Map<Name, Behaviour[]>();

  constructor(name: string) {
    this.name = name;
  }

  /** Answers the next call of an activity, once; several queue up. */
  next(name: Name, behaviour: Behaviour): this {
    this.#behaviours.set(name, [...(this.#behaviours.get(name) ?? []), behaviour]);
    return this;
  }

  /** The next call fails with a code, retryable or not as the list says. */
  fail(name: Name, code: Code, options: { retryable?: boolean } = {}): this {
    return this.next(name, () => {
      throw failure(code, options.retryable ?? codes[code].retryable);
    });
  }

  /** The next call waits, heartbeating, until it is cancelled. */
  hang(name: Name): this {
    return this.next(name, () => untilCancelled());
  }

  /** The next call works until the test says that it fails. */
  failLater(name: Name, code: Code): () => void {
    let fail = false;
    this.next(name, async () => {
      while (!fail) await beat();
      throw failure(code);
    });
    return () => {
      fail = true;
    };
  }

  /** How often an activity was called. */
  count(name: Name): number {
    return this.calls.filter((call) => call.split(' ')[0] === name).length;
  }

  async answer(name: Name, request: unknown, usual: () => unknown): Promise<unknown> {
    this.requests.set(name, [...(this.requests.get(name) ?? []), request]);
    const [behaviour, ...later] = this.#behaviours.get(name) ?? [];
    if (!behaviour) return usual();
    this.#behaviours.set(name, later);
    return behaviour(request);
  }
}

export function failure(code: Code, retryable = codes[code].retryable, what = `the test wants ${code}`): unknown {
  const error = new CutoverError(code, { what });
  return ApplicationFailure.create({ type: code, message: error.message, nonRetryable: !retryable });
}

/** As a real activity does it: cancellation comes with heartbeats. */
async function untilCancelled(): Promise<never> {
  for (;;) await beat();
}

/** Lives on, whether or not it was cancelled. */
export async function beatOn(): Promise<void> {
  Context.current().heartbeat();
  await sleep(beatEveryMs);
}

/** @param details of the heartbeat */
export async function beat(details?: unknown): Promise<void> {
  const context = Context.current();
  context.heartbeat(details);
  await Promise.race([sleep(beatEveryMs), context.cancelled]);
}

const shortActivities: readonly Name[] = [
  'preflight',
  'takeDigest',
  'prepareTarget',
  'remirror',
  'drainLag',
  'measure',
  'awaitStopped',
  'closeWrites',
  'proveFence',
  'endTransactions',
  'drainToBoundary',
  'moveGroups',
  'keepGroups',
  'shutOutMirror',
  'restoreSettings',
  'decideOpening',
  'promote',
  'openWrites',
  'openGroups',
  'unfence',
  'callSwitch',
  'verify',
  'rollbackCost',
  'finalizeWave',
  'settleRollback',
  'undoAll',
  'writeEvidence',
];

/** Looks that a gate may take at any time say nothing about the order of what is done. */
const looks: readonly Name[] = ['preflight', 'takeDigest', 'measure', 'rollbackCost'];

/** The activities of a worker that serves every scenario of a test file. */
export class Scenarios {
  readonly #known = new Map<string, Scenario>();
  /** Whose signatures count: the public halves of the keys that `signer` makes. */
  readonly approvers = new Map<string, KeyObject[]>();

  /** A key that counts for this person. */
  signer(name: string): KeyObject {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    this.approvers.set(name, [...(this.approvers.get(name) ?? []), publicKey]);
    return privateKey;
  }

  add(name: string): Scenario {
    const scenario = new Scenario(name);
    this.#known.set(name, scenario);
    return scenario;
  }

  activities(): Activities {
    const of = (request: unknown) => {
      const { plan, migration = '' } = request as { plan?: { name: string }; migration?: string };
      const name = plan?.name ?? migration;
      return this.#known.get(name) ?? this.add(name);
    };
    const made: Record<string, unknown> = {
      parsePlan: async (input: unknown, id: string) => {
        try {
          const plan = parsePlan(input);
          if (id === workflowId(plan.name)) return plan;
          throw new CutoverError('WORKFLOW_ID_MISMATCH', { what: 'wrong id', found: id });
        } catch (error) {
          throw toFailure(error);
        }
      },
    };
    made.verifyApproval = async (request: Parameters<Activities['verifyApproval']>[0]) => {
      const scenario = of({ migration: (JSON.parse(request.statement) as string[])[2] });
      await scenario.answer('verifyApproval', request, () => {});
      try {
        return verifyApproval({ approvers: this.approvers, path: 'clusters.yaml' }, request);
      } catch (error) {
        throw toFailure(error);
      }
    };
    made.notify = async (request: Parameters<Activities['notify']>[0]) => {
      const scenario = of({ migration: request.notices[0]?.migration });
      return scenario.answer('notify', request, () => {});
    };
    // Goes on as long as the workflow.
    made.readHolding = (request: { migration: string }) => of(request).answer('readHolding', request, untilCancelled);
    for (const name of shortActivities) {
      made[name] = async (request: Record<string, unknown>) => {
        const scenario = of(request);
        const words = [name, request.direction, request.who].filter((word) => typeof word === 'string');
        if (!looks.includes(name)) scenario.calls.push(`${waveOf(request)}${words.join(' ')}`);
        return scenario.answer(name, request, () => usualAnswer(scenario, name, request));
      };
    }
    for (const name of [
      'mirror',
      'audit',
      'followGroups',
      'followMetadata',
      'watchFence',
      'balanceShards',
      'remind',
    ] as const) {
      made[name] = async (request: Record<string, unknown>) => {
        const scenario = of(request);
        const what = [name, request.direction, request.side].filter((word) => typeof word === 'string').join(' ');
        const line = `${waveOf(request)}${what}`;
        scenario.background.push(`+${line}`);
        try {
          return await scenario.answer(name, request, untilCancelled);
        } finally {
          scenario.background.push(`-${line}`);
        }
      };
    }
    return made as unknown as Activities;
  }
}

/** `a: ` where there are several waves. */
function waveOf({ plan, wave }: Record<string, unknown>): string {
  const { waves = [] } = (plan ?? {}) as { waves?: unknown[] };
  return waves.length > 1 && typeof wave === 'string' ? `${wave}: ` : '';
}

function usualAnswer(scenario: Scenario, name: Name, request: Record<string, unknown>): unknown {
  const blockers = scenario.findings.filter((entry) => entry.severity === 'blocker' && !entry.waived).length;
  const { digest, difference, findings } = scenario;
  const inventory = `inventory-${digest}`;
  switch (name) {
    case 'preflight':
      return { digest, inventory, findings, blockers, topics: 2, partitions: 6, groups: 1, bytes: 1, summary: 'found' };
    case 'takeDigest':
      return { digest, inventory, difference, findings };
    case 'drainLag':
    case 'measure':
      return measurement;
    case 'drainToBoundary':
      return { summary: 'drained', boundary: `boundary-${String(request.direction)}`, partitions: 6 };
    case 'moveGroups':
      return { summary: 'moved', moved: 1, exact: 1, replays: 0, untranslatable: 0 };
    case 'unfence':
    case 'keepGroups':
    case 'undoAll':
    case 'settleRollback':
      return { summary: 'undone', undone: 1, notUndone: [] };
    case 'rollbackCost':
      return ['0 records lost', '412 target-native records carried back'];
    case 'writeEvidence':
      return 'evidence-1';
    default:
      return { summary: `${name} done` };
  }
}

const measurement: Measurement = {
  asOf: '2026-11-22T00:00:00.000Z',
  lagRecords: 7,
  auditLagRecords: 3,
  recordsPerSecond: 100,
  expectedPauseMs: 900,
  fitsFence: true,
  openTransactions: [],
  groups: { exact: 1, replays: 0, untranslatable: 0 },
  facts: ['producers will see TOPIC_AUTHORIZATION_FAILED'],
};

/** What is called from the mirror to the opening decision. */
export const toTarget = [
  'drainLag forward',
  'drainLag forward',
  'closeWrites forward',
  'proveFence forward',
  'endTransactions forward',
  'drainToBoundary forward',
  'shutOutMirror forward',
  'restoreSettings forward',
  'moveGroups forward',
  'decideOpening forward',
];

/** The same on the way back. */
export const goBack = toTarget.slice(1).map((call) => call.replace('forward', 'reverse'));

export const afterOpening = (direction: string) => [
  `openWrites ${direction}`,
  `callSwitch ${direction} producers`,
  `callSwitch ${direction} consumers`,
  `verify ${direction}`,
];
