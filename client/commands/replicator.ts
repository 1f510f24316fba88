import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

export function replicatorCommand(answering: Answering): Command {
  return new Command('replicator')
    .description('print the configuration of a replicator that people run themselves; changes nothing')
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(replicator));
}

async function replicator(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  if (plan.replicator.kind !== 'mirrormaker2') {
    throw new CutoverError('REPLICATOR_CANNOT', {
      what: 'that replicator has no configuration for people to run',
      where: 'plan replicator.kind',
      found: plan.replicator.kind,
      wanted: 'mirrormaker2',
    });
  }
  const { runDedicated } = await import('../../activities/foreground-replicator.ts');
  const { properties, secrets } = await runDedicated(plan, clusters);
  return {
    json: { name: plan.name, properties, secrets },
    text: [
      `# MirrorMaker 2 for plan ${plan.name}: connect-mirror-maker.sh FILE`,
      ...(secrets.length > 0 ? [`# Secrets, in its environment: ${secrets.join(', ')}`] : []),
      properties.trimEnd(),
    ].join('\n'),
  };
}
