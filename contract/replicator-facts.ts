/**
 * What is known of each replicator, for people who choose one: `kafka-cutover advise` and docs/replicators.md are both made of this list. What it can do is
 * in replicators.ts.
 */
import type { ReplicatorKind } from './replicators.ts';

export interface ReplicatorFacts {
  readonly title: string;
  /** What holds after a move with it, with our steps around it. */
  readonly keeps: readonly string[];
  /** What stays a risk with it, whatever is done around it. */
  readonly risks: readonly string[];
  readonly runs: string;
  readonly scales: string;
  readonly upgrades: string;
  readonly debugs: string;
  /** Records that are lost at worst when the source is lost without warning. */
  readonly rpo: string;
  /** Until applications write again: a move that people prepared. */
  readonly rto: string;
  /** Regions, accounts, versions, logins, licence. */
  readonly limits: readonly string[];
  /** What this version has tried with it. */
  readonly tried: 'real' | 'definition' | 'nothing';
  readonly triedHow: string;
  readonly sources: readonly string[];
}

const apache = 'Apache Kafka 4.3.1, connect/mirror and connect/runtime';

export const replicatorFacts = {
  exact: {
    title: 'exact (ours)',
    keeps: [
      'partition, offset, key, value, headers and timestamp of every committed record, under both isolation levels',
      "positions as they are, also those kept outside Kafka (Flink, Iceberg, databases); transactions' shape; holes of compacted topics",
      'what is written to the target after the switch, on the way back, at the same offsets',
    ],
    risks: ['the target topic must be empty or ours: a target that has records of its own needs another replicator'],
    runs: 'our workers: `kafka-cutover worker`',
    scales: 'start more workers; `tune` changes shards and the rate while it runs',
    upgrades: 'stop and start a worker: its shards go on elsewhere',
    debugs: 'you, with docs/codes.md; `status` says what it waits for; every refusal has a code',
    rpo: 'the lag, usually below a second; shown at each gate',
    rto: 'seconds from fence to opening, at most fence.maxHold (60 s)',
    limits: [
      'source 2.5 or later (2.8 for the way back), target 3.0 or later',
      'ALTER or CLUSTER_ACTION on the target for topics with transactions or holes',
      'Apache-2.0',
    ],
    tried: 'real',
    triedHow: 'in every test; source 2.5.1, 3.9.2, target 4.3.1',
    sources: ['docs/mirror.md', 'docs/benchmarks.md'],
  },
  mirrormaker2: {
    title: 'MirrorMaker 2',
    keeps: [
      'partition, key, value, headers and timestamp of every committed record, in order',
      'positions in Kafka, each proven by comparing the record that is read next',
      'settings, access rules and quotas, by our steps and not by its own',
      'what is written to the target after the switch, on the way back (Connect only)',
    ],
    risks: [
      'offsets differ: positions kept outside Kafka are of no use on the target',
      'at least once: a worker that dies writes again what it had not noted; counted and named, not taken away',
      'retention or a recreated topic on the source can outrun it without a word; our comparison stops the move then',
      'compacted topics: what a cleaner removed meanwhile cannot be told from what was never copied',
      'transactions are copied as plain records; markers and aborted records are left out',
    ],
    runs: 'you: a Kafka Connect cluster, or a dedicated process',
    scales: 'more Connect workers and `tasks.max`; 5 to 10 partitions a task',
    upgrades: 'a rolling restart of the Connect workers; each may repeat records',
    debugs: "you, in the Connect workers' logs; we show a failed task's reason and start it again five times",
    rpo: 'its lag, usually seconds',
    rto: 'seconds from fence to opening, at most fence.maxHold',
    limits: [
      'Kafka Connect 3.7 or later for the move that we drive; brokers from 2.4 on',
      'passwords or certificates: token logins need settings that only its workers can hold',
      'identity names for a move; prefixed names are refused, since applications ask for the old ones',
      'Apache-2.0',
    ],
    tried: 'real',
    triedHow:
      'a whole move and rollback on Connect 4.3.1 with source 3.9.2 and target 4.3.1, in the tests; dedicated mode: run with the file as we print it, in the tests, up to the proof of the copy',
    sources: [apache, 'KIP-382, 545, 710, 716, 875, 949, 980', 'Strimzi documentation, high volumes'],
  },
  'msk-replicator': {
    title: 'Amazon MSK Replicator',
    keeps: [
      'partition, key, value, timestamp and headers of every committed record, with one header of its own more, under identical topic names',
      'positions in Kafka, each proven by comparing the record that is read next',
      'settings, access rules and quotas, by our steps and not by its own',
      'what is written to the target after the switch, on the way back, where both clusters are on MSK',
    ],
    risks: [
      'offsets differ: positions kept outside Kafka are of no use on the target',
      'at least once; a replicator that stays after the switch may write its last records once more',
      '`MessageLag` is what it has not read yet, not what the target lacks; a refused topic shows as latency 0',
      'the way back begins at the start of the logs: that it leaves out what came from the source rests on its own filter (header `__mskmr`)',
    ],
    runs: 'AWS',
    scales: 'AWS; about 0.3 MB/s a partition by its sizing table',
    upgrades: 'AWS',
    debugs: 'AWS support, CloudWatch',
    rpo: 'its lag',
    rto: 'minutes where it is deleted at the switch, seconds where it is left',
    limits: [
      'Kafka 2.8.1 or later, both clusters in one account',
      'a source outside MSK needs SASL/SCRAM with TLS, and an MSK Express target',
      'paid by the hour and gigabyte',
    ],
    tried: 'definition',
    triedHow:
      "against a stand-in that checks requests and answers by AWS's service models (botocore 1.43.11), also through a whole move and back with a copier of ours behind it; never against AWS",
    sources: ['Amazon MSK developer guide, MSK Replicator', 'docs/replicators-vendors.md'],
  },
  'cluster-linking': {
    title: 'Confluent Cluster Linking',
    keeps: [
      'bytes and offsets as they are, so positions too, also those kept outside Kafka',
      'topic settings, by the link; access rules, quotas and positions, by our steps',
      "what is written to the target after the switch, on the way back, where both clusters are Confluent's",
    ],
    risks: [
      'access-rule sync deletes rules of the target that its filter covers',
      'promoting is asynchronous: accepted is not done, topics may stay PENDING_STOPPED',
      'older documents advise against transactional topics',
    ],
    runs: 'Confluent Cloud, or you on Confluent Platform',
    scales: 'Confluent, by cluster size',
    upgrades: 'with the target cluster',
    debugs: 'Confluent support; mirror topic states over REST',
    rpo: 'its lag',
    rto: 'as long as promoting takes, per topic; seconds to minutes',
    limits: [
      'the target is Confluent Platform 7 or Confluent Cloud',
      'mirror topics are read-only until promoted',
      'commercial licence',
    ],
    tried: 'definition',
    triedHow:
      'against a stand-in of the REST API v3 definition, also through a whole move and back with a copier of ours behind it; never against a real cluster',
    sources: [
      'docs/replicators-vendors.md',
      'Confluent documentation, Cluster Linking',
      'confluentinc/kcp issues 367, 371, 385, 397',
    ],
  },
  'automq-linking': {
    title: 'AutoMQ Kafka Linking',
    keeps: [
      'bytes and offsets as they are, so positions too, also those kept outside Kafka',
      'access rules, quotas and positions, by our steps',
    ],
    risks: [
      'what is written to the target before the promotion is forwarded to the source, past a fence of rules there',
      'deleting a mirror topic deletes the topic, also a promoted one: links and topics are never taken away',
      'nothing is documented for the way back after promoting',
      'its engine is closed: only its interface is public',
    ],
    runs: 'AutoMQ, in the target cluster',
    scales: 'with the target cluster',
    upgrades: 'with the target cluster',
    debugs: 'AutoMQ support',
    rpo: 'its lag',
    rto: 'as long as promoting takes',
    limits: ['the target is AutoMQ', 'source Kafka 0.11 or later, no MSK IAM', 'commercial'],
    tried: 'definition',
    triedHow:
      'against a stand-in made of its Terraform provider, also through a whole move with a copier of ours behind it; never against a real environment',
    sources: [
      'docs/replicators-vendors.md',
      'AutoMQ/terraform-provider-automq',
      'AutoMQ documentation, Kafka Linking',
      'AutoMQ/automq, KafkaLinkingManager',
    ],
  },
  bridge: {
    title: 'application-level bridge',
    keeps: [
      'what your own module makes of the records, each once: filtered, under other keys, with other values; judged by doing it again',
      'the order of each key; which record became which, in a topic of the target',
      'positions in Kafka, by that topic: nothing is skipped, and what is read again is counted',
    ],
    risks: [
      'offsets differ; what was left out cannot come back, and there is no way back after the switch',
      'your code runs in our workers, on the path of every record',
      'a new key mixes partitions: a group goes on at the first record that it has not read, and reads others again',
    ],
    runs: 'our workers, with your module; or you: `kafka-cutover bridge FILE`, in the foreground, for topics of other names',
    scales: 'more workers and `mirror.shards`, by partition',
    upgrades: 'stop it and start it again: it goes on where it was; another module means starting from nothing',
    debugs: 'you; what the module cannot take lies in a dead-letter topic, with the reason',
    rpo: 'its lag',
    rto: 'seconds from fence to opening, at most fence.maxHold; in the foreground yours',
    limits: [
      'for narrow workloads that need changed records: its map is held in memory',
      'topics keep their names in a workflow',
    ],
    tried: 'real',
    triedHow:
      'on real brokers in the tests: a whole move, without a way back; in the foreground killed and started again',
    sources: ['docs/bridge.md'],
  },
  external: {
    title: 'another system, by webhooks',
    keeps: ['what that system keeps; records compared by us, positions made exact by that'],
    risks: [
      'that it has stopped is its word, and its login shut out',
      'a dual write is no copy in order: our comparison stops the move',
    ],
    runs: 'you',
    scales: 'you',
    upgrades: 'you',
    debugs: 'you',
    rpo: 'as it says',
    rto: 'as it says',
    limits: ['it answers a webhook for each verb'],
    tried: 'definition',
    triedHow: 'against a receiver in the tests that checks each call; no whole move with one',
    sources: ['docs/webhook.md', 'docs/replicators-vendors.md'],
  },
} as const satisfies Record<ReplicatorKind, ReplicatorFacts>;
