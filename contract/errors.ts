/**
 * The closed list of codes: every refusal, failure and preflight finding carries one of them.
 *
 * A code is the failure `type` in Temporal, the `code` in `--json` output and the word in
 * `docs/codes.md` (generated from this list; a test holds the two together).
 */

/** `blocker` stops a migration before anything is changed; failures at run time are blockers too. */
export type Severity = 'blocker' | 'warning' | 'info';

export interface CodeEntry {
  readonly severity: Severity;
  /** Whether trying the same thing again, unchanged, can succeed. */
  readonly retryable: boolean;
  /** What it means, one sentence. */
  readonly meaning: string;
  /** What the operator does next, one sentence. */
  readonly next: string;
}

export const codes = {
  // Input
  PLAN_INVALID: entry(
    'blocker',
    false,
    'The plan file has an unknown key, a missing key or a wrong value.',
    'Mend the plan at the path that the message names.',
  ),
  CLUSTERS_INVALID: entry(
    'blocker',
    false,
    'The clusters file cannot be read, or holds a wrong value or an unset secret.',
    'Mend clusters.yaml, set the variable that it names, or point KAFKA_CUTOVER_CLUSTERS to the right file.',
  ),
  CODEC_INVALID: entry(
    'blocker',
    false,
    'The file of keys that encrypt payloads cannot be read, or holds a wrong or unset key.',
    'Mend the file that KAFKA_CUTOVER_CODEC names.',
  ),
  SLACK_INVALID: entry(
    'blocker',
    false,
    'The file slack.yaml cannot be read, or holds a wrong value or an unset secret.',
    'Mend slack.yaml, or set KAFKA_CUTOVER_SLACK to the right file.',
  ),
  CLUSTER_UNKNOWN: entry(
    'blocker',
    false,
    'A plan names a cluster that clusters.yaml does not define.',
    'Define the cluster in clusters.yaml or correct its name in the plan.',
  ),
  WEBHOOK_UNKNOWN: entry(
    'blocker',
    false,
    'A plan needs a webhook that clusters.yaml does not define.',
    'Define the webhook in clusters.yaml or choose another switch.',
  ),
  KUBERNETES_UNKNOWN: entry(
    'blocker',
    false,
    'A plan needs a Kubernetes cluster that clusters.yaml does not define, or that cannot be told.',
    'Define it under `kubernetes` in clusters.yaml, or name it in the plan.',
  ),
  USAGE: entry('blocker', false, 'The command line is wrong.', 'Read `kafka-cutover help`.'),
  NOT_SUPPORTED_YET: entry(
    'blocker',
    false,
    'The command comes with a later version.',
    'Wait for a version that has it.',
  ),
  WORKFLOW_ID_MISMATCH: entry(
    'blocker',
    false,
    'The workflow was started under an id that is not cutover/<plan name>.',
    'Start it again under that id: the id is what keeps one plan from running twice.',
  ),

  REPLICATOR_UNKNOWN: entry(
    'blocker',
    false,
    'A plan names a place where its replicator runs that clusters.yaml does not define.',
    'Define it under `connects` or `replicators` in clusters.yaml, or correct its name in the plan.',
  ),
  REPLICATOR_CANNOT: entry(
    'blocker',
    false,
    'The plan asks for a step that its replicator cannot do.',
    'Choose another replicator, or change the plan as the message says.',
  ),
  REPLICATOR_LEAVES: entry(
    'info',
    false,
    'The replicator leaves something out or gets it wrong by default; our settings or steps see to it.',
    'Nothing, unless the plan switches off what sees to it.',
  ),
  REPLICATOR_RISK: entry(
    'warning',
    false,
    'What stays a risk with this replicator, whatever we do around it.',
    'Accept it by approving, or choose a replicator without it: `kafka-cutover advise FILE`.',
  ),

  // Reaching things
  CLUSTER_UNREACHABLE: entry(
    'blocker',
    true,
    'No broker of the cluster answers.',
    'Check the bootstrap addresses, the network and whether the brokers run.',
  ),
  CLUSTER_AUTH_FAILED: entry(
    'blocker',
    false,
    'The login cannot succeed: the cluster refuses our credentials, or we do not trust its certificate.',
    'Check what the message names in clusters.yaml: mechanism, user name, password, token or certificates.',
  ),
  CLUSTER_ACCESS_DENIED: entry(
    'blocker',
    false,
    'The cluster refuses an operation to the principal that tried it.',
    'Grant the operation that the message names.',
  ),
  KAFKA_REQUEST_FAILED: entry(
    'blocker',
    true,
    'A broker answered a request with an error.',
    'Read the Kafka error in the message.',
  ),
  TEMPORAL_UNREACHABLE: entry(
    'blocker',
    true,
    'Temporal does not answer.',
    'Check TEMPORAL_ADDRESS and whether the server runs.',
  ),
  WORKER_UNHEALTHY: entry(
    'blocker',
    true,
    'The worker does not answer at its metrics endpoint, or polls no task queue.',
    'Read its log: it says what it waits for, which is mostly Temporal.',
  ),
  PAYLOAD_UNREADABLE: entry(
    'blocker',
    false,
    'Temporal holds encrypted payloads, and the key that they were encrypted with is not there.',
    'Set KAFKA_CUTOVER_CODEC to the keys that the workers use, older ones included.',
  ),
  SLACK_UNREACHABLE: entry(
    'blocker',
    true,
    'Slack does not answer, or refuses the app.',
    'Check the tokens, the scopes and the channel in slack.yaml against docs/slack.md, and the network.',
  ),
  MIGRATION_NOT_FOUND: entry(
    'blocker',
    false,
    'No migration of that name is known.',
    'Check the name with `temporal workflow list`.',
  ),
  WEBHOOK_FAILED: entry(
    'blocker',
    true,
    'A webhook did not answer with 2xx.',
    'Look at the receiving side; the call is repeated under the same id.',
  ),
  RECORDS_DUPLICATED: entry(
    'warning',
    false,
    'The replicator wrote records more than once, as it does when one of its workers dies.',
    'Let consumers skip what they have seen, or choose a replicator that writes each record once: `kafka-cutover advise FILE`.',
  ),
  REPLICATOR_UNREACHABLE: entry(
    'blocker',
    true,
    "The replicator's control API does not answer, or cannot answer now.",
    'Check its address in clusters.yaml, the network and whether it runs.',
  ),
  REPLICATOR_REFUSED: entry(
    'blocker',
    false,
    "The replicator's control API refuses a request.",
    'Read its reason in the message; mend the settings, or the rights of our login there.',
  ),
  REPLICATOR_FAILED: entry(
    'blocker',
    true,
    'The replicator has stopped copying, or does not come into the state that was asked for, and starting it again did not help.',
    'Read its reason in the message and in its own log, mend it, then retry.',
  ),
  BRIDGE_MODULE_INVALID: entry(
    'blocker',
    false,
    'The module of a bridge is not known, cannot be loaded, exports no `transform`, or is another one than the bridge began with.',
    'Mend the module that the message names; docs/bridge.md shows one.',
  ),
  BRIDGE_POISONED: entry(
    'blocker',
    false,
    'More records than replicator.deadLetterMax could not be taken by the module.',
    'Look at the reasons in the dead-letter topic, mend the module, and start the bridge again: it goes on where it was.',
  ),
  BRIDGE_OVERTAKEN: entry(
    'blocker',
    false,
    'Another bridge of the same plan has taken a partition over.',
    'Nothing, where that was meant: only one carries a partition. Else stop the other one.',
  ),
  KUBERNETES_UNREACHABLE: entry(
    'blocker',
    true,
    'The Kubernetes API does not answer, or is overloaded.',
    'Check the address and the certificate authority in clusters.yaml, and the network.',
  ),
  KUBERNETES_REFUSED: entry(
    'blocker',
    false,
    'The Kubernetes API refuses a request: an object is missing, may not be changed, or we may not.',
    'Create the object or grant the right that the message names, then retry.',
  ),
  ROLLOUT_STUCK: entry(
    'blocker',
    true,
    'A Deployment that was restarted did not become new and available in time.',
    'Look at what the message names with `kubectl rollout status`, mend it, then retry: nothing is restarted twice.',
  ),
  REGISTRY_UNKNOWN: entry(
    'blocker',
    false,
    'The plan carries schemas, and clusters.yaml names no schema registry of a cluster.',
    'Name it under `registry` of that cluster in clusters.yaml, or leave `schemas` out of the plan.',
  ),
  REGISTRY_UNREACHABLE: entry(
    'blocker',
    true,
    'A schema registry does not answer, or is overloaded.',
    'Check the address and the certificate authority in clusters.yaml, and whether the registry runs.',
  ),
  REGISTRY_REFUSED: entry(
    'blocker',
    false,
    'A schema registry refuses a request: we may not, or it does not take what was sent.',
    'Grant the right that the message names, or mend what it names, then retry.',
  ),
  SWITCH_VALUE_UNEXPECTED: entry(
    'blocker',
    false,
    'The key that a switch changes holds neither what it should hold before nor after, so somebody else changed it.',
    'Look who did; set the key to one of the two values by hand, then retry.',
  ),
  ALREADY_RUNNING: entry(
    'blocker',
    false,
    'A migration of that name is running already.',
    'Look at `kafka-cutover status`.',
  ),
  MIGRATION_ENDED: entry(
    'blocker',
    false,
    'The migration has ended, so nobody takes the message.',
    'Look at `kafka-cutover status`.',
  ),
  NOT_CONFIRMED: entry(
    'blocker',
    true,
    'No worker answered in time, so it is not known whether the message was taken.',
    'Start a worker and send it again; that is safe.',
  ),
  STACK_UNAVAILABLE: entry(
    'blocker',
    false,
    'The local stack cannot be started.',
    'Install what the message names, or use docker compose.',
  ),
  ACCESS_MISSING: entry(
    'blocker',
    false,
    'One of our principals lacks a right that the migration needs.',
    'Grant the right, or set metadata.acls to true so that it is granted and journalled.',
  ),

  // Preflight findings
  APPROVAL_KEYS_MISSING: entry(
    'blocker',
    false,
    'A gate counts signed answers only, and too few of its approvers have a key that could sign.',
    'List their public keys under `approvers` in clusters.yaml, or ask for fewer approvals.',
  ),
  SAME_CLUSTER: entry(
    'blocker',
    false,
    'Source and target are the same cluster (equal cluster ids).',
    'Correct the bootstrap addresses in clusters.yaml.',
  ),
  CLUSTER_FEATURES: entry(
    'info',
    false,
    'How many brokers a cluster has, and which features it has finalized.',
    'Nothing.',
  ),
  BROKERS_UNEVEN: entry(
    'warning',
    false,
    'The brokers of a cluster serve requests in different versions: an upgrade is under way, or one was left half done.',
    'Let the upgrade end before the cutover.',
  ),
  FEATURE_MISSING: entry(
    'warning',
    false,
    'The target has a lower level of a feature that clients use by themselves (group.version, transaction.version and the like).',
    'Raise it there with kafka-features.sh, or make sure that no client needs it.',
  ),
  CLOCK_SKEW: entry(
    'warning',
    false,
    'The clock of a cluster and ours differ by more than a second, so times that brokers write or judge by (LogAppendTime, retention, timestamp limits) do not compare.',
    'Mend the clock (NTP) of that cluster, or of the machine that this runs on.',
  ),
  NO_TOPICS: entry(
    'blocker',
    false,
    'No topic of the source matches the plan.',
    'Correct topics.include and topics.exclude.',
  ),
  TARGET_TOPIC_HAS_RECORDS: entry(
    'blocker',
    false,
    'A target topic holds records that are not a proven copy of the source.',
    'Move or delete that topic on the target, or leave it out of the plan.',
  ),
  TARGET_TOPIC_DIFFERS: entry(
    'blocker',
    false,
    'A target topic exists with another number of partitions.',
    'Delete the target topic, or leave it out of the plan.',
  ),
  TARGET_TOPIC_GROWS: entry(
    'warning',
    false,
    'The source has got more partitions than the copy that we made: it gets them too, before they are mirrored.',
    'Nothing.',
  ),
  TARGET_TOPIC_EXISTS: entry(
    'info',
    false,
    'A target topic exists, is empty or a proven copy, and will be used.',
    'Nothing.',
  ),
  TARGET_TOPIC_INTERNAL: entry(
    'blocker',
    false,
    'A target topic of that name is one of Kafka’s own.',
    'Leave the topic out of the plan.',
  ),
  TARGET_REFUSES_TOPIC: entry(
    'blocker',
    false,
    'The target would refuse to make a topic, or to give it the settings that mirroring needs: it was asked without doing it.',
    'Change what the target’s own words name: the setting on the source topic, the policy or the number of brokers on the target; or leave the topic out.',
  ),
  TARGET_NOT_JUDGED: entry(
    'warning',
    false,
    'The target did not say whether it would take a topic and its settings, so a refusal would show only when it is made.',
    'Grant what it names (CREATE on the cluster or the topics, ALTER_CONFIGS on the topics), or plan again where it was busy.',
  ),
  TOPIC_INTERNAL: entry(
    'info',
    false,
    'An internal topic matched and is left out.',
    'Nothing: internal topics are never moved.',
  ),
  TOPIC_COMPACTED: entry(
    'info',
    false,
    'A compacted topic: its holes are carried as offsets without a record, and it is compacted again from its opening on.',
    'Nothing.',
  ),
  TOPIC_TRANSACTIONAL: entry(
    'info',
    false,
    'A topic holds transactions: what a transaction marker takes on the source, one of ours takes on the target.',
    'Nothing.',
  ),
  TOPIC_LOG_APPEND_TIME: entry(
    'info',
    false,
    'The brokers stamp the records of a topic: the copy keeps their times, and the setting is restored before the topic opens.',
    'Nothing.',
  ),
  TOPIC_OLD_FORMAT: entry(
    'info',
    false,
    'A topic holds message format v0 or v1: the copy holds the same records in today’s format.',
    'Nothing.',
  ),
  LOGS_PARTLY_SAMPLED: entry(
    'info',
    false,
    'Some partitions were not looked into, so what is said about shapes of logs (transactions, formats, timestamps) may miss theirs.',
    'Nothing: the mirror carries what it meets.',
  ),
  ABORTED_NOT_KEPT: entry(
    'warning',
    false,
    'Records of aborted transactions are not carried: their offsets hold nothing there, which only readers under read_uncommitted can tell.',
    'Nothing, unless somebody reads aborted records; then set mirror.abortedRecords to keep and grant what the message names.',
  ),
  VERIFICATION_SUSPENDED: entry(
    'warning',
    false,
    'All brokers that a mirror writes to have transaction.partition.verification.enable switched off while it writes, so that aborted records can be kept.',
    'Nothing: it is journalled and put back before applications write there. mirror.abortedRecords: drop leaves it alone.',
  ),
  MARKERS_NOT_ALLOWED: entry(
    'blocker',
    false,
    'A topic has offsets that only a transaction marker can stand for, and the mirror may neither write markers (ALTER or CLUSTER_ACTION on the cluster) nor have the transactions that could make them (WRITE on its transactional ids).',
    'Grant the mirror’s principal what the message names, or set metadata.acls to true so that it is granted and journalled.',
  ),
  MARKERS_BY_TRANSACTIONS: entry(
    'warning',
    false,
    'The mirror may not write markers, so each comes of a transaction without records: slower, without aborted records, and where a coordinator dies in the middle of one it may be written twice, which stops the mirror at once and means that the topic has to be mirrored again.',
    'Grant the mirror’s principal ALTER on the cluster, or leave it: committed records are the same.',
  ),
  MARKER_OWNERSHIP_WEAK: entry(
    'warning',
    false,
    'A mirror that was replaced while it slept cannot be kept from writing one more marker here: only Temporal’s lease and the audit stand against it.',
    'Give the cluster mirrorPrincipals in clusters.yaml, or the topics three replicas; a wrong offset is found within seconds and costs time only.',
  ),
  MIRROR_PRINCIPALS_SHARED: entry(
    'blocker',
    false,
    'Another migration may use the same mirrorPrincipals, and two mirrors that share a pool deny each other in turn.',
    'Let that migration end first, or waive it where its topics have more than one replica.',
  ),
  MIRROR_PRINCIPALS_RESTING: entry(
    'blocker',
    true,
    'The mirror needs another principal to own its markers, and all of mirrorPrincipals have been in use a moment ago.',
    'Wait, or add principals to mirrorPrincipals in clusters.yaml.',
  ),
  PRODUCER_EXPIRY: entry(
    'warning',
    false,
    'A topic holds records older than the target remembers producers for, so writing them is not a compare-and-set: ownership alone guards them.',
    'Nothing, or raise producer.id.expiration.ms on the target above the age that the message names.',
  ),
  TIMESTAMP_OFFSETS_INEXACT: entry(
    'info',
    false,
    'Our markers carry the time at which they were written, so a look-up by timestamp may answer with an earlier offset than on the source, never with a later one.',
    'Nothing: who starts from a timestamp may read some records again, and misses none.',
  ),
  TOMBSTONES_AT_RISK: entry(
    'warning',
    false,
    'Copying may take longer than the source keeps tombstones (delete.retention.ms), so a deleted key could live on in the copy.',
    'Raise delete.retention.ms on the source topic until the move is done, or raise mirror.maxBytesPerSecond.',
  ),
  RETENTION_OUTRUNS_COPY: entry(
    'warning',
    false,
    'Copying may take so long that the source deletes records before the mirror has read them.',
    'Raise retention.ms or retention.bytes of the source topic until the move is done.',
  ),
  COPY_ESTIMATE: entry(
    'info',
    false,
    'How much is to be copied, and about how long that takes: reading the source was measured for a second, the target was not written.',
    'Nothing: it is an estimate, and the cutover waits for what is measured then.',
  ),
  TARGET_DISK_SHORT: entry(
    'blocker',
    false,
    'The disks of the target have less room than the copy needs with all its replicas.',
    'Add disks or brokers, or move less at a time; while it mirrors the target deletes nothing.',
  ),
  TARGET_DISK_UNKNOWN: entry(
    'info',
    false,
    'Some brokers of the target do not tell how much room their disks have (before Kafka 3.3, without DESCRIBE on the cluster, or a managed service).',
    'See by other means that the copy fits, with all its replicas.',
  ),
  TIMESTAMP_OUT_OF_RANGE: entry(
    'warning',
    false,
    'Records are stamped outside the limits that the target topic will have; they are copied, but applications could not write such records there.',
    'Check message.timestamp.before.max.ms and after.max.ms.',
  ),
  REPLICATION_FACTOR_REDUCED: entry(
    'warning',
    false,
    'A source topic has more replicas than the target has brokers.',
    'Add brokers to the target or accept fewer replicas.',
  ),
  MIN_INSYNC_ABOVE_REPLICAS: entry(
    'blocker',
    false,
    'min.insync.replicas of a topic is above its replication factor on the target, so acks=all writes would fail.',
    'Lower min.insync.replicas on the source topic, or add brokers to the target.',
  ),
  CONFIG_INHERITED_DIFFERS: entry(
    'warning',
    false,
    'A topic inherits a setting whose broker default differs between the clusters.',
    'Set it explicitly on the source topic if the old value matters.',
  ),
  CONFIG_UNSUPPORTED: entry(
    'warning',
    false,
    'A topic setting does not exist on the target.',
    'Decide whether it matters; it is not copied.',
  ),
  CONFIG_REPLACED: entry(
    'warning',
    false,
    'An existing target topic has an explicit setting of its own, and gets that of the source topic.',
    'Set the value that is to stay on the source topic, or set metadata.configs to false.',
  ),
  CONFIG_UNREADABLE: entry(
    'warning',
    false,
    'A topic has an explicit setting whose value the brokers hide, so it cannot be copied.',
    'Set it on the target by hand if it matters.',
  ),
  MESSAGE_SIZE_LIMIT: entry(
    'blocker',
    false,
    'The target would refuse batches as large as the source allows.',
    'Raise message.max.bytes on the target brokers.',
  ),
  ACL_OPEN_ENDED: entry(
    'blocker',
    false,
    'An ALLOW for every principal, or no authorizer rule at all, leaves writers that a fence by name cannot close.',
    'Name the writers in fence.principals, or choose another fence.',
  ),
  FENCE_ON_TRUST: entry(
    'blocker',
    false,
    'A rule lets everybody write, and the fence closes only the writers that fence.principals names: that there are no others is taken on trust.',
    'Replace the open rule by rules for named principals, or waive this finding by name.',
  ),
  FENCE_NOT_ENFORCED: entry(
    'blocker',
    false,
    'Nothing makes brokers refuse writers at the fence: that at most one cluster is written to is watched, not guaranteed.',
    'Use fence.kind `acl` where the clusters have an authorizer, or waive this finding by name.',
  ),
  TARGET_NOT_PROTECTED: entry(
    'blocker',
    false,
    'Nothing keeps applications off the target before it is opened.',
    'See that no application knows the target yet, and waive this finding by name.',
  ),
  ACL_AUTHORIZER_ABSENT: entry(
    'blocker',
    false,
    'The cluster has no authorizer, so an ACL fence cannot hold.',
    'Choose another fence.',
  ),
  ACL_SUPER_USERS: entry(
    'info',
    false,
    'Super users are never stopped by an ACL fence; the API does not list them all.',
    'Make sure that no application uses a super user.',
  ),
  ACL_NOT_CARRIED: entry(
    'warning',
    false,
    'Applications have rights over a whole cluster, or on what only the source has, which are not copied: to alter the cluster, to create any topic, on single delegation tokens.',
    'Grant on the target what the applications need of them.',
  ),
  ACL_HOST_BOUND: entry(
    'info',
    false,
    'Rules that hold for single addresses are copied as they are.',
    'Make sure that the applications reach the target from the same addresses.',
  ),
  WRITERS_SEEN: entry(
    'info',
    false,
    'Who writes to the moved topics, by what can be seen: access rules, producers that partitions know, records that came while preflight looked.',
    'Look for a name that you do not expect, or miss.',
  ),
  WRITERS_UNSEEN: entry(
    'info',
    false,
    'Records come from producers that leave no trace: without idempotence brokers do not remember them.',
    'Nothing where the fence denies by principal, which holds for them too; know who they are before the switch.',
  ),
  WRITER_NOT_FENCED: entry(
    'warning',
    false,
    'Records come to a topic that no access rule lets anybody write: a super user writes, and an ACL fence does not hold it.',
    'Give that application a principal of its own that is no super user.',
  ),
  ACL_MIRROR_IS_SUPER_USER: entry(
    'warning',
    false,
    "The mirror works as a super user or under the cluster's own principal, so it cannot be shut out by an ACL at the switch.",
    'Give the cluster `forward` and `reverse` principals of their own in clusters.yaml.',
  ),
  IAM_NOT_BOUND_BY_ACLS: entry(
    'blocker',
    false,
    "We log in to the cluster by IAM, and Kafka's access rules do not bind IAM identities, so an ACL fence does not hold applications that log in so.",
    'Choose another fence and change IAM policies, or waive it where every application logs in with SCRAM or a certificate.',
  ),
  PRINCIPAL_UNKNOWN: entry(
    'warning',
    false,
    'What the brokers call one of our logins is not known, so no access rule can be about it.',
    'Say it in clusters.yaml as `principal`, such as `User:CN=mirror`.',
  ),
  QUOTA_UNSUPPORTED: entry(
    'warning',
    false,
    'A quota entity is not copied by this version.',
    'Set it on the target by hand if it matters.',
  ),
  SCRAM_USER_CREATED: entry(
    'info',
    false,
    'A user that is missing on the target is created there, with the password that clusters.yaml refers to.',
    'Nothing; take it out of `scramUsers` if somebody else is to create it.',
  ),
  SCRAM_USERS_MISSING: entry(
    'warning',
    false,
    'Principals with rights on the moved topics have no SCRAM credential on the target; secrets cannot be read from the source.',
    'Create the users on the target before the switch, or name them with their passwords under `scramUsers` of the target in clusters.yaml.',
  ),
  PRINCIPAL_UNPROVEN: entry(
    'warning',
    false,
    'Principals with rights on what moves do not log in with SCRAM, and nothing that Kafka tells shows whether the target knows them.',
    'See that they can log in to the target: certificates, PLAIN users, or the identity provider.',
  ),
  OPEN_TRANSACTION: entry(
    'warning',
    false,
    'A transaction is open on a moved topic.',
    'Let it end, or expect it to be ended at the fence.',
  ),
  HANGING_TRANSACTION: entry(
    'warning',
    false,
    'A partition holds a transaction open that no coordinator knows: it never ends by itself, what stands behind it is not mirrored, and the cutover cannot pass it.',
    'Abort it with `kafka-transactions.sh abort` (`find-hanging` lists them).',
  ),
  TRANSACTIONS_UNNAMED: entry(
    'warning',
    false,
    'The source is older than Kafka 3.0 and does not tell which transactions are open.',
    'Before the cutover, see that no transactional producer has one open; the boundary waits for them, and the fence is lifted where it waits in vain.',
  ),
  TOPIC_IDS_ABSENT: entry(
    'warning',
    false,
    'The source is older than Kafka 2.8 and has no topic ids.',
    'Delete and create no topic of the plan while it is mirrored.',
  ),
  GROUP_ACTIVE_ON_TARGET: entry(
    'blocker',
    false,
    'A group to be moved has members on the target.',
    'Stop those members, or leave the group out of the plan.',
  ),
  GROUP_EXISTS_ON_TARGET: entry(
    'blocker',
    false,
    'A group to be moved already has positions on the target that we did not write.',
    'Delete the group on the target or leave it out of the plan.',
  ),
  GROUP_BEFORE_TOPICS: entry(
    'blocker',
    false,
    'A group moves in an earlier wave than a topic that it reads, so on the target it would not find that topic yet.',
    'Put the group into the wave of the last topic that it reads.',
  ),
  GROUP_AFTER_TOPICS: entry(
    'warning',
    false,
    'A group moves in a later wave than a topic that it reads: until then it reads that topic on the source, as the reverse mirror brings it.',
    'Put them into one wave, or finalize the earlier wave only once the later one has moved.',
  ),
  TRANSACTION_ACROSS_WAVES: entry(
    'blocker',
    false,
    'A transactional producer writes to topics, or commits positions of groups, of several waves, so its transactions would be torn apart.',
    'Put all that it writes into one wave.',
  ),
  STREAMS_TOPIC_APART: entry(
    'blocker',
    false,
    'An internal topic of a Kafka Streams application does not move with its group.',
    "Put the application's changelog and repartition topics into the wave of its group.",
  ),
  SHARE_GROUP_REPLAYS: entry(
    'info',
    false,
    'A share group is carried with where it begins to deliver; what it has done with beyond that is delivered again.',
    'Nothing, where its members can take a record twice, as share groups must anyhow.',
  ),
  GROUP_UNSUPPORTED: entry(
    'blocker',
    false,
    'A group uses a protocol that this version cannot move.',
    'Leave the group out of the plan.',
  ),
  GROUPS_SEEN: entry(
    'info',
    false,
    'The groups that move, by protocol, and how many of each have members.',
    'Nothing.',
  ),
  GROUP_KIND_UNSEEN: entry(
    'warning',
    false,
    'The source has share or streams groups, which this version does not move; whether they read moved topics is not looked up.',
    'Ask their owners; where one reads a moved topic, plan how it begins on the target.',
  ),
  GROUP_PROTOCOL_UNSUPPORTED: entry(
    'blocker',
    false,
    'Groups use the consumer protocol of KIP-848, which is switched off on the target: their members could not join there.',
    'Enable it on the target (group.version 1, Kafka 4.0 or later), or set group.protocol=classic in these consumers.',
  ),
  GROUP_NAME_TAKEN: entry(
    'warning',
    false,
    'A group of that name exists on the target with positions on other topics: it may be another application, or one that reads both.',
    'Rename one of them, or make sure that it is the same application.',
  ),
  GROUP_POSITION_OUTSIDE_LOG: entry(
    'warning',
    false,
    'A group has a position outside of what the log keeps, so it goes on where its auto.offset.reset says, on either cluster.',
    'Nothing, where the group is abandoned or may begin anew; else set its position right before the move.',
  ),
  READERS_WITHOUT_POSITIONS: entry(
    'blocker',
    false,
    'A group reads moved topics and commits no positions on them, so it keeps them elsewhere, and we can neither move nor check them.',
    'Ask its owners where the positions are and how they take them along; offsets are identical, so they stay valid; then waive this by name.',
  ),
  GROUP_OUTSIDE_PLAN: entry(
    'warning',
    false,
    'A group reads the moved topics but is not part of the plan.',
    'Include it, or make sure that it is abandoned.',
  ),
  OFFSETS_OUTSIDE_KAFKA: entry(
    'info',
    false,
    'Positions that applications keep outside Kafka stay valid, because offsets are identical.',
    'Nothing.',
  ),
  ALREADY_MOVED: entry(
    'blocker',
    false,
    'An earlier run of this plan opened the target and was not rolled back: the target is the source of truth.',
    'Give a new move a name of its own; to go back, roll the earlier run back.',
  ),
  CLAIMED_BY_OTHER: entry(
    'blocker',
    false,
    'Another migration owns a topic or group of this plan.',
    'Finish or abort that migration first.',
  ),
  VERSION_UNSUPPORTED: entry(
    'blocker',
    false,
    'A cluster is older than this version supports.',
    'Upgrade the cluster.',
  ),
  ROLLBACK_IMPOSSIBLE: entry(
    'blocker',
    false,
    'The source cannot take what is written to the target after the switch, so going back would lose it.',
    'Give what the message names, or set rollback.reverseMirror to false and waive this finding.',
  ),

  ROLLBACK_WEAK: entry(
    'warning',
    false,
    'The way back carries every committed record, and less than the way there of the rest.',
    'Read what is weaker; grant or upgrade what the message names before the start, if it matters.',
  ),
  SCHEMAS_CARRIED: entry(
    'info',
    false,
    'Schemas that the plan carries from one registry to the other, under their ids.',
    'Nothing; this is for the record.',
  ),
  SCHEMA_ID_MISSING: entry(
    'blocker',
    false,
    "Records that are moved name schemas by ids that the target's registry will not know.",
    'Let the plan carry these subjects (`schemas`), or import them there by hand.',
  ),
  SCHEMA_ID_TAKEN: entry(
    'blocker',
    false,
    "An id means another schema in the target's registry, so moved records could not be read there, or would be read wrongly.",
    'Move to an empty registry, or leave that subject out of the plan where no record that is moved needs it.',
  ),
  SCHEMA_DIFFERS: entry(
    'blocker',
    false,
    "The target's registry has a subject of that name with other versions.",
    'Delete it there, for good, or leave it out of the plan.',
  ),
  SCHEMA_IMPORT_UNSUPPORTED: entry(
    'blocker',
    false,
    "The target's registry does not take schemas under given ids.",
    "Use a registry with mode IMPORT, or move the registry's own topic with the plan.",
  ),
  SCHEMA_LEVEL_INHERITED: entry(
    'warning',
    false,
    'Subjects without a compatibility level of their own are judged by another one on the target.',
    "Set the global level there as on the source, unless the target's own subjects need theirs.",
  ),
  SCHEMAS_TOPIC_MOVED: entry(
    'warning',
    false,
    'A topic of the plan is what a schema registry keeps its schemas in.',
    'Start the registry of the target only once the target is open: it writes to that topic.',
  ),

  // Mirroring
  PARTITIONS_ADDED: entry(
    'blocker',
    true,
    'A topic has got more partitions on the source than people approved, and what is written to them would stay there.',
    'Approve the new digest at gate `cutover`: they are added to the target and mirrored first.',
  ),
  TOPIC_ADDED: entry(
    'warning',
    false,
    'A topic that the plan matches was created on the source after people approved what moves.',
    'Until gate `cutover` closes: approve the new digest there, and it is moved along. After that it waits for a plan of its own.',
  ),
  TOPIC_CONFIG_CHANGED: entry(
    'warning',
    false,
    'Settings of a topic changed on the source after people approved them; the target follows.',
    'Nothing: the next gate shows the difference and wants the new digest approved.',
  ),
  ACL_CHANGED: entry(
    'warning',
    false,
    'Access rules that are carried changed on the source after people approved them; the target follows, as far as no principal gets rights that people have not seen.',
    'Nothing: the next gate shows the difference and wants the new digest approved.',
  ),
  QUOTA_CHANGED: entry(
    'warning',
    false,
    'Quotas that are carried changed on the source after people approved them; the target follows.',
    'Nothing: the next gate shows the difference and wants the new digest approved.',
  ),
  SOURCE_CHANGED_AFTER_FENCE: entry(
    'warning',
    false,
    'Something changed on the source after it was fenced; nothing follows it any more.',
    'Make the change on the target by hand, where it is meant for the applications that moved; undo it on the source, where a rollback must not find it.',
  ),
  METADATA_NOT_CARRIED: entry(
    'warning',
    false,
    'A change on the source was not carried to the target: a principal that nobody has approved, a rule that another migration relies on, or the target refused it.',
    'Approve the new digest at gate `cutover`, or mend what the message names.',
  ),
  SCHEMA_NOT_CARRIED: entry(
    'warning',
    false,
    'A schema of one registry is not in the other one as it is there.',
    'Mend what the message names; before the fence it is tried again with every look.',
  ),
  SCHEMA_NOT_WRITTEN: entry(
    'blocker',
    true,
    "Read back from the target's registry, a schema is not what was sent there.",
    'Read what was found: a registry that gives ids of its own cannot be used.',
  ),
  TARGET_DIVERGED: entry(
    'blocker',
    false,
    'The target log is not where it must be: somebody else wrote, or a record is in the wrong place.',
    'Find out who wrote. Before the switch: delete the target topic and mirror it again. After it: the target is live, leave it alone; this was a forgotten mirror.',
  ),
  SOURCE_TRUNCATED: entry(
    'blocker',
    false,
    'Records that the mirror still needed are gone from the source (retention or DeleteRecords).',
    'Raise retention on the source and mirror the topic again.',
  ),
  TOPIC_RECREATED: entry(
    'blocker',
    false,
    'A topic was deleted and created again while it was mirrored.',
    'Abort, and start again.',
  ),
  TOPIC_MISSING: entry('blocker', false, 'A topic of the plan no longer exists.', 'Abort, and start again.'),
  LOG_SHAPE_UNSUPPORTED: entry(
    'blocker',
    false,
    'The mirror met a batch that this version cannot carry at identical offsets.',
    'Leave the topic out of the plan.',
  ),
  MIRROR_LOOP: entry(
    'blocker',
    false,
    'The mirror read a batch that the mirror of the other direction wrote.',
    "Keep applications' records and mirrors apart; ask for help before going on.",
  ),
  MIRROR_SHUT_OUT: entry(
    'blocker',
    false,
    'The mirror may not write any more: the direction has been switched.',
    "Nothing, when a switch has been made; otherwise check the mirror's rights.",
  ),
  RECORD_TOO_LARGE: entry(
    'blocker',
    false,
    'The target refuses a batch for its size.',
    'Raise max.message.bytes on the target topic and message.max.bytes on its brokers.',
  ),

  // Cutover
  FENCE_NOT_PROVEN: entry(
    'blocker',
    true,
    'The fence was set, but writes cannot be shown to have ended.',
    'Find the writer that the message names.',
  ),
  FENCE_EXPIRED: entry(
    'blocker',
    true,
    'The fence was held for fence.maxHold and has been lifted again.',
    'Look at what took so long, then retry.',
  ),
  ACCESS_CHANGED: entry(
    'blocker',
    false,
    'Somebody changed access rules that the fence relies on. After the opening, the fenced cluster was closed again.',
    'Find out who did; what was written meanwhile shows as SOURCE_WRITTEN_AFTER_FENCE. Then decide retry, and the watch goes on.',
  ),
  TRANSACTION_STUCK: entry(
    'blocker',
    true,
    'A transaction could not be ended within fence.transactionWait.',
    'End it by hand with kafka-transactions, then retry.',
  ),
  GROUP_ACTIVE: entry(
    'blocker',
    true,
    'A group still has members, so its positions are not final.',
    'Stop its members on that cluster.',
  ),
  OFFSETS_NOT_WRITTEN: entry(
    'blocker',
    true,
    'Positions that were written could not be read back.',
    'Check that the group has no members on that cluster, then retry.',
  ),
  PARITY_FAILED: entry(
    'blocker',
    false,
    'The audit found a record that differs between the clusters.',
    'Read the report; the topic must be mirrored again.',
  ),
  TOPIC_REMIRRORED: entry(
    'warning',
    false,
    'The audit found a slot that differs before the switch; the target topic, which nobody read, was deleted and is mirrored again.',
    'Nothing for this topic; if it goes on happening, find out who else writes to the target.',
  ),
  AUDIT_KEYS_EXCEEDED: entry(
    'blocker',
    false,
    'A compacted target topic shows more keys that the source no longer has than the audit can hold.',
    'Delete the target topic before the switch and mirror it again; the mirror was away for longer than delete.retention.ms.',
  ),
  AUDIT_BEHIND: entry('blocker', true, 'The audit has not reached the boundary.', 'Wait, then retry.'),
  SOURCE_WRITTEN_AFTER_FENCE: entry(
    'blocker',
    false,
    'The source holds records beyond the boundary that the reverse mirror did not write.',
    'Find the writer; its records exist on the source only.',
  ),
  PARITY_SAMPLED: entry(
    'warning',
    false,
    'The plan asked for a sample (`verify.records`), so equality of the records is not proven.',
    'Nothing, where that was meant; `kafka-cutover verify FILE` compares every record.',
  ),
  CONFIG_DIFFERS: entry(
    'warning',
    false,
    'A topic setting differs between the clusters after the move.',
    'Set it on the target by hand.',
  ),
  ACCESS_DIFFERS: entry(
    'warning',
    false,
    'An access rule that came to the source, or went from it, since people approved them is not so on the target.',
    'Add it on the target, or take it away there, by hand.',
  ),
  TOPIC_SILENT: entry(
    'warning',
    false,
    'No record has been written to a topic on the target yet.',
    'Check that its producers were pointed at the target.',
  ),
  DIGEST_CHANGED: entry(
    'warning',
    false,
    'What people approved is no longer what would be done; the approvals of the open gate were dropped.',
    'Look at the difference and approve again.',
  ),
  UNFENCE_REFUSED: entry(
    'blocker',
    false,
    "Opening the target was already decided, so lifting the source's fence could make two writers.",
    'Use `kafka-cutover rollback`.',
  ),
  STORAGE_CORRUPT: entry(
    'blocker',
    false,
    'A stored artifact does not match its digest.',
    'Check the topic __kafka_cutover on both clusters.',
  ),
  ATTEMPT_OVERTAKEN: entry(
    'blocker',
    true,
    'An attempt was silent for so long that another may have taken its place, so it changes nothing any more.',
    'Nothing: the other attempt goes on.',
  ),
  COMPENSATION_FAILED: entry(
    'blocker',
    true,
    'Something that a rollback or abort should undo could not be undone.',
    'Undo it by hand as the list says.',
  ),

  // Messages from people
  GATE_NOT_OPEN: entry(
    'warning',
    false,
    'The message names a gate that is not open.',
    'Look at `kafka-cutover status`.',
  ),
  NOT_AN_APPROVER: entry('warning', false, 'The sender is not on the list of approvers.', 'Ask somebody who is.'),
  ALREADY_APPROVED: entry(
    'info',
    false,
    'The sender has approved this gate already; one person counts once.',
    'Ask another approver.',
  ),
  DIGEST_MISMATCH: entry(
    'warning',
    false,
    'The message approves another plan digest than the one shown.',
    'Look at the plan again and approve what is shown.',
  ),
  FOUR_EYES: entry('warning', false, 'The starter may not approve.', 'Ask another approver.'),
  PROOF_REQUIRED: entry(
    'warning',
    false,
    'The gate counts signed answers only, and this one is not signed.',
    'Sign it: `kafka-cutover approve NAME GATE --key FILE`, or answer in Slack.',
  ),
  PROOF_INVALID: entry(
    'warning',
    false,
    'The signature of an answer is not what a key listed for its sender makes of what the gate shows now, or it has expired.',
    'Look at the gate again and sign what it shows, with a key that clusters.yaml lists for you on the worker.',
  ),
  SENDER_REFUSED: entry(
    'warning',
    false,
    'A request to `listen` is not signed by a sender that clusters.yaml lists, or was signed more than five minutes ago.',
    'Sign it with the secret of the sender, over the timestamp and the raw body, right before it is sent.',
  ),
  MESSAGE_INVALID: entry(
    'warning',
    false,
    'A signal or update carries a wrong object.',
    'Send { gate, by } as the documentation shows.',
  ),
  USE_ROLLBACK: entry(
    'warning',
    false,
    'Opening the target was decided, so abort is no longer possible.',
    'Send `rollback`.',
  ),
  NOTHING_TO_DECIDE: entry('warning', false, 'No failed step waits for a decision.', 'Look at `kafka-cutover status`.'),
  REJECTED: entry('blocker', false, 'People rejected a gate.', 'Read the reason in the status.'),
  BLOCKED: entry('blocker', false, 'Preflight found blockers.', 'Remedy or waive each one, then start again.'),
  INTERNAL: entry('blocker', false, 'A defect in kafka-cutover.', 'Report it with the message.'),
} as const satisfies Record<string, CodeEntry>;

export type Code = keyof typeof codes;

function entry(severity: Severity, retryable: boolean, meaning: string, next: string): CodeEntry {
  return { severity, retryable, meaning, next };
}

export interface Detail {
  /** What failed. */
  readonly what: string;
  /** On which cluster, topic, partition, group or file. */
  readonly where?: string | undefined;
  readonly found?: string | undefined;
  readonly wanted?: string | undefined;
  /** What to do next; the code's own advice when left out. */
  readonly next?: string | undefined;
}

/** Every failure that we raise on purpose. `message` is complete for people; `code` and `detail` are for scripts. */
export class CutoverError extends Error {
  readonly code: Code;
  readonly detail: Detail;

  constructor(code: Code, detail: Detail, options?: { cause?: unknown }) {
    super(formatDetail(code, detail), options);
    this.name = 'CutoverError';
    this.code = code;
    this.detail = detail;
  }

  get retryable(): boolean {
    return codes[this.code].retryable;
  }
}

/** `what (where): found …, wanted …. Next: …` */
export function formatDetail(code: Code, detail: Detail): string {
  const where = detail.where ? ` (${detail.where})` : '';
  const facts = [detail.found && `found ${detail.found}`, detail.wanted && `wanted ${detail.wanted}`].filter(Boolean);
  const tail = facts.length > 0 ? `: ${facts.join(', ')}` : '';
  return `${code}: ${detail.what}${where}${tail}. Next: ${detail.next ?? codes[code].next}`;
}

/** One preflight result. Waived findings stay listed, with who waived them and why. */
export interface Finding {
  readonly code: Code;
  readonly severity: Severity;
  readonly where: string;
  readonly message: string;
  readonly next: string;
  readonly waived?: { readonly by: string; readonly reason: string };
}

export function finding(code: Code, where: string, message: string, next?: string): Finding {
  return { code, severity: codes[code].severity, where, message, next: next ?? codes[code].next };
}
