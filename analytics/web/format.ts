/** Counts, ages and names as people read them; values with units are in reading-text. Pure; the tests run it in Node. */

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
