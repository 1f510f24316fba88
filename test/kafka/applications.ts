/** Applications as the brokers see them: kafkajs, logged in as a user of the stack. */
import { Kafka, logLevel } from 'kafkajs';
import type { LocalCluster } from '../../stack/stack.ts';

// kafkajs computes negative timeouts, which Node 24 warns about; nothing comes of it.
process.removeAllListeners('warning');

export function applicationOf(cluster: LocalCluster, user: string): Kafka {
  return new Kafka({
    clientId: user,
    brokers: cluster.bootstrap.split(','),
    logLevel: logLevel.NOTHING,
    retry: { retries: 1, initialRetryTime: 50 },
    sasl: { mechanism: 'scram-sha-512', username: user, password: cluster.users[user] ?? '' },
  });
}
