/**
 * Tells the control process how far a projection is: `PUT /v1/projection/<name>`. Advisory: a report that does not arrive
 * is followed by the next one, and nothing waits for it.
 */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { ANALYTICS_ERRORS } from '../errors.ts';
import type { ProjectionStatus } from './projection.ts';

const INTERVAL_MS = 2000;
const TIMEOUT_MS = 2000;

export interface ProgressReportOptions {
  /** Base address of the control process. */
  readonly url: string;
  /** Bearer token of scope write; asked for before each report. */
  readonly token: () => Promise<string>;
  /** Which projection; `[A-Za-z0-9._-]`, at most 64 characters. */
  readonly name: string;
  readonly status: () => ProjectionStatus;
}

export interface ProgressReport {
  stop(): void;
}

/** Reports every two seconds until it is stopped. */
export function startProgressReport(options: ProgressReportOptions): ProgressReport {
  let isStopped = false;
  const timer = setInterval(() => {
    if (!isStopped) void report(options).catch(() => {});
  }, INTERVAL_MS);
  timer.unref();
  return {
    stop: () => {
      isStopped = true;
      clearInterval(timer);
    },
  };
}

/** Sends one report. Rejects when it did not arrive. */
export async function report({ url, token, name, status }: ProgressReportOptions): Promise<void> {
  const { cursorIndex, oldestUnstoredMs, waiting, connected, problem } = status();
  const { code = '', message = '' } = problem ?? {};
  const remedy = code === '' ? '' : ANALYTICS_ERRORS[code].remedy;
  const body = JSON.stringify({
    nextIndex: cursorIndex,
    oldestUnstoredMs: oldestUnstoredMs ?? null,
    waiting,
    connected,
    problem: problem === undefined ? null : { code, message: message.slice(0, 500), remedy },
  });
  const address = new URL(`${url.replace(/\/+$/, '')}/v1/projection/${encodeURIComponent(name)}`);
  const authorization = `Bearer ${(await token()).trim()}`;
  const headers = { authorization, 'content-type': 'application/json' };
  await new Promise<void>((resolve, reject) => {
    const send = address.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(address, { method: 'PUT', headers, timeout: TIMEOUT_MS }, (answer) => {
      answer.resume();
      if (answer.statusCode === 204) resolve();
      else reject(new Error(`control process: HTTP ${answer.statusCode}`));
    });
    request.on('timeout', () => request.destroy(new Error('control process: no answer')));
    request.on('error', reject);
    request.end(body);
  });
}
