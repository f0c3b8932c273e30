/** Times as they are written in data files. Without a zone they are taken as UTC. */

/** `iso`: ISO 8601, `T` or a blank between; `dmy`: DD/MM/YYYY HH:MM:SS; `unix`: seconds since 1970. */
export const TIME_FORMATS = ['iso', 'dmy', 'unix'] as const;
export type TimeFormat = (typeof TIME_FORMATS)[number];

const ISO =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d\d:?\d\d)?$/;
const DMY = /^(\d\d?)[/.-](\d\d?)[/.-](\d{4})[T ](\d\d?)[:.](\d\d)(?:[:.](\d\d))?$/;

/**
 * Unix time in ms of a written time, or undefined when it is not one (or no day of the calendar).
 */
export function parseRowTime(written: string, format: TimeFormat): number | undefined {
  const text = written.trim();
  if (format === 'unix') {
    const seconds = text === '' ? Number.NaN : Number(text);
    return Number.isFinite(seconds) ? Math.round(seconds * 1000) : undefined;
  }
  if (format === 'dmy') {
    const match = DMY.exec(text);
    if (match === null) return undefined;
    const [, day, month, year, hour, minute, second] = match;
    return utc([year, month, day, hour, minute, second]);
  }
  const match = ISO.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', zone = 'Z'] = match;
  const whole = utc([year, month, day, hour, minute, second]);
  if (whole === undefined) return undefined;
  return whole + Number(`0.${fraction || '0'}`) * 1000 - zoneOffsetMs(zone);
}

function utc(parts: readonly (string | undefined)[]): number | undefined {
  const [year, month, day, hour = 0, minute = 0, second = 0] = parts.map((part) =>
    part === undefined ? undefined : Number(part),
  );
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const ms = Date.UTC(year!, month! - 1, day!, hour, minute, second);
  const back = new Date(ms);
  // Date.UTC turns 31 February into a day of March.
  return back.getUTCMonth() === month! - 1 && back.getUTCDate() === day ? ms : undefined;
}

function zoneOffsetMs(zone: string): number {
  if (zone === 'Z') return 0;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2));
  return (zone.startsWith('-') ? -1 : 1) * minutes * 60_000;
}
