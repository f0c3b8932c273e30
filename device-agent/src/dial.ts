/** Opens TCP and TLS connections, with one deadline for name look-up, connect and handshake. */

import { connect as connectTcp, isIP, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock } from './clock.ts';
import { AgentError, codeOf, reasonOf } from './errors.ts';

export interface DialOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Gives the attempt up. */
  readonly signal?: AbortSignal | undefined;
  /** Judges the server's certificate; throws to refuse it. TLS only. */
  readonly checkPeer?: ((socket: TLSSocket) => void) | undefined;
}

/**
 * A connected socket. Its certificate has been judged by `checkPeer` before anything is written. An error that nobody
 * listens for ends it, not the process.
 *
 * @throws {AgentError} ERR_AGENT_UNREACHABLE, or what `checkPeer` throws.
 */
export async function dial(options: DialOptions): Promise<Socket> {
  const { host, port, clock, timeoutMs, signal } = options;
  const where = `${host}:${port}`;
  let socket: Socket;
  try {
    socket = options.tls ? await startTls(host, port) : connectTcp({ host, port });
  } catch (cause) {
    throw unreachable(where, cause);
  }
  return await new Promise<Socket>((resolve, reject) => {
    const fail = (error: unknown): void => {
      clock.cancel(timer);
      signal?.removeEventListener('abort', giveUp);
      socket.destroy();
      reject(error);
    };
    const giveUp = (): void => fail(unreachable(where, new Error('the agent stops')));
    const timer = clock.after(timeoutMs, () =>
      fail(new AgentError('ERR_AGENT_UNREACHABLE', `${where}: no answer within ${timeoutMs} ms`)),
    );
    signal?.addEventListener('abort', giveUp, { once: true });
    if (signal?.aborted) giveUp();
    const failed = (error: unknown): void => fail(unreachable(where, error));
    const closed = (): void => failed(new Error('connection closed'));
    // Not once: a socket that was given up may break again.
    socket.on('error', failed);
    socket.once('close', closed);
    socket.once(options.tls ? 'secureConnect' : 'connect', () => {
      try {
        if (options.tls) options.checkPeer?.(socket as TLSSocket);
      } catch (error) {
        fail(error);
        return;
      }
      clock.cancel(timer);
      signal?.removeEventListener('abort', giveUp);
      socket.removeListener('error', failed);
      socket.removeListener('close', closed);
      // It may break before its user listens, or after it has stopped; whoever waits for it is told by `close`.
      socket.on('error', ignore);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

function ignore(): void {}

/** tls is loaded only where it is used: it takes 2 MiB. */
async function startTls(host: string, port: number): Promise<Socket> {
  const { connect } = await import('node:tls');
  const servername = isIP(host) === 0 ? { servername: host } : {};
  // `checkPeer` judges the chain: see tls-peer.ts.
  return connect({ host, port, ...servername, rejectUnauthorized: false, minVersion: 'TLSv1.2' });
}

function unreachable(where: string, cause: unknown): AgentError {
  const reason = codeOf(cause) ?? reasonOf(cause);
  return new AgentError('ERR_AGENT_UNREACHABLE', `${where}: ${reason}`, { cause });
}
