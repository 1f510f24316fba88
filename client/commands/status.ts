import { Command } from 'commander';
import type { Answer, Answering, Terminal } from '../terminal.ts';

interface StatusOptions {
  readonly watch?: true;
  readonly prove?: true;
}

export function statusCommand(answering: Answering): Command {
  return new Command('status')
    .description('steps, progress, lag, who is awaited and how to approve')
    .argument('<name>', "the plan's name")
    .option('--watch', 'stay and follow until the migration has ended; the exit code is then its outcome')
    .option('--prove', 'read from the clusters alone who may write where, and since when; also while Temporal is down')
    .action(answering(status));
}

async function status(terminal: Terminal, name: string, options: StatusOptions): Promise<Answer> {
  if (options.prove) {
    const { proveStatus } = await import('../proving.ts');
    return proveStatus(terminal, name);
  }
  const { CutoverClient } = await import('../cutover-client.ts');
  await using client = await CutoverClient.connect(terminal.env);
  if (options.watch) {
    const { followToTheEnd } = await import('../watching.ts');
    // Awaited: a promise returned as it is would outlive the client, which this block closes.
    return await followToTheEnd(terminal, client, name, { screen: true });
  }
  const [{ LiveView }, { statusLines }] = await Promise.all([import('../live.ts'), import('../status-screen.ts')]);
  const observation = await client.observe(name);
  const live = new LiveView().update(observation.shards);
  const { note, ending, retrying, runId } = observation;
  const style = {
    paint: terminal.paint(),
    unicode: terminal.unicode(),
    columns: terminal.columns(),
    now: Date.now(),
  };
  return {
    json: { ...observation.status, live, runId, note, ending, retrying },
    text: statusLines({ ...observation, live, awaySince: null }, style).join('\n'),
  };
}
