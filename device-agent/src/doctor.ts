/**
 * `fieldproof-agent doctor`: looks at what an agent needs, changes nothing, and says what to do. Works where everything is
 * broken: each check stands alone, has a deadline, and a check that fails itself is a finding too. Secrets are in no finding.
 */

import { AgentError, reasonOf } from './errors.ts';
import { inOneLine } from './log.ts';

/** `warn` is worth knowing, `fail` keeps the agent from its work, `skip` could not be looked at. */
export type FindingState = 'ok' | 'warn' | 'fail' | 'skip';

export interface Finding {
  /** Stable, `<area>-<what>`. */
  readonly code: string;
  readonly state: FindingState;
  readonly found: string;
  /** What its owner can do; empty when all is well. */
  readonly remedy: string;
}

export type DoctorCheck = () => Promise<readonly Finding[]>;

/** Longest check: name look-up, connection and handshake have their own, shorter ones. */
const CHECK_TIMEOUT_MS = 20_000;

export const ok = (code: string, found: string): Finding => ({
  code,
  state: 'ok',
  found,
  remedy: '',
});
export const skip = (code: string, found: string): Finding => ({
  code,
  state: 'skip',
  found,
  remedy: '',
});
export const warn = (code: string, found: string, remedy: string): Finding => ({
  code,
  state: 'warn',
  found,
  remedy,
});
export const fail = (code: string, found: string, remedy: string): Finding => ({
  code,
  state: 'fail',
  found,
  remedy,
});

/** Runs the checks at the same time; findings come in the order of the checks. */
export async function examine(
  checks: Readonly<Record<string, DoctorCheck>>,
): Promise<readonly Finding[]> {
  const all = await Promise.all(
    Object.entries(checks).map(([area, check]) => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        const message = `no answer within ${CHECK_TIMEOUT_MS} ms`;
        timer = setTimeout(() => reject(new Error(message)), CHECK_TIMEOUT_MS);
      });
      return Promise.race([check(), late])
        .catch((error: unknown) => [
          fail(`${area}-check`, reasonOf(error), 'Remove what it names as the reason, look again.'),
        ])
        .finally(() => clearTimeout(timer));
    }),
  );
  return all.flat();
}

/** Findings as lines for a person. */
export function formatFindings(findings: readonly Finding[]): string {
  const lines = findings.map(({ code, state, found, remedy }) => {
    const shown = inOneLine(found);
    const line = `${state.padEnd(5)} ${code.padEnd(22)} ${shown}\n`;
    return remedy === '' ? line : `${line}${' '.repeat(29)}-> ${remedy}\n`;
  });
  const count = (state: FindingState) => findings.filter((each) => each.state === state).length;
  return `${lines.join('')}${count('ok')} well, ${count('warn')} to know, ${count('fail')} to mend\n`;
}

/** @throws {AgentError} ERR_AGENT_UNHEALTHY when a finding is a failure. */
export function throwIfUnhealthy(findings: readonly Finding[]): void {
  const failed = findings.filter(({ state }) => state === 'fail').map(({ code }) => code);
  if (failed.length === 0) return;
  throw new AgentError('ERR_AGENT_UNHEALTHY', failed.join(', '));
}
