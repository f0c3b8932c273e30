/** What is wrong with the server certificate, or soon will be. Pure. */

import type { TlsStatus } from '../tls/certificates.ts';
import { type OpenProblem, openProblem } from './health.ts';

/** Our own certificate is renewed long before; one of the operator's is theirs to replace. */
const WARN_DAYS = 21;

export function tlsProblems(tls: TlsStatus | null): readonly OpenProblem[] {
  if (tls === null) return [];
  const { problem, daysLeft } = tls;
  const problems: OpenProblem[] = [];
  if (problem !== null) problems.push(openProblem('tls', problem.code, problem.message));
  if (daysLeft < WARN_DAYS) {
    const detail = `server certificate: ${daysLeft < 0 ? 'has expired' : `${daysLeft} days left`}`;
    problems.push(openProblem('tls', 'ERR_TLS_DATES', detail));
  }
  return problems;
}
