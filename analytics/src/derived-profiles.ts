/**
 * Which profiles a device sends itself, and which the network computes from them.
 *
 * Windows are stored as `<profile>_<suffix>` with metrics `<metric>_mean`, `_min`, … and `version`
 * (compute/src/window-tables.ts). What a birth declares is never derived; where the birth is unknown the names decide.
 * Pure, and without imports: the page and the command line use it as well.
 */

/** A metric of a derived profile, taken apart. */
export interface DerivedMetric {
  /** The metric that it summarises. */
  readonly metric: string;
  /** `mean`, `min`, `max`, `first`, `last`, `sum` or `count`. */
  readonly statistic: string;
}

const STATISTIC = /^(.+)_(mean|min|max|first|last|sum|count)$/;
const WINDOW = /^(\d{1,6})(s|m|h|d)$/;
const WINDOW_UNITS: Readonly<Record<string, string>> = { s: 's', m: 'min', h: 'h', d: 'd' };

/**
 * The profiles among `names` that the device itself sends.
 *
 * @param names - every profile that the store has of the device.
 * @param declared - those of its newest birth, null while unknown. When none of `names` is declared, as for lines
 *   that were written past the device, the names decide.
 */
export function rawProfiles(
  names: readonly string[],
  declared: readonly string[] | null,
): ReadonlySet<string> {
  const sent = names.filter((name) => declared?.includes(name));
  if (sent.length > 0) return new Set(sent);
  return new Set(names.filter((name) => derivedFrom(name, names) === null));
}

/** The longest of `names` that `profile` extends by `_<suffix>`, or null. */
export function derivedFrom(profile: string, names: readonly string[]): string | null {
  let found: string | null = null;
  for (const name of names) {
    const extended = name.length + 1 < profile.length && profile.startsWith(`${name}_`);
    if (extended && name.length > (found?.length ?? -1)) found = name;
  }
  return found;
}

/** `temperature_mean` is the mean of `temperature`; null for what is no statistic, as `version`. */
export function derivedMetric(metric: string): DerivedMetric | null {
  const [, base, statistic] = STATISTIC.exec(metric) ?? [];
  return base === undefined || statistic === undefined ? null : { metric: base, statistic };
}

/** A heading for what `profile` holds of `base`: "Windows · 1 min" for `air_1m`, "Derived · x" for `air_x`. */
export function derivedHeading(profile: string, base: string): string {
  const suffix = profile.slice(base.length + 1);
  const [, count, unit] = WINDOW.exec(suffix) ?? [];
  return count === undefined || unit === undefined
    ? `Derived · ${suffix}`
    : `Windows · ${count} ${WINDOW_UNITS[unit]}`;
}
