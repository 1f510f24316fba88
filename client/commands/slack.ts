import { Command } from 'commander';
import { interruptible } from '../interrupt.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

export function slackCommand(answering: Answering): Command {
  return new Command('slack')
    .description('post gates to Slack and take approvals from there')
    .option(
      '--policy <file>',
      'channel, tokens and who is which approver (default: $KAFKA_CUTOVER_SLACK, else ./slack.yaml)',
    )
    .action(answering(slack));
}

async function slack(terminal: Terminal, options: { readonly policy?: string }): Promise<Answer> {
  const [{ openLog }, { readSlackPolicy }] = await Promise.all([
    import('../../worker/logging.ts'),
    import('../slack/policy.ts'),
  ]);
  const policy = readSlackPolicy(options.policy, terminal.env);
  const [{ CutoverClient }, { startSlackApp }] = await Promise.all([
    import('../cutover-client.ts'),
    import('../slack/app.ts'),
  ]);
  const log = openLog(terminal.env);
  using interrupt = interruptible();
  await using client = await CutoverClient.connect(terminal.env);
  const report = policy.report ? { report: (name: string) => reportOf(terminal.env, name) } : {};
  const app = await startSlackApp({ policy, client, log, signal: interrupt.signal, ...report });
  await app.ended;
  return { json: { stopped: true }, text: 'Slack app stopped' };
}

/** The page that `report --out FILE.html` writes. */
async function reportOf(env: NodeJS.ProcessEnv, name: string): Promise<string> {
  const [{ asJson, readReport }, { reportPage }] = await Promise.all([
    import('../report/read.ts'),
    import('../report/page.ts'),
  ]);
  return reportPage(asJson(await readReport(env, name)));
}
