/**
 * Times and durations as people write them in a query: RFC 3339, Unix ms, or relative to now.
 */
import { AnalyticsError } from '../errors.ts';

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

const DURATION = /^(\d{1,12})(ms|s|m|h|d|w)$/;
const UNIX_MS = /^\d{1,15}(\.\d{1,3})?$/;
/** RFC 3339 section 5.6; the date's range is checked by parsing. */
const RFC3339 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;
/** Year 9999, as for readings (docs/spec/telemetry.md section 1.6). */
const MAX_TIME_MS = 253_402_300_799_000;

/** Widths that a person reads off an axis without arithmetic. */
const ROUND_WIDTHS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000,
  300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000,
];
const DAY_MS = 86_400_000;

/**
 * Unix ms of `text`: RFC 3339 (`2026-11-21T07:00:00Z`), Unix ms (`1795244400000`), `now`, or a time
 * before now (`-90s`, `-1h`, `-7d`).
 *
 * @param name - of the parameter, for the message.
 * @throws {AnalyticsError} ERR_REQUEST_INVALID.
 */
export function parseTime(name: string, text: string, nowMs: number): number {
  const time = readTime(text, nowMs);
  if (time === null || !Number.isFinite(time) || time < 0 || time > MAX_TIME_MS) {
    throw new AnalyticsError(
      'ERR_REQUEST_INVALID',
      `${name}: expected RFC 3339 (with + sent as %2B), Unix ms, now or -1h, got ${quote(text)}`,
    );
  }
  return time;
}

/**
 * Milliseconds of `text` (`500ms`, `10s`, `1m`, `1h`, `1d`, `1w`).
 *
 * @throws {AnalyticsError} ERR_REQUEST_INVALID; zero is refused too.
 */
export function parseDuration(name: string, text: string): number {
  const ms = readDuration(text);
  if (ms === null || ms <= 0 || ms > MAX_TIME_MS) {
    throw new AnalyticsError(
      'ERR_REQUEST_INVALID',
      `${name}: expected a duration like 500ms, 10s, 1m, 1h or 1d, got ${quote(text)}`,
    );
  }
  return ms;
}

/** Smallest round bucket width with which [fromMs, toMs) has at most `points` buckets (2 or more). */
export function bucketFor(fromMs: number, toMs: number, points: number): number {
  // Buckets are aligned to the epoch, so a range touches one more than its length says.
  const least = (toMs - fromMs) / (points - 1);
  const round = ROUND_WIDTHS_MS.find((width) => width >= least);
  return round ?? Math.ceil(least / DAY_MS) * DAY_MS;
}

function readTime(text: string, nowMs: number): number | null {
  if (text === 'now') return nowMs;
  if (UNIX_MS.test(text)) return Number(text);
  if (text.startsWith('-')) {
    const ago = readDuration(text.slice(1));
    return ago === null ? null : nowMs - ago;
  }
  const [, year, month, day] = RFC3339.exec(text) ?? [];
  if (year === undefined) return null;
  // Date rolls 30 February over into March; a calendar date that does not exist is refused instead.
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  date.setUTCFullYear(Number(year));
  if (date.getUTCMonth() + 1 !== Number(month) || date.getUTCDate() !== Number(day)) return null;
  return Date.parse(text.toUpperCase());
}

function readDuration(text: string): number | null {
  const [, count, unit] = DURATION.exec(text) ?? [];
  return count === undefined || unit === undefined ? null : Number(count) * UNITS_MS[unit]!;
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 40));
