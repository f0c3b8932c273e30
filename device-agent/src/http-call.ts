/** One HTTP request over a connection of its own: few, small, and each may be the first after a year. */

import { request } from 'node:http';
import type { Socket } from 'node:net';
import { AgentError, reasonOf } from './errors.ts';

/** Longest answer: a descriptor or an enrolment has a few kilobytes. */
const MAX_ANSWER_BYTES = 262_144;

export interface HttpAnswer {
  readonly status: number;
  readonly body: Uint8Array;
  /** `code` and `detail` of problem details (RFC 9457), where the answer is that. */
  readonly problem: { readonly code: string; readonly detail: string } | undefined;
}

/**
 * @param socket - connected; closed afterwards.
 * @throws {AgentError} ERR_AGENT_UNREACHABLE when the connection breaks, ERR_AGENT_ANSWER_INVALID when the
 * answer is too long.
 */
export function httpCall(
  socket: Socket,
  options: {
    readonly method: 'GET' | 'POST';
    readonly host: string;
    readonly path: string;
    readonly timeoutMs: number;
    /** Gives the call up. */
    readonly signal?: AbortSignal | undefined;
    readonly body?: { readonly type: string; readonly bytes: Uint8Array };
  },
): Promise<HttpAnswer> {
  const { method, host, path, body } = options;
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      socket.destroy();
      const wrapped =
        error instanceof AgentError
          ? error
          : new AgentError('ERR_AGENT_UNREACHABLE', `${host}: ${reasonOf(error)}`, {
              cause: error,
            });
      reject(wrapped);
    };
    const headers: Record<string, string | number> = { host, accept: '*/*', connection: 'close' };
    if (body !== undefined) {
      headers['content-type'] = body.type;
      headers['content-length'] = body.bytes.length;
    }
    const call = request({ method, path, headers, createConnection: () => socket });
    call.setTimeout(options.timeoutMs, () => fail(new Error('no answer')));
    // Not once: what has failed may fail again when its socket is destroyed.
    call.on('error', fail);
    const giveUp = (): void => fail(new Error('the agent stops'));
    options.signal?.addEventListener('abort', giveUp, { once: true });
    call.once('close', () => options.signal?.removeEventListener('abort', giveUp));
    if (options.signal?.aborted) giveUp();
    call.once('response', (answer) => {
      const chunks: Uint8Array[] = [];
      let length = 0;
      answer.on('data', (chunk: Uint8Array) => {
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) {
          fail(new AgentError('ERR_AGENT_ANSWER_INVALID', `${path}: answer is too long`));
          return;
        }
        chunks.push(chunk);
      });
      answer.on('error', fail);
      answer.once('end', () => {
        socket.destroy();
        const bytes = new Uint8Array(Buffer.concat(chunks));
        const status = answer.statusCode ?? 0;
        resolve({ status, body: bytes, problem: status >= 400 ? parseProblem(bytes) : undefined });
      });
    });
    call.end(body?.bytes);
  });
}

function parseProblem(bytes: Uint8Array): HttpAnswer['problem'] {
  try {
    const value = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>;
    const { code, detail, title } = value;
    if (typeof code !== 'string' || !/^[A-Z0-9_]{1,64}$/.test(code)) return undefined;
    const text = typeof detail === 'string' ? detail : typeof title === 'string' ? title : '';
    return { code, detail: text.replace(/\p{Cc}+/gu, ' ').slice(0, 300) };
  } catch {
    return undefined;
  }
}
