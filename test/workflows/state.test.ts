import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { finding } from '../../contract/errors.ts';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import type { GateRecord, MessageName } from '../../contract/status.ts';
import { admit, type Channel } from '../../workflows/admission.ts';
import {
  answeredGates,
  boundaryTaken,
  type CutoverState,
  carriedState,
  currentWave,
  decisionNoted,
  fenceBegun,
  fenceLifted,
  gateClosed,
  gateOpened,
  gateRejected,
  goingBackBegun,
  heldNow,
  heldRestMs,
  initialState,
  inventoried,
  isOpened,
  type MigrationState,
  measured,
  messageRefused,
  openGate,
  openingBeingDecided,
  openingDecided,
  passedGates,
  pauseAsked,
  pauseHeld,
  planRead,
  policyOf,
  resumed,
  stateListMax,
  stayedOnTarget,
  stepBegun,
  stepEnded,
  stepFailed,
  stepSaid,
  viewOf,
  waveBegun,
  withFindings,
  withView,
  writesOpened,
} from '../../workflows/state.ts';
import {
  currentDetails as detailsOfMigration,
  nextCommand,
  statusOf as statusOfMigration,
} from '../../workflows/status-view.ts';

const at = '2026-11-22T10:00:00.000Z';
const later = '2026-11-22T10:05:00.000Z';

function started(plan: Partial<PlanInput> = {}): CutoverState {
  const read = parsePlan({ name: 'orders', source: 'legacy', target: 'next', topics: { include: ['o'] }, ...plan });
  const first = initialState('orders', at);
  const plans = inventoried(planRead(viewOf(first, null), read), { digest: 'd1', inventory: 'i1', findings: [] });
  return viewOf(waveBegun(withView(first, plans), 'all', at), 'all');
}

/** A migration of which the one wave is all there is to see. */
function migrationOf(view: CutoverState): MigrationState {
  const first = withView(initialState('orders', at), { ...view, wave: null, steps: [] });
  return withView(waveBegun(first, view.wave ?? 'all', at), view);
}

const statusOf = (view: CutoverState) => statusOfMigration(migrationOf(view));
const currentDetails = (view: CutoverState) => detailsOfMigration(migrationOf(view));

function gate(state: CutoverState, name: 'start' | 'cutover' | 'producers' | 'finalize' | 'rollback', needed = 1) {
  const { approvers } = policyOf(state.plan ?? assert.fail(), name);
  return gateOpened(state, name, { needed, approvers, digest: 'd1', deadline: null, facts: ['a fact'], at });
}

function send(state: CutoverState, name: MessageName, message: unknown, channel: Channel = 'signal') {
  return admit(migrationOf(state), name, message, at, channel);
}

function taken(state: CutoverState, name: MessageName, message: unknown): CutoverState {
  const admission = send(state, name, message);
  return admission.accepted ? viewOf(admission.state, state.wave) : assert.fail(`${admission.code}: ${admission.text}`);
}

function refused(state: CutoverState, name: MessageName, message: unknown): string {
  const admission = send(state, name, message);
  return admission.accepted ? assert.fail(admission.text) : admission.code;
}

const opened = (state: CutoverState) =>
  writesOpened(
    openingDecided(openingBeingDecided(fenceBegun(state, 'forward', at), 'forward'), 'forward'),
    'forward',
    at,
  );

describe('the source of truth', () => {
  const truth = (state: CutoverState) => currentWave(state)?.sourceOfTruth;

  it('is nobody from the fence until the target is open', () => {
    const fenced = fenceBegun(started(), 'forward', at);
    assert.equal(truth(started()), 'source');
    assert.equal(truth(fenced), 'none');
    const decided = openingDecided(openingBeingDecided(fenced, 'forward'), 'forward');
    assert.equal(truth(decided), 'none');
    assert.equal(truth(writesOpened(decided, 'forward', at)), 'target');
    assert.equal(truth(fenceLifted(fenced, 'forward', at)), 'source');
  });

  it('goes the other way on the way back', () => {
    const back = fenceBegun(opened(started()), 'reverse', at);
    assert.equal(truth(back), 'none');
    assert.equal(back.direction, 'reverse');
    assert.equal(truth(fenceLifted(back, 'reverse', at)), 'target');
    assert.equal(fenceLifted(back, 'reverse', at).direction, 'forward');
    const decided = openingDecided(openingBeingDecided(back, 'reverse'), 'reverse');
    assert.equal(truth(writesOpened(decided, 'reverse', at)), 'source');
  });

  it('remembers one boundary per direction', () => {
    const both = boundaryTaken(boundaryTaken(started(), 'forward', 'b1'), 'reverse', 'b2');
    assert.deepEqual(currentWave(both)?.boundary, { forward: 'b1', reverse: 'b2' });
  });

  it('counts a decided opening as opened, and an undecided one not', () => {
    assert.equal(isOpened(openingBeingDecided(fenceBegun(started(), 'forward', at), 'forward')), false);
    assert.equal(isOpened(openingDecided(fenceBegun(started(), 'forward', at), 'forward')), true);
  });
});

describe('messages', () => {
  it('are refused before the plan has been read and after the end', () => {
    assert.equal(refused({ ...started(), plan: null }, 'approve', { by: 'ana' }), 'GATE_NOT_OPEN');
    assert.equal(refused({ ...started(), ended: 'completed' }, 'abort', { by: 'ana' }), 'GATE_NOT_OPEN');
  });

  for (const wrong of [undefined, null, 'ana', 7, [], {}, { by: 7 }, { by: '  ' }, { by: 'x'.repeat(201) }]) {
    it(`that are ${JSON.stringify(wrong)?.slice(0, 30)} are invalid`, () => {
      assert.equal(refused(gate(started(), 'start'), 'approve', wrong), 'MESSAGE_INVALID');
    });
  }

  it('are read loosely: what is not known is ignored', () => {
    const state = taken(gate(started(), 'start'), 'approve', { by: ' ana ', gate: '', channel: 'x', more: {} });
    assert.deepEqual(openGate(state, 'start')?.given, [{ by: 'ana', at, how: 'claimed', channel: 'signal' }]);
  });

  it('of a rollback or abort: anyone on any list, anyone when there is none', () => {
    const listed = started({ gates: { consumers: { approvers: ['eva'] } } });
    assert.equal(refused(listed, 'abort', { by: 'ana' }), 'NOT_AN_APPROVER');
    assert.equal(refused(listed, 'pause', { by: 'ana' }), 'NOT_AN_APPROVER');
    taken(listed, 'abort', { by: 'EVA' });
    taken(started(), 'abort', { by: 'ana' });
  });

  it('are cut: a long reason does not grow the state', () => {
    const state = taken(started(), 'abort', { by: 'ana', reason: 'x'.repeat(5_000) });
    assert.equal(state.request?.reason.length, 1_000);
  });

  it('leave a line for the evidence', () => {
    const state = taken(gate(started(), 'start'), 'approve', { by: 'ana', reason: 'looks good' });
    assert.deepEqual(state.decisions, [`${at} approved start, 1 of 1, by ana (claimed, signal): looks good`]);
  });
});

describe('approvals', () => {
  it('count one person once, however the name is written', () => {
    const state = taken(gate(started(), 'cutover', 2), 'approve', { gate: 'cutover', by: 'Ana' });
    assert.equal(refused(state, 'approve', { by: 'aNA ' }), 'ALREADY_APPROVED');
  });

  it('of a closed gate are late, and harmless', () => {
    const state = gateClosed(taken(gate(started(), 'start'), 'approve', { by: 'ana' }), 'start', at);
    assert.equal(refused(state, 'approve', { gate: 'start', by: 'ana' }), 'ALREADY_APPROVED');
    assert.equal(refused(state, 'approve', { gate: 'start', by: 'ben' }), 'GATE_NOT_OPEN');
  });

  it('of a gate that is over stay on record once, for status and for the evidence', () => {
    const asked = taken(gate(started(), 'cutover', 2), 'approve', { by: 'ana' });
    const state = gateClosed(taken(asked, 'approve', { by: 'ben' }), 'cutover', '2026-01-01T01:00:00.000Z');
    const [{ gate: name, digest, given, passedAt }, ...others] = passedGates(state) as [GateRecord];
    assert.deepEqual(
      [name, digest, given.map(({ by }) => by), passedAt, others],
      ['cutover', 'd1', ['ana', 'ben'], '2026-01-01T01:00:00.000Z', []],
    );
    const window = gateClosed(gate(started(), 'start', 0), 'start', at);
    assert.deepEqual(passedGates(window), [], 'nobody was asked');
    const rejected = gateRejected(
      gate(state, 'finalize'),
      'finalize',
      { by: 'eva', at: later, reason: 'no' },
      'claimed',
    );
    assert.deepEqual(passedGates(rejected), passedGates(state));
    const told = [...answeredGates(window), ...answeredGates(rejected)];
    assert.deepEqual(
      told.map(({ gate, outcome, by, at, reason }) => [gate, outcome, by.map(({ by }) => by), at, reason]),
      [
        ['start', 'approved', [], null, ''],
        ['cutover', 'approved', ['ana', 'ben'], given[1]?.at, ''],
        ['finalize', 'rejected', ['eva'], later, 'no'],
      ],
    );
  });

  it('without digest count for the one shown, with another one they do not', () => {
    const state = gate(started(), 'cutover');
    taken(state, 'approve', { by: 'ana' });
    taken(state, 'approve', { by: 'ana', digest: 'd1' });
    assert.equal(refused(state, 'approve', { by: 'ana', digest: 'd0' }), 'DIGEST_MISMATCH');
  });

  it("for the rollback come from the cutover gate's list when it has none of its own", () => {
    const state = started({ gates: { cutover: { approvers: ['ana'] } } });
    assert.deepEqual(policyOf(state.plan ?? assert.fail(), 'rollback').approvers, ['ana']);
    const own = started({ gates: { cutover: { approvers: ['ana'] }, rollback: { approvers: ['ben'] } } });
    assert.deepEqual(policyOf(own.plan ?? assert.fail(), 'rollback').approvers, ['ben']);
  });

  it('name the gate when two are open', () => {
    const state = gate(gate(opened(started()), 'finalize'), 'rollback');
    assert.equal(refused(state, 'approve', { by: 'ana' }), 'MESSAGE_INVALID');
    taken(state, 'approve', { gate: 'finalize', by: 'ana' });
  });
});

describe('going back', () => {
  it('is an abort before the opening and a rollback after it', () => {
    assert.equal(taken(started(), 'rollback', { by: 'ana' }).request?.kind, 'abort');
    assert.equal(taken(fenceBegun(started(), 'forward', at), 'rollback', { by: 'ana' }).request?.kind, 'abort');
    assert.equal(taken(opened(started()), 'rollback', { by: 'ana' }).request?.kind, 'rollback');
    assert.equal(refused(opened(started()), 'abort', { by: 'ana' }), 'USE_ROLLBACK');
  });

  it('while opening is being decided is a rollback, and an abort comes too late', () => {
    const deciding = openingBeingDecided(fenceBegun(started(), 'forward', at), 'forward');
    assert.equal(refused(deciding, 'abort', { by: 'ana' }), 'USE_ROLLBACK');
    assert.equal(taken(deciding, 'rollback', { by: 'ana' }).request?.kind, 'rollback');
  });

  it('is not asked for twice', () => {
    const asked = goingBackBegun(taken(opened(started()), 'rollback', { by: 'ana' }));
    assert.equal(asked.request, null);
    assert.equal(taken(asked, 'rollback', { by: 'ben' }).request, null);
    const approved = gateClosed(gate(asked, 'rollback'), 'rollback', at);
    assert.equal(refused(approved, 'rollback', { by: 'ben' }), 'GATE_NOT_OPEN');
    assert.equal(taken(stayedOnTarget(approved), 'rollback', { by: 'ben' }).request?.by, 'ben');
  });

  it('is refused where the plan gave the way back up, or finalizing has begun', () => {
    const oneWay = opened(started({ rollback: { reverseMirror: false } }));
    assert.equal(refused(oneWay, 'rollback', { by: 'ana' }), 'ROLLBACK_IMPOSSIBLE');
    assert.equal(refused({ ...opened(started()), finalizing: true }, 'rollback', { by: 'a' }), 'ROLLBACK_IMPOSSIBLE');
  });
});

describe('a failed step', () => {
  const failed = (choices: ('retry' | 'skip' | 'rollback')[]) =>
    stepFailed(started(), { id: 'step fence', step: 'fence', code: 'FENCE_NOT_PROVEN', message: 'x', choices });

  it('takes no choice that was meant for an earlier failure of the same step', () => {
    const state = stepFailed(started(), {
      id: 'step fence',
      step: 'fence',
      code: 'FENCE_NOT_PROVEN',
      message: 'x',
      choices: ['retry'],
      at: '2026-11-23T00:00:05.000Z',
    });
    const retry = { step: 'fence', choice: 'retry', by: 'ana' };
    assert.equal(refused(state, 'decide', { ...retry, failedAt: '2026-11-23T00:00:00.000Z' }), 'NOTHING_TO_DECIDE');
    taken(state, 'decide', { ...retry, failedAt: '2026-11-23T00:00:05.000Z' });
    taken(state, 'decide', retry);
    assert.equal(statusOf(state).failedStep?.at, '2026-11-23T00:00:05.000Z');
  });

  it('takes one of the choices that it gives, once', () => {
    const state = failed(['retry']);
    assert.equal(refused(state, 'decide', { step: 'fence', choice: 'skip', by: 'ana' }), 'MESSAGE_INVALID');
    assert.equal(refused(state, 'decide', { step: 'fence', by: 'ana' }), 'MESSAGE_INVALID');
    const decided = taken(state, 'decide', { step: 'fence', choice: 'retry', by: 'ana' });
    assert.equal(decided.failures[0]?.choice, 'retry');
    assert.equal(refused(decided, 'decide', { step: 'fence', choice: 'retry', by: 'ana' }), 'NOTHING_TO_DECIDE');
  });

  it('decided with rollback asks for the abort or the rollback', () => {
    const state = taken(failed(['retry', 'rollback']), 'decide', { step: 'fence', choice: 'rollback', by: 'ana' });
    assert.equal(state.request?.kind, 'abort');
  });
});

describe('the status', () => {
  it('is paused only when the run really stands still', () => {
    const asked = pauseAsked(started(), 'ana', at, '');
    assert.equal(statusOf(asked).state, 'running');
    assert.equal(statusOf(pauseHeld(asked)).state, 'paused');
    assert.equal(statusOf(resumed(pauseHeld(asked))).state, 'running');
  });

  it('says the exact next command', () => {
    assert.equal(nextCommand(started()), null);
    assert.equal(nextCommand(gate(started(), 'cutover')), 'kafka-cutover approve orders cutover --by WHO');
    assert.equal(nextCommand(pauseHeld(pauseAsked(started(), 'ana', at, ''))), 'kafka-cutover resume orders --by WHO');
  });

  it('records what each step did, and when', () => {
    const begun = stepBegun(started(), 'fence', at);
    const again = stepBegun(stepSaid(begun, 'fence', 'closed'), 'fence', later);
    const over = stepEnded(stepSaid(again, 'fence', 'proven'), 'fence', later);
    assert.deepEqual(statusOf(over).steps, [
      { step: 'fence', wave: 'all', direction: 'forward', startedAt: at, endedAt: later, summary: 'closed; proven' },
    ]);
  });

  it('shows at most 50 entries of each list, the newest', () => {
    let state = started();
    for (let i = 0; i < 300; i++) {
      state = messageRefused(state, { message: 'approve', by: `p${i}`, at, code: 'GATE_NOT_OPEN', text: '' });
      state = decisionNoted(state, String(i));
    }
    assert.equal(state.refused.length, stateListMax);
    assert.equal(statusOf(state).refused.length, 50);
    assert.equal(statusOf(state).refused.at(-1)?.by, 'p299');
  });

  it('repeats no finding', () => {
    const changed = { code: 'DIGEST_CHANGED', severity: 'warning', where: 'x', message: '1', next: '' } as const;
    const state = withFindings(withFindings(started(), [changed]), [{ ...changed, message: '2' }]);
    assert.deepEqual(
      state.findings.map((found) => found.message),
      ['2'],
    );
  });

  it('keeps what an inventory cannot know, and of the rest what the newest one says', () => {
    const [gone, told] = [
      finding('ACL_CHANGED', 'cluster legacy', 'a rule'),
      finding('WEBHOOK_FAILED', 'webhook chat', 'no'),
    ];
    const next = { digest: 'd2', inventory: 'i2', findings: [finding('GROUPS_SEEN', 'source', '2 classic')] };
    const { findings } = inventoried(withFindings(started(), [gone, told]), next);
    assert.deepEqual(
      findings.map(({ code }) => code),
      ['WEBHOOK_FAILED', 'GROUPS_SEEN'],
    );
  });

  it('lets findings of heartbeats change a few times soon, and then every hour until they have rested', () => {
    let state: CutoverState = started();
    const rests: number[] = [heldRestMs(state)];
    let now = Date.parse(at);
    for (const passMs of [0, 0, 0, 0, 0, 7_199_999, 7_200_000]) {
      now += passMs;
      state = heldNow(state, [], new Date(now).toISOString());
      rests.push(heldRestMs(state) / 1_000);
    }
    assert.deepEqual(rests, [0, 15, 60, 240, 960, 3_600, 3_600, 15]);
  });

  it("shows what waits to be read in Temporal's UI, and leaves out what was waived and what is only for the record", () => {
    const warning = {
      code: 'ACL_CHANGED',
      severity: 'warning',
      where: 'cluster legacy',
      message: 'a rule',
      next: '',
    } as const;
    const state = withFindings(started(), [
      warning,
      { ...warning, code: 'GROUPS_SEEN', severity: 'info' },
      { ...warning, code: 'FENCE_ON_TRUST', waived: { by: 'ana', reason: 'known' } },
      ...Array.from(
        { length: 11 },
        (_, n) => ({ ...warning, code: 'TOPIC_MISSING', severity: 'blocker', where: `${n}` }) as const,
      ),
    ]);
    const details = currentDetails(state);
    assert.match(details, /### Findings\n- TOPIC_MISSING \(0\): a rule\n/);
    assert.match(details, /- 2 more in `kafka-cutover status`/);
    assert.doesNotMatch(details, /GROUPS_SEEN|FENCE_ON_TRUST/);
    assert.match(currentDetails(withFindings(started(), [warning])), /- ACL_CHANGED \(cluster legacy\): a rule/);
    assert.doesNotMatch(currentDetails(started()), /Findings/);
  });

  it('fits the page of the UI whatever people wrote', () => {
    const state = gateOpened(measured(started(), 5, at), 'cutover', {
      needed: 1,
      approvers: [],
      digest: 'd1',
      deadline: null,
      facts: Array.from({ length: 100 }, () => 'x'.repeat(1_000)),
      at,
    });
    assert.ok(Buffer.byteLength(currentDetails(state)) <= 20_000);
  });
});

describe('the state that is carried on', () => {
  const atFinalize = () => taken(gate(opened(started()), 'finalize', 2), 'approve', { by: 'ana' });

  it('survives JSON', () => {
    const state = migrationOf(atFinalize());
    assert.deepEqual(carriedState(JSON.parse(JSON.stringify(state))), state);
  });

  it('of a build that did not keep the passed gates has none', () => {
    const { answers: _, ...shared } = migrationOf(atFinalize()).shared;
    const taken = carriedState(JSON.parse(JSON.stringify({ ...migrationOf(atFinalize()), shared })));
    assert.deepEqual(taken, migrationOf(atFinalize()));
  });

  it('of a build that kept answers for status beside those for the evidence has both', () => {
    const rejected = gateRejected(atFinalize(), 'finalize', { by: 'eva', at: later, reason: 'no' }, 'claimed');
    const state = migrationOf(gateClosed(rejected, 'finalize', '2026-11-22T10:06:00.000Z'));
    const { answers, ...shared } = state.shared;
    const [plans, wave] = state.own;
    const earlier = {
      ...state,
      shared: { ...shared, passed: passedGates({ answers }) },
      own: [plans, { ...wave, answered: answeredGates({ answers }) }],
    };
    const { shared: now } = carriedState(JSON.parse(JSON.stringify(earlier))) ?? assert.fail();
    assert.deepEqual(passedGates(now), passedGates({ answers }));
    assert.deepEqual(answeredGates(now), answeredGates({ answers }));
  });

  it('of a build that knew one wave is taken over', () => {
    const { over: _, ...flat } = gateClosed({ ...atFinalize(), done: ['preflight', 'prepare-target'] }, 'start', at);
    const taken = carriedState(JSON.parse(JSON.stringify({ version: 1, ...flat })));
    assert.ok(taken);
    assert.equal('version' in taken.shared, false);
    const [plans, wave] = taken.own;
    assert.deepEqual([plans.wave, plans.closed.map((closed) => closed.gate)], [null, ['start']]);
    assert.deepEqual({ ...viewOf(taken, 'all') }, { ...flat, over: null });
    assert.equal(wave?.wave, 'all');
  });

  it('of such a build at gate start has no wave under way', () => {
    const { over: _, ...flat } = gate(started(), 'start');
    const taken = carriedState({ version: 1, ...flat });
    assert.deepEqual(
      taken?.own.map((own) => [own.wave, own.gates.length]),
      [[null, 1]],
    );
  });

  it('of another version, or forged, is not taken', () => {
    assert.equal(carriedState(undefined), null);
    assert.equal(carriedState('x'), null);
    assert.equal(carriedState({ version: 2 }), null);
    assert.equal(carriedState({ version: 3, own: [{}] }), null);
  });
});
