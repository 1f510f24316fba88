import type { ChildProcess } from 'node:child_process';

/** Ends a row's process with the bench, however that ends. Brokers alone outlive it until it stops them. */
export function endWithBench<Child extends ChildProcess>(child: Child): Child {
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('close', () => process.off('exit', kill));
  return child;
}
