/**
 * Devices as the API shows them: what the store holds, joined with what the registry knows.
 *
 * Without the broker the list is that of the store, with names and presence unknown (null, not false).
 */
import type { FieldType } from '@fieldproof/compute/readings';
import { derivedFrom, derivedMetric } from '../derived-profiles.ts';
import type { DeviceSummary, LatestValue, TimeSeriesStore } from '../store/time-series-store.ts';
import { coalesce } from './coalesce.ts';
import type {
  DeclaredMetric,
  DeclaredProfiles,
  DeviceDirectory,
  DirectoryEntry,
} from './providers.ts';

/** Several dashboards ask every few seconds; the store is asked once. */
const STORE_TTL_MS = 1000;
const DIRECTORY_TTL_MS = 2000;

export interface MetricView {
  readonly profile: string;
  readonly metric: string;
  readonly type: FieldType;
  /** SenML unit, null while unknown; of a window's metric that of the metric it summarises. */
  readonly unit: string | null;
}

/** One device; null is "not known", never "no". */
export interface DeviceView {
  readonly device: string;
  readonly name: string | null;
  readonly owner: string | null;
  readonly group: string | null;
  readonly cell: string | null;
  /** `sensor`, `replay` or `simulated`, as tagged in the store. */
  readonly source: string | null;
  readonly online: boolean | null;
  /** Unix ms of the newest envelope that the broker took. */
  readonly lastSeenMs: number | null;
  /** Unix ms of the newest reading in the store. */
  readonly lastReadingMs: number | null;
  /** Values in the store. */
  readonly count: number;
  /** Profiles that its newest birth declares, sorted; what else it has in the store was derived. */
  readonly profiles: readonly string[] | null;
  readonly metrics: readonly MetricView[];
}

/** Whether the broker took part in an answer. */
export interface BrokerPart {
  readonly ok: boolean;
  /** Why it did not; empty when it did. */
  readonly detail: string;
}

export interface DeviceViews {
  /** All devices of store and registry, sorted by id. */
  list(): Promise<{ readonly devices: readonly DeviceView[]; readonly broker: BrokerPart }>;
  /** The SenML unit that the device declared for a metric, null while unknown. */
  units(): Promise<(device: string, profile: string, metric: string) => string | null>;
}

export interface DeviceViewOptions {
  readonly store: Pick<TimeSeriesStore, 'devices' | 'latest'>;
  readonly directory: DeviceDirectory;
  /** Default: nothing is declared. */
  readonly declared?: DeclaredProfiles | undefined;
  readonly clock: () => number;
}

/** The joined view over `store` and `directory`, each asked at most every second or two. */
export function deviceViews(options: DeviceViewOptions): DeviceViews {
  const { store, directory, declared = () => undefined, clock } = options;
  const registry = coalesce(() => directory.devices(), { ttlMs: DIRECTORY_TTL_MS, clock });
  const stored = coalesce(() => Promise.all([store.devices(), store.latest({})]), {
    ttlMs: STORE_TTL_MS,
    clock,
  });
  return {
    list: async () => {
      const [[summaries, latest], answer] = await Promise.all([stored(), registry()]);
      return {
        devices: joinDevices({
          summaries,
          latest,
          entries: answer.ok ? answer.value : [],
          declared,
        }),
        broker: { ok: answer.ok, detail: answer.ok ? '' : answer.detail },
      };
    },
    units: async () => {
      const answer = await registry();
      const entries = new Map((answer.ok ? answer.value : []).map((e) => [e.device, e]));
      return (device, profile, metric) => {
        const profiles = entries.get(device)?.profiles ?? declared(device);
        return unitOf(profiles, profile, metric);
      };
    },
  };
}

export interface DeviceParts {
  readonly summaries: readonly DeviceSummary[];
  readonly latest: readonly LatestValue[];
  readonly entries: readonly DirectoryEntry[];
  readonly declared: DeclaredProfiles;
}

/** Store and registry as one list, sorted by device id (code units). */
export function joinDevices(parts: DeviceParts): readonly DeviceView[] {
  const { summaries, latest, entries, declared } = parts;
  const stored = new Map(summaries.map((summary) => [summary.device, summary]));
  const known = new Map(entries.map((entry) => [entry.device, entry]));
  const tags = new Map<string, LatestValue>();
  for (const value of latest) {
    const other = tags.get(value.device);
    if (other === undefined || other.timeMs < value.timeMs) tags.set(value.device, value);
  }
  const ids = [...new Set([...stored.keys(), ...known.keys()])].sort();
  return ids.map((device) => {
    const summary = stored.get(device);
    const entry = known.get(device);
    const newest = tags.get(device)?.tags;
    const profiles = entry?.profiles ?? declared(device);
    return {
      device,
      name: entry?.name ?? null,
      owner: entry?.owner ?? null,
      group: entry?.group ?? (newest?.group || null),
      cell: entry?.cell ?? (newest?.cell || null),
      source: newest?.source || null,
      online: entry?.online ?? null,
      lastSeenMs: entry?.lastSeenMs ?? null,
      lastReadingMs: summary?.lastMs ?? null,
      count: summary?.count ?? 0,
      profiles: profiles === undefined ? null : Object.keys(profiles).sort(),
      metrics: (summary?.metrics ?? []).map(({ profile, metric, type }) => {
        return { profile, metric, type, unit: unitOf(profiles, profile, metric) };
      }),
    };
  });
}

function unitOf(
  profiles: DirectoryEntry['profiles'],
  profile: string,
  metric: string,
): string | null {
  if (profiles === undefined) return null;
  if (Object.hasOwn(profiles, profile)) return unitIn(profiles[profile], metric);
  const base = derivedFrom(profile, Object.keys(profiles));
  const of = derivedMetric(metric);
  if (base === null || of === null || of.statistic === 'count') return null;
  return unitIn(profiles[base], of.metric);
}

function unitIn(metrics: readonly DeclaredMetric[] | undefined, metric: string): string | null {
  return metrics?.find((item) => item.metric === metric)?.unit || null;
}
