/** What a bearer token may be for; broker/README.md says which routes each opens. */

export const SCOPES = [
  'read',
  'devices',
  'enrol',
  'suspend',
  'keys',
  'access',
  'mqtt',
  'tail',
  'bodies',
  'down',
  /** All of them. */
  'admin',
] as const;

export type Scope = (typeof SCOPES)[number];

/** Whether scopes open what is for one of them. */
export function mayUse(scopes: readonly Scope[], scope: Scope): boolean {
  return scopes.includes(scope) || scopes.includes('admin');
}

/** Whether scopes open all that others do. */
export function coverScopes(own: readonly Scope[], others: readonly Scope[]): boolean {
  return others.every((scope) => mayUse(own, scope));
}

export function isScope(text: unknown): text is Scope {
  return (SCOPES as readonly unknown[]).includes(text);
}
