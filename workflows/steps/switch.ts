/**
 * switch-producers and switch-consumers once opening is decided, in either direction: writes and groups
 * are opened back to back, before anything waits for people.
 */
import { patched } from '@temporalio/workflow';
import { capabilitiesOf } from '../../contract/replicators.ts';
import type { Direction } from '../../contract/status.ts';
import type { Background } from '../background.ts';
import { interruption, type Run, type StepOptions } from '../run.ts';
import { gateDropped, openGate, reached, requested, stepBegun, stepEnded, writesOpened } from '../state.ts';
import { activities, insist, rollout, settle, webhook } from './calls.ts';
import { passGate } from './gates.ts';
import { groupsStay } from './handover.ts';

export async function openAndSwitch(run: Run, background: Background, direction: Direction): Promise<void> {
  const { plan } = run;
  const into = direction === 'forward' ? plan.target : plan.source;
  const request = { ...run.scope, direction };
  // Groups that stay on the source are there already when the way back ends.
  const everybody = ['producers', 'consumers'] as const;
  const moving = groupsStay(run.state) ? everybody.slice(0, 1) : everybody;
  const groupsMove = moving.length === everybody.length;

  await run.once(`writes-opened:${direction}`, async () => {
    // The watch would see the very rules that the opening takes away.
    if (direction === 'reverse') await background.stop('watchFence:source');
    if (capabilitiesOf(plan).promotion !== 'none') await promote(run, direction);
    await run.step(
      'switch-producers',
      async () => {
        // Runs of an earlier build let groups in afterwards.
        const groupsToo = groupsMove && patched('open-groups-too');
        const opened = await activities.openWrites.executeWithOptions(insist(`open ${into}`), [
          { ...request, groupsToo },
        ]);
        run.report('switch-producers', opened, 'open-writes');
        if (groupsToo) run.change(reached(run.state, `groups-opened:${direction}`));
      },
      { choices: ['retry'], insist: true, goesOn: true },
    );
    run.change(writesOpened(run.state, direction, run.now));
  });
  if (groupsMove) await openGroups(run, direction);

  // Webhooks first: whoever moves by itself does not wait for people.
  for (const who of moving) {
    if (plan[who].switch !== 'manual') await run.once(`${who}:${direction}`, () => callSwitch(run, direction, who));
  }
  for (const who of moving) {
    if (plan[who].switch === 'manual') await run.once(`${who}:${direction}`, () => awaitSwitch(run, direction, who));
  }
}

/** Cannot be taken back, so only once opening is decided. */
async function promote(run: Run, direction: Direction): Promise<void> {
  await run.once(`promoted:${direction}`, async () => {
    await run.step(
      'switch-producers',
      async () => {
        const into = direction === 'forward' ? run.plan.target : run.plan.source;
        const request = { ...run.scope, direction };
        run.report(
          'switch-producers',
          await activities.promote.executeWithOptions(settle(`promote ${into}`), [request]),
        );
      },
      { choices: ['retry'], insist: true, goesOn: true },
    );
  });
}

export async function openGroups(run: Run, direction: Direction): Promise<void> {
  const into = direction === 'forward' ? run.plan.target : run.plan.source;
  await run.once(`groups-opened:${direction}`, async () => {
    await run.step(
      'switch-consumers',
      async () => {
        const request = { ...run.scope, direction };
        const opened = await activities.openGroups.executeWithOptions(insist(`let groups in on ${into}`), [request]);
        run.report('switch-consumers', opened, 'open-groups');
      },
      { choices: ['retry'], insist: true, goesOn: true },
    );
  });
}

export async function callSwitch(run: Run, direction: Direction, who: 'producers' | 'consumers'): Promise<void> {
  const step = `switch-${who}` as const;
  const request = { ...run.scope, direction, who, boundary: run.boundary(direction) };
  const { configMap } = run.plan[who];
  await run.step(
    step,
    async () => {
      const how = configMap
        ? rollout(`switch ${configMap.kind} ${configMap.name} for ${who}`, configMap.rollout)
        : webhook(`call the webhook for ${who}`);
      const switched = await activities.callSwitch.executeWithOptions(how, [request]);
      run.report(step, switched);
    },
    { choices: choicesOf(direction) },
  );
}

async function awaitSwitch(run: Run, direction: Direction, who: 'producers' | 'consumers'): Promise<void> {
  const step = `switch-${who}` as const;
  const into = direction === 'forward' ? run.plan.target : run.plan.source;
  const facts = [`${into} is open: point the ${who} at it, then approve`];
  await run.border();
  run.change(stepBegun(run.state, step, run.now));
  if ((await passGate(run, who, { step, facts })) === 'rejected') goBack(run, who);
  run.report(step, { summary: `people say that the ${who} were pointed at ${into}` });
  run.change(stepEnded(run.state, step, run.now));
}

/** A rejected gate after the opening asks for a rollback; who rejected has not approved that yet. */
export function goBack(run: Run, gate: 'producers' | 'consumers' | 'finalize'): never {
  const rejected = openGate(run.state, gate)?.rejected;
  const { by = 'nobody', reason = '' } = rejected ?? {};
  const request = {
    kind: 'rollback',
    by,
    at: run.now,
    reason,
    channel: 'signal',
    removeTarget: false,
    counts: false,
  } as const;
  run.change(requested(gateDropped(run.state, gate), request));
  throw interruption();
}

export function choicesOf(direction: Direction): StepOptions['choices'] {
  return direction === 'forward' ? ['retry', 'skip', 'rollback'] : ['retry', 'skip'];
}
