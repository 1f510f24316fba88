/**
 * The command line `kafka-cutover`. Commands are defined here and in `commands/`, one file each; what they
 * need of Temporal and Kafka is loaded when they run, so that `--help` is quick.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { CutoverError, codes } from '../contract/errors.ts';
import { abortCommand } from './commands/abort.ts';
import { aclsCommand } from './commands/acls.ts';
import { adviseCommand } from './commands/advise.ts';
import { answerCommand } from './commands/answer.ts';
import { bridgeCommand } from './commands/bridge.ts';
import { codecCommand } from './commands/codec.ts';
import { completionCommand } from './commands/completion.ts';
import { dashboardCommand } from './commands/dashboard.ts';
import { decideCommand } from './commands/decide.ts';
import { explainCommand } from './commands/explain.ts';
import { initCommand } from './commands/init.ts';
import { laterCommands } from './commands/later.ts';
import { listenCommand } from './commands/listen.ts';
import { mirrorCommand } from './commands/mirror.ts';
import { pauseCommand } from './commands/pause.ts';
import { planCommand } from './commands/plan.ts';
import { positionsCommand } from './commands/positions.ts';
import { replicatorCommand } from './commands/replicator.ts';
import { reportCommand } from './commands/report.ts';
import { resumeCommand } from './commands/resume.ts';
import { rollbackCommand } from './commands/rollback.ts';
import { schemaCommand } from './commands/schema.ts';
import { slackCommand } from './commands/slack.ts';
import { stackCommand } from './commands/stack.ts';
import { startCommand } from './commands/start.ts';
import { statusCommand } from './commands/status.ts';
import { tuneCommand } from './commands/tune.ts';
import { unfenceCommand } from './commands/unfence.ts';
import { verifyCommand } from './commands/verify.ts';
import { workerCommand } from './commands/worker.ts';
import { exitCodes } from './exit-codes.ts';
import { type Answering, Terminal } from './terminal.ts';

/** Runs one command line and gives its exit code: 0 done, 1 failed, 2 usage, 3 refused, 4 rolled back or aborted. */
export async function main(argv: readonly string[]): Promise<number> {
  const terminal = new Terminal(argv.includes('--json'), process.env, argv.includes('--no-color'));
  let exitCode: number = exitCodes.done;
  const answering: Answering =
    (handler) =>
    async (...args) => {
      const answer = await handler(terminal, ...args);
      terminal.give(answer);
      exitCode = answer.exitCode ?? exitCodes.done;
    };
  const root = program(answering);
  try {
    await root.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) return terminal.fail(error);
    if (error.exitCode === 0) return exitCodes.done; // --help, --version
    const what = error.code === 'commander.help' ? 'no command' : error.message.replace(/^error: /, '');
    const command = argv.find((word) => !word.startsWith('-'));
    const known = root.commands.some((one) => one.name() === command);
    const next = known ? `Read \`kafka-cutover help ${command}\`.` : codes.USAGE.next;
    return terminal.fail(new CutoverError('USAGE', { what, next }));
  }
}

/** Every command, as it is parsed; what an action does is `answering`'s. */
export function program(answering: Answering): Command {
  const root = new Command('kafka-cutover')
    .description('Moves a live Kafka estate to another cluster, with people approving at gates, and back if need be.')
    .version(version())
    .helpCommand('help [command]', 'say how a command is used')
    .addHelpText('after', afterHelp);
  const commands = {
    'Move a cluster': [
      initCommand(answering),
      adviseCommand(answering),
      aclsCommand(answering),
      planCommand(answering),
      startCommand(answering),
      statusCommand(answering),
      dashboardCommand(answering),
    ],
    'Answer at gates': [
      answerCommand(answering, 'approve'),
      answerCommand(answering, 'reject'),
      decideCommand(answering),
    ],
    'Steer a running migration': [
      pauseCommand(answering),
      resumeCommand(answering),
      rollbackCommand(answering),
      abortCommand(answering),
      tuneCommand(answering),
      reportCommand(answering),
    ],
    'Without Temporal': [
      mirrorCommand(answering),
      verifyCommand(answering),
      unfenceCommand(answering),
      replicatorCommand(answering),
      positionsCommand(answering),
      bridgeCommand(answering),
    ],
    'Run it': [
      workerCommand(answering),
      slackCommand(answering),
      listenCommand(answering),
      codecCommand(answering),
      stackCommand(answering),
    ],
    Reference: [schemaCommand(answering), explainCommand(answering), completionCommand(answering, () => root)],
  };
  for (const [group, members] of Object.entries(commands)) {
    root.commandsGroup(`${group}:`);
    for (const command of members) root.addCommand(command);
  }
  for (const command of laterCommands(answering)) root.addCommand(command, { hidden: true });
  for (const command of everyCommand(root)) {
    command.exitOverride().configureOutput({ outputError: () => {} }); // failures are said by Terminal.fail
    if (command.commands.length > 0 && command !== root) continue;
    command.option('--no-color', 'no colours, as with NO_COLOR');
    if (command !== root) command.option('--json', 'print one JSON object as the last line of stdout');
  }
  return root;
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

const afterHelp = `
The usual order:
  kafka-cutover init, plan FILE, worker (it stays), start FILE --watch, approve NAME cutover, approve NAME finalize, report NAME

Environment:
  KAFKA_CUTOVER_CLUSTERS   where clusters are and how to log in (default: ./clusters.yaml)
  TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_PROFILE, ...   as for the \`temporal\` command
  NO_COLOR                 no colours
  KAFKA_CUTOVER_DEBUG      also say where in the code a failure came from

Exit codes:
  0 done   1 failed   2 usage or invalid plan   3 refused (blocker, rejected)   4 rolled back or aborted`;

/** From the package.json beside bin/, in a checkout (client/) and when built (dist/client/). */
function version(): string {
  for (const path of ['../package.json', '../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {
      // the other place
    }
  }
  return 'unknown';
}
