/**
 * What people see in Slack: the card of a migration, its gates, windows that ask for a reason or show details. Pure; within the limits that
 * Slack sets for Block Kit, whatever a plan or a person has written.
 */
import type { types } from '@slack/bolt';
import { approveCommand, named } from '../status-screen.ts';
import type { AnsweredAnswer, GateAnswer, StatusAnswer } from '../temporal-answers.ts';
import { printable } from '../terminal.ts';
import { count } from '../units.ts';

/** Block Kit's limits (docs.slack.dev/reference/block-kit/blocks). */
const sectionMax = 3_000;
const fieldMax = 2_000;
const headerMax = 150;
/** Of a window. */
const titleMax = 24;
/** A message's own text, which notifications show. */
export const textMax = 3_900;
/** A window that shows details holds at most 100 blocks; one for each paragraph stays far below. */
const detailsMax = 20;
export const reasonMax = 1_000;

export const actions = { approve: 'cutover_approve', reject: 'cutover_reject', details: 'cutover_details' } as const;
/** Of a failed step, by choice. */
export const choiceActions = { retry: 'cutover_retry', skip: 'cutover_skip', rollback: 'cutover_rollback' } as const;
export type Choice = keyof typeof choiceActions;
export const reasonWindow = 'cutover_reason';
export const reasonInput = { block: 'reason', action: 'text' } as const;

/** What a button stands for: what its message showed. */
export interface Shown {
  readonly migration: string;
  /** First run of the chain. */
  readonly run: string;
  readonly gate: string;
  readonly wave: string | null;
  readonly openedAt: string;
  readonly digest: string | null;
}

/** What a button below a failed step stands for. */
export interface ShownFailure {
  readonly migration: string;
  readonly run: string;
  readonly step: string;
  readonly wave: string | null;
  readonly failedAt: string;
  readonly choice: Choice;
}

/** What a window asks the reason for. */
export type Asked =
  | ({ readonly message: 'reject' } & Shown)
  | ({ readonly message: 'decide' } & ShownFailure)
  | {
      readonly message: 'rollback';
      readonly migration: string;
      readonly run: string;
    };

export interface Content {
  /** For notifications, and where blocks cannot be shown. */
  readonly text: string;
  readonly blocks: types.KnownBlock[];
}

/** The card of one migration; its thread follows the steps. */
export function cardOf(
  status: StatusAnswer,
  more: { readonly note: string | null; readonly outcome: string | null },
): Content {
  const { note, outcome } = more;
  const state = outcome ?? status.state;
  const title = `${status.name}: ${state} at ${status.step}`;
  const truth = Object.entries(status.sourceOfTruth).map(([wave, side]) => (named(wave) ? `${wave}: ${side}` : side));
  const lag = status.lagRecords === null ? 'not measured' : `${count(status.lagRecords)} records`;
  const awaited = status.failedStep
    ? `a decision: ${status.failedStep.step} failed`
    : status.awaiting
      ? `gate ${status.awaiting.gate}`
      : 'nobody';
  return {
    text: cut(plain(title), textMax),
    blocks: [
      header(title),
      fields([
        ['From, to', `${status.source} → ${status.target}`],
        ['Source of truth', truth.join(', ') || 'source'],
        ['Lag', lag],
        ['Waits for', outcome === null ? awaited : 'nobody'],
      ]),
      ...(note && outcome === null ? [section(`:warning: ${plain(note)}`)] : []),
    ],
  };
}

/** An open gate, with the numbers that matter and its buttons. */
export function openGate(status: StatusAnswer, gate: GateAnswer, run: string): Content {
  const { name } = status;
  const shown: Shown = {
    migration: name,
    run,
    gate: gate.gate,
    wave: gate.wave,
    openedAt: gate.openedAt,
    digest: gate.digest,
  };
  const value = JSON.stringify(shown);
  const button = (text: string, action_id: string, style?: 'primary' | 'danger'): types.Button => ({
    type: 'button',
    text: { type: 'plain_text', text },
    action_id,
    value,
    ...(style && { style }),
  });
  const given = gate.given.map(({ by, how }) => `${by} (${how})`).join(', ');
  return {
    text: cut(plain(`${titleOf(name, gate)} is open: ${approvalsOf(gate)}`), textMax),
    blocks: [
      header(titleOf(name, gate)),
      ...numbers(status, gate),
      context(
        `Open since ${gate.openedAt}${gate.deadline ? `, until ${gate.deadline}` : ''}. Given by: ${given || 'nobody'}.`,
      ),
      {
        type: 'actions',
        elements: [
          button('Approve', actions.approve, 'primary'),
          // People hold the fence: there is nothing but lifting it.
          ...(gate.gate === 'unfence' ? [] : [button('Reject', actions.reject, 'danger')]),
          button('Details', actions.details),
        ],
      },
    ],
  };
}

/** A gate that is over: what came of it and by whom. `null`: the run went on without it. */
export function closedGate(
  name: string,
  gate: Pick<GateAnswer, 'gate' | 'wave'>,
  answered: AnsweredAnswer | null,
): Content {
  const title = titleOf(name, gate);
  const said = answered === null ? 'closed: the migration went on, or ended, without it' : answeredText(answered);
  return {
    text: cut(plain(`${title}: ${said}`), textMax),
    blocks: [header(title), section(mark(answered) + plain(said))],
  };
}

/** What each choice does, in a few words. */
const choices: Readonly<Record<Choice, { readonly label: string; readonly does: string }>> = {
  retry: { label: 'Retry', does: 'does it again' },
  skip: { label: 'Skip', does: 'goes on without it' },
  rollback: { label: 'Roll back', does: 'gives up before the target is opened, and goes back afterwards' },
};
const isChoice = (text: string): text is Choice => text in choices;

/** A step that failed and waits for people. A failure that says no time cannot be told from the next one, so it has no buttons. */
export function failedStep(status: StatusAnswer, run: string): Content | null {
  const { name, wave, failedStep: failure } = status;
  if (failure === null || failure.at === null) return null;
  const { step, code, message, at } = failure;
  const offered = failure.choices.filter(isChoice);
  const button = (choice: Choice): types.Button => {
    const shown: ShownFailure = { migration: name, run, step, wave, failedAt: at, choice };
    const style = { retry: 'primary', skip: undefined, rollback: 'danger' } as const;
    return {
      type: 'button',
      text: { type: 'plain_text', text: choices[choice].label },
      action_id: choiceActions[choice],
      value: JSON.stringify(shown),
      ...(style[choice] && { style: style[choice] }),
    };
  };
  const title = failureTitle(name, step, wave);
  return {
    text: cut(plain(`${title}: ${message || code}`), textMax),
    blocks: [
      header(title),
      section(`:rotating_light: ${plain(message || code)}`),
      context(
        `Failed at ${at}. ${offered.map((choice) => `${choices[choice].label} ${choices[choice].does}`).join('; ')}.`,
      ),
      ...(offered.length === 0 ? [] : [{ type: 'actions' as const, elements: offered.map(button) }]),
    ],
  };
}

/** A failure that is over: what was decided and by whom. `null`: the run went on, or ended, without a decision. */
export function closedFailure(
  { name, decisions }: Pick<StatusAnswer, 'name' | 'decisions'>,
  { step, wave, at }: { readonly step: string; readonly wave: string | null; readonly at: string },
): Content {
  const ours = ` for ${step}${named(wave) ? ` (wave ${wave})` : ''}, `;
  const decided = decisions.find((line) => line > at && / decided \w+ for /.test(line) && line.includes(ours));
  const said = decided ?? 'closed: the migration went on, or ended, without a decision';
  const title = failureTitle(name, step, wave);
  return { text: cut(plain(`${title}: ${said}`), textMax), blocks: [header(title), section(plain(said))] };
}

function failureTitle(name: string, step: string, wave: string | null): string {
  return `${name}: ${step}${named(wave) ? ` of wave ${wave}` : ''} failed`;
}

/** `approved by ana (verified), ben (claimed) at …`; the thread says the same. */
export function answeredText({ outcome, by, at, reason }: AnsweredAnswer): string {
  if (by.length === 0) return 'passed: its window ended';
  const who = by.map((one) => `${one.by} (${one.how})`).join(', ');
  return `${outcome} by ${who}${at ? ` at ${at}` : ''}${reason ? `: ${reason}` : ''}`;
}

/** Asks for a reason; what it is for travels in the window itself. */
export function reasonView(asked: Asked): types.ModalView {
  const { what, means, submit } = questionOf(asked);
  return {
    type: 'modal',
    callback_id: reasonWindow,
    private_metadata: JSON.stringify(asked),
    title: { type: 'plain_text', text: cut(what, titleMax) },
    submit: { type: 'plain_text', text: submit },
    close: { type: 'plain_text', text: 'Cancel' },
    blocks: [
      section(means),
      {
        type: 'input',
        block_id: reasonInput.block,
        label: { type: 'plain_text', text: 'Why' },
        element: { type: 'plain_text_input', action_id: reasonInput.action, multiline: true, max_length: reasonMax },
      },
    ],
  };
}

function questionOf(asked: Asked): { readonly what: string; readonly means: string; readonly submit: string } {
  const back =
    'before the target is opened the migration is aborted; afterwards gate `rollback` opens, with what it costs.';
  switch (asked.message) {
    case 'reject':
      return {
        what: `Reject gate ${asked.gate}`,
        means: `*${plain(titleOf(asked.migration, asked))}*`,
        submit: 'Reject',
      };
    case 'rollback':
      return { what: 'Roll back', means: `*${plain(asked.migration)}*: ${back}`, submit: 'Roll back' };
    default: {
      const title = plain(failureTitle(asked.migration, asked.step, asked.wave));
      const { label } = choices[asked.choice];
      const does = asked.choice === 'rollback' ? back : `the run ${choices[asked.choice].does}.`;
      return { what: `${label} ${asked.step}`, means: `*${title}*: ${does}`, submit: label };
    }
  }
}

/** Everything about a gate, and the command for those who would rather type. */
export function detailsView(status: StatusAnswer, gate: GateAnswer): types.ModalView {
  const findings = status.findings
    .filter(({ severity }) => severity !== 'info')
    .map(({ code, where, message, waived }) =>
      [`${code} (${where})`, waived ? `waived by ${waived.by}: ${waived.reason}` : message].join(': '),
    );
  const steps = status.steps.filter(({ summary }) => summary !== '').map(({ step, summary }) => `${step}: ${summary}`);
  const who = gate.approvers.length === 0 ? 'anyone' : gate.approvers.join(', ');
  const paragraphs: [string, readonly string[]][] = [
    ['Approvers', [`${who}${gate.proof === 'required' ? '; signed answers only' : ''}`]],
    ['Plan digest', [gate.digest ?? 'none']],
    ['What is known', gate.facts],
    ['Findings', findings],
    ['Steps', steps],
  ];
  const shown = paragraphs.filter(([, lines]) => lines.length > 0).slice(0, detailsMax);
  return {
    type: 'modal',
    title: { type: 'plain_text', text: cut(`Gate ${gate.gate}`, titleMax) },
    close: { type: 'plain_text', text: 'Close' },
    blocks: [
      section(`*${plain(titleOf(status.name, gate))}*, ${approvalsOf(gate)}`),
      ...shown.map(([title, lines]) => section(`*${title}*\n${lines.map((line) => `• ${plain(line)}`).join('\n')}`)),
      section(`\`\`\`${plain(approveCommand(status.name, gate))}\`\`\``),
    ],
  };
}

/** Answers to a slash command. */
export function statusText(status: StatusAnswer): string {
  const truth = Object.entries(status.sourceOfTruth).map(([wave, side]) => (named(wave) ? `${wave}: ${side}` : side));
  const lines = [
    `*${plain(status.name)}*: ${plain(status.state)} at ${plain(status.step)}, ${plain(status.source)} → ${plain(status.target)}`,
    `source of truth: ${plain(truth.join(', ') || 'source')}; lag: ${status.lagRecords === null ? 'not measured' : count(status.lagRecords)}`,
    ...status.gates.map((gate) => `gate ${plain(gate.gate)}: ${approvalsOf(gate)}`),
    ...(status.next ? [`\`${plain(status.next)}\``] : []),
  ];
  return cut(lines.join('\n'), textMax);
}

function numbers(status: StatusAnswer, gate: GateAnswer): types.KnownBlock[] {
  const waived = status.findings.filter((found) => found.waived).map(({ code }) => code);
  const lag = status.lagRecords === null ? 'not measured' : `${count(status.lagRecords)} records`;
  return [
    fields([
      ['From, to', `${status.source} → ${status.target}`],
      ['Approvals', approvalsOf(gate)],
      ['Approvers', gate.approvers.join(', ') || 'anyone'],
      ['Lag', lag],
      ['Findings waived', waived.length === 0 ? 'none' : `${waived.length}: ${[...new Set(waived)].join(', ')}`],
      ['Plan digest', gate.digest ?? 'none'],
    ]),
    ...(gate.facts.length === 0 ? [] : [section(gate.facts.map((fact) => `• ${plain(fact)}`).join('\n'))]),
  ];
}

const approvalsOf = (gate: GateAnswer): string =>
  `${gate.given.length} of ${gate.needed} approvals${gate.proof === 'required' ? ', signed' : ''}`;

function titleOf(name: string, { gate, wave }: Pick<GateAnswer, 'gate' | 'wave'>): string {
  return `${name}: gate ${gate}${named(wave) ? ` of wave ${wave}` : ''}`;
}

function mark(answered: AnsweredAnswer | null): string {
  if (answered === null) return '';
  return answered.outcome === 'approved' ? ':white_check_mark: ' : ':no_entry: ';
}

function header(text: string): types.HeaderBlock {
  return { type: 'header', text: { type: 'plain_text', text: cut(printable(text), headerMax) } };
}

function section(text: string): types.SectionBlock {
  return { type: 'section', text: { type: 'mrkdwn', text: cut(text, sectionMax) } };
}

function context(text: string): types.ContextBlock {
  return { type: 'context', elements: [{ type: 'mrkdwn', text: cut(plain(text), fieldMax) }] };
}

function fields(pairs: readonly (readonly [string, string])[]): types.SectionBlock {
  const shown = pairs.map(([name, text]) => ({
    type: 'mrkdwn' as const,
    text: cut(`*${name}*\n${plain(text)}`, fieldMax),
  }));
  return { type: 'section', fields: shown };
}

/** Slack's control characters are three; escaped, nobody's text calls a channel or makes a link. */
export function plain(text: string): string {
  return printable(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Never in the middle of an escape. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  return `${text.slice(0, max - 1).replace(/&[a-z]{0,3}$/, '')}…`;
}
