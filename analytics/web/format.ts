/** Numbers, units, ages and names as people read them. Pure; the tests run it in Node. */

const UNITS: Readonly<Record<string, string>> = {
  Cel: '°C',
  '%RH': '% RH',
  lx: 'lx',
  lux: 'lx',
  deg: '°',
  Ohm: 'Ω',
  'm/s2': 'm/s²',
  m2: 'm²',
  m3: 'm³',
  '/': '',
  count: '',
};

/** A SenML unit (RFC 8428 section 12.1) for a screen; the empty string where there is none. */
export function formatUnit(unit: string | null): string {
  return unit === null ? '' : (UNITS[unit] ?? unit);
}

/** A value in at most five digits or so; texts are cut, since a device may send any. */
export function formatValue(value: number | string | boolean): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'string') return value.length > 48 ? `${value.slice(0, 47)}…` : value;
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e9 || size < 1e-3)) return value.toExponential(2);
  const maximumFractionDigits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString('en', { maximumFractionDigits });
}

/** Count with a suffix: 950, 12.4 k, 1.2 M. */
export function formatCount(count: number): string {
  if (count < 10_000) return count.toLocaleString('en');
  const [divisor, suffix] = count < 1e6 ? [1e3, 'k'] : count < 1e9 ? [1e6, 'M'] : [1e9, 'G'];
  return `${(count / divisor).toLocaleString('en', { maximumFractionDigits: 1 })} ${suffix}`;
}

/** "3 s ago"; what lies ahead (clocks differ) is "now". */
export function formatAge(ageMs: number): string {
  const seconds = Math.floor(ageMs / 1000);
  if (seconds < 1) return 'now';
  return `${formatSpan(seconds)} ago`;
}

/** Milliseconds as one number and unit. */
export function formatLag(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : formatSpan(Math.floor(ms / 1000));
}

/** A metric's name as a label: `air_temperature` is "Air temperature". */
export function formatMetric(metric: string): string {
  const words = metric.replaceAll(/[_:/]+/g, ' ').trim();
  return words === '' ? metric : words.charAt(0).toUpperCase() + words.slice(1);
}

/** The beginning and end of an id, which is enough to tell two apart. */
export function shortId(id: string): string {
  return id.length <= 16 ? id : `${id.slice(0, 8)}…${id.slice(-5)}`;
}

function formatSpan(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
