/** The two calls that starting a network makes to the broker's admin API. */

import { readFileSync } from 'node:fs';
import { formatJoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { StackError } from './errors.ts';

export interface BrokerAdmin {
  readonly url: string;
  readonly tokenFile: string;
}

/** How a broker that is being started again is waited for. */
export interface Patience {
  readonly limitMs: number;
  /** Whether nobody wants the answer any more. */
  readonly isOver: () => boolean;
}

const NO_PATIENCE: Patience = { limitMs: 0, isOver: () => true };
const ASK_AGAIN_MS = 250;
const NOT_READY = 503;

/**
 * Makes an enrolment token.
 *
 * @param patience - for a broker that does not answer, is cut off or says that it is not ready. Default: none.
 * @returns the join line.
 * @throws {StackError} ERR_PROCESS_FAILED when the broker refuses, or does not answer in time.
 */
export async function createJoinLine(
  admin: BrokerAdmin,
  token: { readonly uses: number; readonly hours: number; readonly host?: string },
  patience: Patience = NO_PATIENCE,
): Promise<string> {
  const end = performance.now() + patience.limitMs;
  for (;;) {
    const answer = await askForToken(admin, token);
    if ('joinLine' in answer) return answer.joinLine;
    if (answer.isFinal || patience.isOver() || performance.now() >= end) {
      throw new StackError('ERR_PROCESS_FAILED', `broker: no enrolment token (${answer.why})`);
    }
    await new Promise((done) => setTimeout(done, ASK_AGAIN_MS));
  }
}

type Answer = { readonly joinLine: string } | { readonly why: string; readonly isFinal: boolean };

async function askForToken(admin: BrokerAdmin, token: object): Promise<Answer> {
  const bearer = readFileSync(admin.tokenFile, 'utf8').trim();
  try {
    const response = await fetch(new URL('/admin/tokens', admin.url), {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify(token),
    });
    const { joinLine, detail } = (await response.json()) as { joinLine?: string; detail?: string };
    if (response.ok && joinLine !== undefined) return { joinLine };
    const why = `${response.status} ${detail ?? ''}`;
    return { why, isFinal: response.status !== NOT_READY };
  } catch (error) {
    const { message, cause } = error as { message: string; cause?: { code?: string } };
    return { why: cause?.code ?? message, isFinal: false };
  }
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
