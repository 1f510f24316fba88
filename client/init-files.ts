/** The two files that `init` writes, with comments for whoever opens them first. Pure. */

/** A cluster that clusters.yaml does not define yet. */
export interface NewCluster {
  readonly name: string;
  /** `host:port[,host:port]` */
  readonly bootstrap: string;
  /** Null: no login. */
  readonly user: string | null;
  readonly mechanism: string;
  readonly tls: boolean;
}

/** What was seen of the two clusters. */
export interface Seen {
  readonly topics: number;
  readonly partitions: number;
  readonly groups: readonly string[];
  /** Of the source's topics that are not moved, a few. */
  readonly otherTopics: readonly string[];
  readonly sourceBrokers: number;
  readonly targetBrokers: number;
}

export interface NewPlan {
  readonly name: string;
  readonly source: string;
  readonly target: string;
  /** JavaScript regular expressions that match whole names. */
  readonly topics: string;
  readonly groups: string | null;
  /** Null where the clusters could not be looked at. */
  readonly seen: Seen | null;
}

/** In double quotes YAML is JSON. */
const text = (value: string) => JSON.stringify(value);
/** Without quotes where that means the same. */
const word = (value: string) => (/^[A-Za-z][A-Za-z0-9_-]*$/.test(value) ? value : text(value));
/** A name must not end the comment that it stands in. */
const comment = (value: string) => value.replace(/[^\x20-\x7e]/g, '?');

/** Where the password of a login is expected. */
export function passwordVariable(cluster: string, role = ''): string {
  const upper = (part: string) => part.toUpperCase().replace(/[^A-Z0-9]/g, '_');
  return [upper(cluster), ...(role ? [upper(role)] : []), 'PASSWORD'].join('_');
}

export function clustersText(clusters: readonly NewCluster[]): string {
  const login = ({ name, mechanism }: NewCluster, user: string, role = '') =>
    `{ mechanism: ${mechanism}, username: ${text(user)}, password: { env: ${passwordVariable(name, role)} } }`;
  const blocks = clusters.map((cluster) => {
    const lines = [`${word(cluster.name)}:`, `  bootstrap: ${text(cluster.bootstrap)}`];
    if (cluster.tls) lines.push('  tls: {} # the system trusts its certificate; else { ca: { file: ca.pem } }');
    if (cluster.user === null) return lines.join('\n');
    return [
      ...lines,
      `  sasl: ${login(cluster, cluster.user)}`,
      "  # The two mirrors' own logins. At the switch they are what gets shut out, so give them users of their own:",
      `  # forward: { sasl: ${login(cluster, 'mirror-forward', 'forward')} }`,
      `  # reverse: { sasl: ${login(cluster, 'mirror-reverse', 'reverse')} }`,
    ].join('\n');
  });
  return `# Where clusters are, and how to log in. Secrets stay in the environment or in files; this file names them only.
# Certificates, OAuth tokens, MSK's IAM, webhooks: docs/clusters.md
${blocks.join('\n\n')}
`;
}

export function planText({ name, source, target, topics, groups, seen }: NewPlan): string {
  const found = seen
    ? [
        `# Seen when this was written: ${seenText(seen)} match, on ${many(seen.sourceBrokers, 'broker')};`,
        `# the target has ${seen.targetBrokers}. Groups of these topics: ${few(seen.groups)}.`,
        ...(seen.otherTopics.length > 0 ? [`# Not moved: ${few(seen.otherTopics)}.`] : []),
      ]
    : ['# The clusters could not be looked at when this was written.'];
  return `# Moves topics from ${comment(source)} to ${comment(target)}, both defined in clusters.yaml. Every key: docs/plan.md.
${found.join('\n')}
#
#   kafka-cutover plan ${comment(name)}.yaml     checks it against both clusters, changes nothing
#   kafka-cutover worker                does the work, beside a Temporal server
#   kafka-cutover start ${comment(name)}.yaml --watch
name: ${word(name)}
source: ${word(source)}
target: ${word(target)}

topics:
  include: [${text(topics)}] # JavaScript regular expressions that match the whole name
  exclude: []
${groups === null ? '# groups: { include: ["..."] } # left out: every group with positions on these topics' : `groups:\n  include: [${text(groups)}]`}

fence: # what keeps applications from writing while the last records are carried over
  kind: acl # DENY rules; or webhook, or manual where the cluster has no authorizer: docs/fences.md
  maxHold: 60s # then it lifts itself and mirroring goes on; clients buffer at most delivery.timeout.ms, 120 s by default

producers:
  switch: manual # somebody points them at the target and says so at gate \`producers\`; or webhook, or config-map
consumers:
  switch: manual

gates: # who says yes to what; the plan's digest is what they approve
  cutover:
    approvals: 1
    approvers: [] # anybody; better: names
  finalize:
    approvals: 1

rollback:
  window: 72h # until somebody finalizes, \`kafka-cutover rollback ${comment(name)}\` loses nothing
`;
}

export function seenText({ topics, partitions, groups }: Seen): string {
  return `${many(topics, 'topic')} with ${many(partitions, 'partition')}, ${many(groups.length, 'group')}`;
}

const many = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`;

const fewMax = 5;

function few(names: readonly string[]): string {
  const shown = names.slice(0, fewMax).map(comment);
  const rest = names.length - shown.length;
  return shown.length === 0 ? 'none' : `${shown.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}
