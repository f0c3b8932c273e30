/** What the agent says of the operator's settings: in `status`, and as lines for a person. */

export interface RemoteStatus {
  readonly allow: boolean;
  readonly inForce: {
    readonly version: number;
    /** Hex. */
    readonly id: string;
    readonly digest: string;
    readonly issuedMs: number;
    readonly expiresMs: number;
    readonly sinceMs: number;
    /** It has not proved itself yet. */
    readonly trial: boolean;
  } | null;
  readonly newest: number;
  readonly last: {
    readonly outcome: string;
    readonly code: string | null;
    readonly reasons: readonly string[];
  } | null;
}

/** Rows of `fieldproof-agent status`. */
export function formatRemote({ allow, inForce, newest, last }: RemoteStatus): [string, string][] {
  const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
  const rows: [string, string][] = [];
  if (inForce === null) {
    rows.push(['settings', allow ? 'agent.yaml' : 'agent.yaml; remote.allow is false']);
  } else {
    const { version, sinceMs, expiresMs, trial } = inForce;
    const state = trial ? ', on trial' : '';
    rows.push([
      'settings',
      `agent.yaml and the operator's version ${version} since ${time(sinceMs)}, until ${time(expiresMs)}${state}`,
    ]);
  }
  if (last !== null && last.outcome !== 'applied') {
    const reasons = [last.code, ...last.reasons].filter(Boolean).join(': ');
    rows.push([
      '',
      `version ${newest} of the operator was ${said(last.outcome)}${reasons === '' ? '' : `: ${reasons}`}`,
    ]);
  }
  return rows;
}

function said(outcome: string): string {
  return outcome === 'rolled-back' ? 'taken back' : outcome;
}
