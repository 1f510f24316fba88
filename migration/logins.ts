/** What of our own logins access rules cannot be about. */
import { type ClusterConfig, principalName, type Role } from '../kafka/clusters.ts';

const roles: readonly Role[] = ['own', 'forward', 'reverse'];

/** Those whose names only the broker knows, each once: a mirror without a login of its own is us. */
export function unnamedLogins({ credentials, hasOwnPrincipal, mirrorPrincipals }: ClusterConfig): string[] {
  const unnamed: string[] = roles.filter(
    (role) => (role === 'own' || hasOwnPrincipal[role]) && principalName(credentials[role]) === null,
  );
  if (mirrorPrincipals.some((login) => principalName(login) === null)) unnamed.push('mirrorPrincipals');
  return unnamed;
}

/** Those through IAM, which Kafka's rules do not bind. */
export function iamLogins({ credentials }: ClusterConfig): Role[] {
  return roles.filter((role) => credentials[role].token?.from === 'aws-msk-iam');
}
