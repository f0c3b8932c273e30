/** The two calls that starting a network makes to the broker's admin API. */

import { readFileSync } from 'node:fs';
import { formatJoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { StackError } from './errors.ts';

export interface BrokerAdmin {
  readonly url: string;
  readonly tokenFile: string;
}

/**
 * Makes an enrolment token.
 *
 * @returns the join line.
 * @throws {StackError} ERR_PROCESS_FAILED when the broker refuses.
 */
export async function createJoinLine(
  admin: BrokerAdmin,
  token: { readonly uses: number; readonly hours: number; readonly host?: string },
): Promise<string> {
  const response = await fetch(new URL('/admin/tokens', admin.url), {
    method: 'POST',
    headers: {
      authorization: `Bearer ${readFileSync(admin.tokenFile, 'utf8').trim()}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify(token),
  });
  const answer = (await response.json()) as { joinLine?: string; detail?: string };
  if (!response.ok || answer.joinLine === undefined) {
    throw new StackError(
      'ERR_PROCESS_FAILED',
      `broker: no enrolment token (${response.status} ${answer.detail ?? ''})`,
    );
  }
  return answer.joinLine;
}

/** The same join line for agents of this machine: plain HTTP on loopback, whatever its network address becomes. */
export function onLoopback(joinLine: string, httpUrl: string): string {
  const { hostname, port } = new URL(httpUrl);
  return formatJoinLine({
    ...parseJoinLine(joinLine),
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port),
    plain: true,
  });
}
