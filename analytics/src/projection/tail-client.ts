/**
 * The client of the evidence log's tail (docs/spec/evidence-log.md section 4): frames in order from an index on,
 * checked, over connections that come back by themselves.
 *
 * Back-pressure is the generator's: while its user does not ask for more, the socket is not read. What frames mean is
 * in `projector.ts`.
 */
import { createHash } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { ProtocolError } from '@fieldproof/protocol/errors';
import { decodeFrame, type Frame, FrameReader } from '@fieldproof/protocol/frame';
import { AnalyticsError } from '../errors.ts';

const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 15_000;
/** A tail that is silent may be healthy; its TCP connection is probed this often. */
const KEEP_ALIVE_MS = 30_000;
/** Until the answer's head arrives. */
const ANSWER_TIMEOUT_MS = 30_000;
/** As often the same index may arrive damaged before it is the log, not the connection. */
const MAX_CORRUPT = 3;
/** Longest answer to a request for one entry: the largest frame. */
const MAX_ENTRY_ANSWER = 131_080;
/** Longest problem details that are read. */
const MAX_PROBLEM_ANSWER = 65_536;

export interface TailSource {
  /** Address of the broker's HTTP listener. */
  readonly url: string;
  /** The bearer token; asked for before each request, so that a renewed one is taken up. */
  readonly token: () => Promise<string>;
}

export interface TailOptions extends TailSource {
  /** Index of the first frame. */
  readonly from: number;
  /** SHA-256 of the entry before it in hex, if that is known: a log that holds another one there is not read. */
  readonly before?: string | undefined;
  /** False ends at the present end of the log; default true. */
  readonly live?: boolean;
  /** Ends the generator without an error. */
  readonly signal: AbortSignal;
  /** Waits before a new connection; resolves early when the signal aborts. Replaced by tests. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** From 0 to below 1: spreads reconnects. */
  readonly random?: () => number;
  /** Told of every connection that failed or ended, and of every one that was opened (undefined). */
  readonly onConnection?: (error: AnalyticsError | undefined) => void;
}

/**
 * Frames from `from` on, in the groups in which they arrive. Reconnects with back-off when the connection fails.
 *
 * @throws {AnalyticsError} ERR_TAIL_AUTH, ERR_TAIL_RANGE or ERR_TAIL_FORKED when the log does not hold, or no longer
 * holds, what comes before, or ERR_TAIL_CORRUPT when the same index arrives damaged three times in a row. ERR_TAIL_UNAVAILABLE only goes to `onConnection`, except with `live: false`.
 */
export async function* tail(options: TailOptions): AsyncGenerator<readonly Frame[]> {
  const { signal, sleep = sleepMs, random = Math.random, live = true } = options;
  let next = options.from;
  let last: Frame | undefined;
  let failures = 0;
  let corrupt = { index: -1, times: 0 };
  while (!signal.aborted) {
    try {
      const before = last === undefined ? options.before : entryHash(last);
      for await (const frames of connection({ ...options, from: next, before })) {
        last = frames[frames.length - 1]!;
        next = last.index + 1;
        failures = 0;
        yield frames;
      }
      if (!live || signal.aborted) return;
      throw unavailable('connection: expected more frames, got its end');
    } catch (error) {
      if (signal.aborted) return;
      const problem = asTailError(error);
      if (problem.code === 'ERR_TAIL_CORRUPT') {
        corrupt = { index: next, times: corrupt.index === next ? corrupt.times + 1 : 1 };
        if (corrupt.times >= MAX_CORRUPT) throw problem;
      } else if (!problem.transient || !live) {
        throw problem;
      }
      options.onConnection?.(problem);
    }
    const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** failures++, MAX_BACKOFF_MS);
    await sleep(backoff * (0.5 + random() / 2), signal);
  }
}

/**
 * One frame by its index.
 *
 * @throws {AnalyticsError} ERR_TAIL_UNAVAILABLE, ERR_TAIL_AUTH, ERR_TAIL_RANGE or ERR_TAIL_CORRUPT.
 */
export async function readEntry(
  source: TailSource,
  index: number,
  signal: AbortSignal,
): Promise<Frame> {
  try {
    const response = await get(source, `/v1/entries/${index}`, signal);
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > MAX_ENTRY_ANSWER) throw corruptError(`entry ${index}: longer than a frame`);
      chunks.push(chunk);
    }
    const frame = decodeFrame(Buffer.concat(chunks));
    if (frame.index !== index) {
      throw corruptError(`entry: expected index ${index}, got ${frame.index}`);
    }
    return frame;
  } catch (error) {
    throw asTailError(error);
  }
}

/** SHA-256 of a frame's entry in hex: which entry that is. */
export function entryHash({ entry }: Pick<Frame, 'entry'>): string {
  return createHash('sha256').update(entry).digest('hex');
}

/** Waits; resolves early when the signal aborts. */
export function sleepMs(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal.aborted) done();
    else signal.addEventListener('abort', done);
  });
}

/** The frames of one connection. What came whole before damage is given before the error. */
async function* connection(options: TailOptions): AsyncGenerator<readonly Frame[]> {
  const { before, live = true, signal } = options;
  // The entry before is asked for again: a broker that came back may have lost entries and got others since.
  const from = before === undefined ? options.from : options.from - 1;
  let isChecked = before === undefined;
  const response = await get(options, `/v1/tail?from=${from}${live ? '' : '&live=0'}`, signal);
  options.onConnection?.(undefined);
  const reader = new FrameReader(from);
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      reader.push(chunk);
      const { frames, error } = takeFrames(reader);
      if (!isChecked && frames.length > 0) {
        if (entryHash(frames.shift()!) !== before) throw forked(from);
        isChecked = true;
      }
      if (frames.length > 0) yield frames;
      if (error !== undefined) throw error;
    }
    reader.end();
  } finally {
    response.destroy();
  }
}

function takeFrames(reader: FrameReader): { frames: Frame[]; error?: unknown } {
  const frames: Frame[] = [];
  try {
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(frame);
    return { frames };
  } catch (error) {
    return { frames, error };
  }
}

async function get(
  { url, token }: TailSource,
  path: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const address = tailUrl(url, path);
  const authorization = `Bearer ${await readToken(token)}`;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = (address.protocol === 'https:' ? httpsRequest : httpRequest)(
      address,
      { headers: { authorization, accept: 'application/vnd.fieldproof.frames' }, signal },
      (answer) => {
        request.setTimeout(0);
        resolve(answer);
      },
    );
    request.setTimeout(ANSWER_TIMEOUT_MS, () => request.destroy(unavailable('answer: none')));
    request.on('socket', (socket) => socket.setKeepAlive(true, KEEP_ALIVE_MS));
    request.on('error', reject);
    request.end();
  });
  if (response.statusCode === 200) return response;
  throw statusError(response.statusCode ?? 0, path, await problemCode(response));
}

function tailUrl(url: string, path: string): URL {
  try {
    return new URL(`${url.replace(/\/+$/, '')}${path}`);
  } catch (cause) {
    throw new AnalyticsError('ERR_TAIL_UNAVAILABLE', `broker: expected an address, got ${url}`, {
      cause,
    });
  }
}

async function readToken(token: () => Promise<string>): Promise<string> {
  let text: string;
  try {
    text = (await token()).trim();
  } catch (cause) {
    throw new AnalyticsError('ERR_TAIL_AUTH', `token: ${(cause as Error).message}`, { cause });
  }
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new AnalyticsError('ERR_TAIL_AUTH', 'token: expected one word of printable characters');
}

/** What the broker's problem details say, if these are some: a proxy on the way answers in its own words. */
async function problemCode(response: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    // Ends the response too.
    if (length > MAX_PROBLEM_ANSWER) return undefined;
    chunks.push(chunk);
  }
  try {
    const problem: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    const { code } = (problem ?? {}) as { code?: unknown };
    return typeof code === 'string' ? code : undefined;
  } catch {
    return undefined;
  }
}

function statusError(status: number, path: string, code: string | undefined): AnalyticsError {
  if (status === 401 || status === 403) {
    return new AnalyticsError('ERR_TAIL_AUTH', `broker: refused the token (HTTP ${status})`);
  }
  // Only the log itself can say that it is shorter: what was read is made anew because of it.
  if (status === 416 && code === 'ERR_INDEX_RANGE') {
    return new AnalyticsError('ERR_TAIL_RANGE', `broker: has no ${path} (HTTP ${status})`);
  }
  return unavailable(`broker: expected HTTP 200, got ${status}`);
}

function asTailError(error: unknown): AnalyticsError {
  if (error instanceof AnalyticsError) return error;
  if (error instanceof ProtocolError) {
    return error.code === 'ERR_FRAME_CORRUPT'
      ? corruptError(error.message, error)
      : unavailable(error.message, error);
  }
  const { code, message } = error as NodeJS.ErrnoException;
  return unavailable(`broker: ${code ?? message}`, error);
}

function forked(index: number): AnalyticsError {
  const message = `log: entry ${index} is not the one that was read before`;
  return new AnalyticsError('ERR_TAIL_FORKED', message);
}

function corruptError(message: string, cause?: unknown): AnalyticsError {
  return new AnalyticsError('ERR_TAIL_CORRUPT', message, { cause });
}

function unavailable(message: string, cause?: unknown): AnalyticsError {
  return new AnalyticsError('ERR_TAIL_UNAVAILABLE', message, { cause });
}
