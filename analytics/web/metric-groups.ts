/** The metrics of a device in the order and under the headings that a person picks from. Pure. */
import {
  derivedFrom,
  derivedHeading,
  derivedMetric,
  rawProfiles,
} from '../src/derived-profiles.ts';
import { unitText } from '../src/reading-text.ts';
import type { ApiMetric } from './api.ts';
import { formatMetric } from './format.ts';

export interface MetricChoice {
  readonly metric: ApiMetric;
  /** "Temperature (°C)", "Temperature · mean (°C)". */
  readonly label: string;
}

export interface MetricGroup {
  /** Null where one group is all there is. */
  readonly heading: string | null;
  readonly choices: readonly MetricChoice[];
}

/** What a person looks for first comes first. */
const STATISTICS = ['mean', 'min', 'max', 'first', 'last', 'sum', 'count'];

/**
 * Groups of the numeric ones among `metrics`: what the device sends, profile by profile, then what was derived.
 *
 * @param declared - profiles of the device's birth, null while unknown.
 */
export function metricGroups(
  metrics: readonly ApiMetric[],
  declared: readonly string[] | null,
): readonly MetricGroup[] {
  const numbers = metrics.filter(({ type }) => type === 'float');
  const names = [...new Set(metrics.map(({ profile }) => profile))].sort();
  const raw = rawProfiles(names, declared);
  const of = (profile: string) => numbers.filter((metric) => metric.profile === profile);
  const sent = names.filter((name) => raw.has(name));
  const derived = names.filter((name) => !raw.has(name));
  const groups = [
    ...sent.map((profile) => ({ heading: profile, choices: of(profile).map(plain) })),
    ...derived.map((profile) => {
      const base = derivedFrom(profile, sent);
      if (base === null) return { heading: profile, choices: of(profile).map(plain) };
      const heading = derivedHeading(profile, base);
      return {
        heading: sent.length > 1 ? `${heading} · ${base}` : heading,
        choices: [...of(profile)].sort(byStatistic).map(statistic),
      };
    }),
  ].filter(({ choices }) => choices.length > 0);
  if (groups.length === 1) return [{ heading: null, choices: groups[0]!.choices }];
  return groups;
}

function plain(metric: ApiMetric): MetricChoice {
  return { metric, label: `${formatMetric(metric.metric)}${inBrackets(metric.unit)}` };
}

function statistic(metric: ApiMetric): MetricChoice {
  const of = derivedMetric(metric.metric);
  if (of === null) return plain(metric);
  const label = `${formatMetric(of.metric)} · ${of.statistic}${inBrackets(metric.unit)}`;
  return { metric, label };
}

/** By metric, its mean before its other statistics; what is none, as the version of a window, last. */
function byStatistic(a: ApiMetric, b: ApiMetric): number {
  const [x, y] = [derivedMetric(a.metric), derivedMetric(b.metric)];
  if (x === null || y === null) return Number(x === null) - Number(y === null);
  if (x.metric !== y.metric) return x.metric < y.metric ? -1 : 1;
  return STATISTICS.indexOf(x.statistic) - STATISTICS.indexOf(y.statistic);
}

const inBrackets = (unit: string | null): string =>
  unitText(unit) === '' ? '' : ` (${unitText(unit)})`;
