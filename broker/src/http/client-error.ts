/** Problem details (RFC 9457) also for what is no HTTP request, is too long in its head or does not come to its end. */

import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { BrokerError } from '../errors.ts';
import { problemOf } from './problem.ts';

/** Answers and closes the connection. What the peer has sent is neither in the answer nor in the log. */
export function answerClientError(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  if (socket.writable) socket.write(answerOf(error.code));
  socket.destroy(error);
}

function answerOf(code: string | undefined): string {
  const { status, error } = judge(code);
  const body = JSON.stringify({ ...problemOf(error), status });
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body,
  ].join('\r\n');
}

function judge(code: string | undefined): { readonly status: number; readonly error: BrokerError } {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { status: 408, error: new BrokerError('ERR_REQUEST', 'request: did not end in time') };
    case 'HPE_HEADER_OVERFLOW': {
      const message = 'request: expected a shorter head';
      return { status: 431, error: new BrokerError('ERR_REQUEST_TOO_LARGE', message) };
    }
    default:
      return { status: 400, error: new BrokerError('ERR_REQUEST', 'request: expected HTTP/1.1') };
  }
}
