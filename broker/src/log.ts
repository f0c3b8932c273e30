/**
 * The broker's own log: JSON lines by pino. Every line has an `event`, which never changes for one and the same thing;
 * of one event and code only so many lines are written in a while; and no secret gets out, whatever is logged.
 */

import pino, { type DestinationStream, type LogFn, type Logger } from 'pino';
import { LINE_LIMITS, LineLimit, type LineLimits } from './observe/line-limit.ts';
import type { LogRing } from './observe/log-ring.ts';
import { Scrubber } from './observe/scrubber.ts';
import { plainJson } from './plain-text.ts';

export type { Logger } from 'pino';

export interface LogOptions {
  /** Default standard error: standard output carries the `ready` line. */
  readonly destination?: DestinationStream;
  readonly limits?: LineLimits;
  /** Knows the secrets of this process. */
  readonly scrubber?: Scrubber;
  /** Keeps the last lines. */
  readonly ring?: LogRing;
  /** Of a clock that nobody sets; default `performance.now`. */
  readonly monotonicMs?: () => number;
}

/** Where secrets could get into a line. */
const SECRETS = ['req.headers.authorization', 'token', 'password', 'joinLine', '*.token', '*.seed'];
/** Of what a stranger may have put into a field. */
const MAX_FIELD_CHARACTERS = 500;
const SUPPRESSED = 'log-lines-suppressed';

type Fields = Readonly<Record<string, unknown>>;

/** @param level - a pino level, or `silent`. */
export function createLogger(level: string, options: LogOptions = {}): Logger {
  const { destination = pino.destination(2), scrubber = new Scrubber(), ring } = options;
  const limits = options.limits ?? LINE_LIMITS;
  const limit = new LineLimit(limits);
  const now = options.monotonicMs ?? (() => performance.now());
  let isTimed = false;
  const tellLater = () => {
    if (isTimed) return;
    isTimed = true;
    setTimeout(tell, limits.windowMs).unref();
  };
  const tell = () => {
    isTimed = false;
    for (const [of, suppressed] of limit.ended(now())) {
      logger.warn({ event: SUPPRESSED, of, suppressed }, 'log: lines were left out');
    }
    if (limit.hasSuppressed) tellLater();
  };

  function logMethod(this: Logger, args: Parameters<LogFn>, method: LogFn): void {
    const { fields, message } = partsOf(args);
    const event = typeof fields.event === 'string' ? fields.event : eventOf(message);
    const code = fields.code ?? fields.reason ?? fields.clause;
    const kind = typeof code === 'string' ? `${event} ${code}` : event;
    if (event !== SUPPRESSED && !limit.take(kind, now())) {
      // Told at the end of the window, also when nothing more comes.
      tellLater();
      return;
    }
    method.call(this, { event, ...fields, ...shortened(fields) }, message);
  }

  const write = (line: string) => {
    const clean = plainJson(scrubber.scrub(line));
    ring?.push(clean);
    destination.write(clean);
  };
  const settings = { name: 'broker', level, redact: SECRETS, base: { pid: process.pid } };
  const logger: Logger = pino({ ...settings, hooks: { logMethod } }, { write });
  return logger;
}

/** Of what the MQTT side notices: what an operator should see of strangers, and what is the network's own noise. */
export function noticeLevel(event: string): 'info' | 'debug' {
  return event === 'login-refused' || event === 'connection-ended' ? 'info' : 'debug';
}

/** The name of an event of which the program gives only a message. */
export function eventOf(message: string): string {
  const name = message.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  return name.replace(/^-|-$/g, '').slice(0, 64) || 'message';
}

/** pino takes fields, an error or a message first, and things to put into the message after it. */
function partsOf(args: readonly unknown[]): { readonly fields: Fields; readonly message: string } {
  const [first, second] = args;
  if (typeof first === 'string') return { fields: {}, message: first };
  const message = typeof second === 'string' ? second : '';
  if (isError(first)) return { fields: { err: first }, message: message || 'error' };
  return { fields: (first ?? {}) as Fields, message };
}

/** Also of another realm. */
function isError(value: unknown): boolean {
  return Object.prototype.toString.call(value) === '[object Error]';
}

function shortened(fields: Fields): Fields {
  const long = Object.entries(fields).filter(
    ([, value]) => typeof value === 'string' && value.length > MAX_FIELD_CHARACTERS,
  );
  return Object.fromEntries(
    long.map(([key, value]) => [key, `${(value as string).slice(0, MAX_FIELD_CHARACTERS)}…`]),
  );
}
