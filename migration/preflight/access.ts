/** Who may do what: our own rights, what a fence can close, and users on the target. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import { aclKey, type Operation } from '../../kafka/acls.ts';
import { aclsLeftOut, deniedToUs, mappedPrincipal, mirrorAcls, protectionAcls } from '../acls.ts';
import { type AccessRules, covers, everybody, mayDo, writersOf } from '../authorizer.ts';
import type { Side } from '../change.ts';
import { fenceFindings } from '../fences/findings.ts';
import type { Inventory } from '../inventory.ts';
import { quotasLeftOut } from '../quotas.ts';
import type { Facts, SideFacts } from './facts.ts';
import { list } from './wording.ts';

export function aboutAccess({ structural, measured }: Inventory, plan: Plan, facts: Facts): Finding[] {
  const found: Finding[] = [];
  const topics = structural.topics.map((topic) => topic.name);
  const groups = structural.groups.map((group) => group.group);
  // Without the rules that we added: those of mirrors are no applications.
  const principals = measured.principals ?? [];
  const directions = { forward: true, reverse: plan.rollback.reverseMirror };
  for (const side of ['source', 'target'] as const) {
    const { acls, access } = facts[side];
    const lacking = ownRightsMissing(side, facts[side], topics);
    if (lacking.length > 0) {
      const message = `our own principal ${access.principals.own ?? ''} may not ${list(lacking)}`;
      found.push(finding('ACCESS_MISSING', side, message, 'Grant it: nothing can be read or changed without it.'));
    }
    const byRules = plan.fence.kind === 'acl';
    if (acls === null) {
      if (byRules) found.push(finding('ACL_AUTHORIZER_ABSENT', side, 'the brokers have no authorizer'));
      continue;
    }
    const rules = rulesOf(facts[side]);
    const ofFence = ({ code }: Finding) => byRules || code !== 'IAM_NOT_BOUND_BY_ACLS';
    found.push(...aboutNames(side, facts[side]).filter(ofFence));
    if (byRules) {
      found.push(finding('ACL_SUPER_USERS', side, 'super users are not stopped by the fence, and no API lists them'));
    }
    // The mirror that writes here must be shut out here when the direction changes.
    const writer = side === 'target' ? 'forward' : 'reverse';
    const principal = access.principals[writer];
    // Where nothing speaks about anything, our own rules decide who is a super user: that must not change what people approve.
    const mayBeSuper = byRules && access.superUser[writer] !== false;
    const unbound = mayBeSuper || facts[side].iamLogins.includes(writer);
    if (directions[writer] && (unbound || principal === access.principals.own)) {
      const why = facts[side].iamLogins.includes(writer)
        ? "logs in by IAM, which Kafka's access rules do not bind"
        : access.superUser[writer]
          ? 'is a super user'
          : principal !== null && principal === access.principals.own
            ? 'is our own principal on that cluster'
            : 'may be a super user: no user name is known, or the rules do not tell';
      found.push(
        finding('ACL_MIRROR_IS_SUPER_USER', side, `the ${writer} mirror's principal ${principal ?? ''} ${why}`),
      );
    }
    const missing = plan.metadata.acls
      ? deniedToUs(side, rules, topics, access.principals, directions)
      : mirrorAcls(side, rules, topics, access.principals, directions);
    if (missing.length > 0) {
      const lines = missing.map((acl) => `${acl.principal} ${acl.operation.toUpperCase()} topic ${acl.resourceName}`);
      found.push(finding('ACCESS_MISSING', side, list(lines)));
    }
  }
  const open = openEnded(structural, plan, facts, topics, groups);
  const unprotected = facts.target.acls === null ? null : open.filter(({ where }) => where === 'target');
  found.push(...(plan.fence.kind === 'acl' ? open : fenceFindings(plan, unprotected)));
  if (plan.metadata.quotas) {
    const rules = rulesOf(facts.source);
    const anybody = facts.source.acls === null || topics.some((topic) => writersOf(rules, topic).everybody);
    const carried = anybody ? new Set(principals) : undefined;
    for (const line of quotasLeftOut(facts.source.quotas, facts.target.quotas, carried)) {
      found.push(finding('QUOTA_UNSUPPORTED', 'quotas', line));
    }
  }
  if (plan.metadata.acls && facts.source.acls !== null)
    found.push(...aboutCarriedRules(structural, plan, principals, facts));
  found.push(...aboutLogins(plan, principals, facts));
  // Users of the source that log in with SCRAM there must be able to log in on the target under their mapped names.
  for (const principal of principals) {
    const mapped = mappedPrincipal(plan, principal);
    const hasOne = (users: readonly string[], name: string) => users.some((user) => `User:${user}` === name);
    if (hasOne(facts.scramUsers.target, mapped)) continue;
    const who = mapped === principal ? principal : `${mapped} (${principal} on the source)`;
    if (hasOne(facts.scramUsers.given ?? [], mapped)) {
      found.push(finding('SCRAM_USER_CREATED', `target, user ${mapped}`, `${who} has no SCRAM credential there`));
    } else if (hasOne(facts.scramUsers.source, principal)) {
      found.push(finding('SCRAM_USERS_MISSING', 'target', `${who} has no SCRAM credential there`));
    }
  }
  return found;
}

/** Of those who have rights on what moves: rules that nothing on the target can or should stand for, and such as may mean something else there. */
function aboutCarriedRules(
  { acls: carried, topics, groups }: Inventory['structural'],
  plan: Plan,
  principals: readonly string[],
  facts: Facts,
): Finding[] {
  const { acls, access } = facts.source;
  const moved = { topics: topics.map(({ name }) => name), groups: groups.map(({ group }) => group) };
  const concerned = new Set(principals);
  const left = aclsLeftOut({ acls: acls ?? [] }, moved, plan, access.principals).filter(({ principal }) =>
    concerned.has(principal),
  );
  const found: Finding[] = [];
  if (left.length > 0) found.push(finding('ACL_NOT_CARRIED', 'source', list(left.map(aclKey))));
  const bound = carried.filter((acl) => acl.host !== '*');
  if (bound.length > 0) found.push(finding('ACL_HOST_BOUND', 'target', list(bound.map(aclKey))));
  return found;
}

/** Who logs in with neither side's SCRAM users: nothing shows whether the target knows them. */
function aboutLogins(plan: Plan, principals: readonly string[], facts: Facts): Finding[] {
  const ours = new Set(Object.values(facts.source.access.principals));
  const has = (users: readonly string[], principal: string) => users.some((user) => `User:${user}` === principal);
  const unproven = principals
    .filter((principal) => principal !== everybody && !ours.has(principal) && !has(facts.scramUsers.source, principal))
    .map((principal) => mappedPrincipal(plan, principal))
    .filter((principal) => !has([...facts.scramUsers.target, ...(facts.scramUsers.given ?? [])], principal))
    .sort();
  if (unproven.length === 0) return [];
  const message = `${list(unproven)} ${unproven.length === 1 ? 'has' : 'have'} rights, and no SCRAM user there: whether they can log in cannot be read`;
  return [finding('PRINCIPAL_UNPROVEN', 'target', message)];
}

/** What is weaker where access rules do not bind somebody, or where we cannot name ourselves in them. */
function aboutNames(side: Side, { iamLogins, unnamedLogins: unnamed }: SideFacts): Finding[] {
  const found: Finding[] = [];
  if (iamLogins.includes('own')) {
    const message =
      'we log in by IAM, so applications may too: an ACL fence does not hold those, nor does an ACL show who may write';
    found.push(finding('IAM_NOT_BOUND_BY_ACLS', side, message));
  }
  const weaker: Readonly<Record<string, string>> = {
    own: 'our own rights are not checked beforehand, and a rule that closes the cluster may close us out',
    forward: 'no right is granted to the forward mirror, and no rule shuts it out',
    reverse: 'no right is granted to the reverse mirror, and no rule shuts it out',
    mirrorPrincipals: 'they are not used at all',
  };
  for (const login of unnamed) {
    const message = `what the brokers call the login \`${login}\` is not known: ${weaker[login]}`;
    found.push(finding('PRINCIPAL_UNKNOWN', side, message));
  }
  return found;
}

/** What our own principal reads and changes on each cluster: access rules, topics and their settings. */
function ownRightsMissing(side: Side, { acls, access }: SideFacts, topics: readonly string[]): string[] {
  const { own } = access.principals;
  if (acls === null || access.superUser.own === true || own === null) return [];
  const rights = access.clusterOperations.own;
  const onCluster = (['describe', 'alter'] as const).filter((operation) => !rights.includes(operation));
  const onTopics: readonly Operation[] =
    side === 'source'
      ? ['read', 'describe-configs', 'alter-configs']
      : ['create', 'read', 'describe-configs', 'alter-configs', 'delete'];
  return [
    ...onCluster.map((operation) => `${operation.toUpperCase()} the cluster`),
    ...onTopics.flatMap((operation) => {
      if (operation === 'create' && rights.includes('create')) return [];
      const denied = topics.filter(
        (name) => !mayDo(rulesOf({ acls, access }), own, '*', operation, { type: 'topic', name }),
      );
      return denied.length > 0 ? [`${operation.toUpperCase()} ${list(denied)}`] : [];
    }),
  ];
}

function openEnded(
  structural: Inventory['structural'],
  plan: Plan,
  facts: Facts,
  topics: readonly string[],
  groups: readonly string[],
): Finding[] {
  const found: Finding[] = [];
  const source = rulesOf(facts.source);
  const target = rulesOf(facts.target);
  // Without rules of applications, the first rule that we add closes a topic for everybody (see authorizer.ts).
  const ruled = (rules: AccessRules, topic: string) =>
    rules.acls.some((acl) => covers(acl, { type: 'topic', name: topic }));
  const afterwards: AccessRules = { ...target, acls: [...target.acls, ...structural.acls] };
  if (facts.source.acls !== null) {
    const open = topics.filter((topic) => writersOf(source, topic).everybody);
    if (open.length > 0) {
      const named = plan.fence.principals.length > 0;
      const message = `everybody may write ${list(open)}${named ? `; the plan names ${list(plan.fence.principals)}` : ''}`;
      found.push(finding(named ? 'FENCE_ON_TRUST' : 'ACL_OPEN_ENDED', 'source', message));
    }
    const unruled = topics.filter((topic) => source.allowEveryone && !ruled(source, topic));
    if (unruled.length > 0 && open.length === 0) {
      const message = `no rule speaks about ${list(unruled)}, so the first rule that we add closes them for everybody`;
      found.push(finding('ACL_OPEN_ENDED', 'source', message, 'Add ALLOW rules for the applications first.'));
    }
  }
  if (facts.target.acls !== null) {
    const exempt = facts.target.access.principals;
    const principals = plan.fence.principals.map((principal) => mappedPrincipal(plan, principal));
    const protection = protectionAcls(afterwards, { topics, groups }, { principals, exempt });
    if (protection.openEnded.length > 0) {
      const message = `everybody may write or join ${list(protection.openEnded)}`;
      found.push(finding('ACL_OPEN_ENDED', 'target', message));
    }
  }
  return found;
}

/** What the model of the authorizer needs. An unknown `allow.everyone...` counts as true: better a finding too many. */
export function rulesOf(side: Pick<SideFacts, 'acls' | 'access'>): AccessRules {
  const { principals, superUser, allowEveryone } = side.access;
  const known = (['own', 'forward', 'reverse'] as const).filter((role) => superUser[role] === true);
  const superUsers = new Set(known.map((role) => principals[role]).filter((principal) => principal !== null));
  return { acls: side.acls ?? [], superUsers, allowEveryone: allowEveryone !== false };
}
