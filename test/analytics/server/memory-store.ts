/** A time-series store in an array: what routes are tested against. Knows enough line protocol for that. */
import { AnalyticsError } from '@fieldproof/analytics/errors';
import type { Precision } from '@fieldproof/analytics/line-protocol';
import type {
  DeviceSummary,
  FieldValue,
  LatestFilter,
  LatestValue,
  RangeQuery,
  Series,
  TimeSeriesStore,
} from '@fieldproof/analytics/store/time-series-store';

export interface Point {
  readonly device: string;
  readonly profile: string;
  readonly metric: string;
  readonly timeMs: number;
  readonly value: FieldValue;
  readonly tags?: Readonly<Record<string, string>>;
}

export interface MemoryStore extends TimeSeriesStore {
  readonly points: Point[];
  readonly written: { readonly text: string; readonly precision: Precision }[];
  /** What every call throws, for tests of failures. */
  failure: Error | null;
}

export function memoryStore(points: readonly Point[] = []): MemoryStore {
  const store: MemoryStore = {
    points: [...points],
    written: [],
    failure: null,
    open: async () => undefined,
    close: async () => undefined,
    ping: async () => ({ ok: store.failure === null, version: 'memory' }),
    writeLines: async (body, { precision }) => {
      fail();
      const text = new TextDecoder().decode(body);
      if (text.includes('refuse-me')) {
        throw new AnalyticsError('ERR_STORE_FIELD_TYPE', 'series a, metric b: expected float');
      }
      store.written.push({ text, precision });
    },
    devices: async () => {
      fail();
      return [...new Set(store.points.map((p) => p.device))].sort().map(summary);
    },
    latest: async (filter) => {
      fail();
      return newest(store.points.filter((p) => matches(p, filter)));
    },
    range: async (query) => {
      fail();
      return range(store.points, query);
    },
  };
  const fail = () => {
    if (store.failure !== null) throw store.failure;
  };
  const summary = (device: string): DeviceSummary => {
    const own = store.points.filter((p) => p.device === device);
    const keys = [...new Set(own.map((p) => `${p.profile}\0${p.metric}`))].sort();
    return {
      device,
      profiles: [...new Set(own.map((p) => p.profile))].sort(),
      metrics: keys.map((key) => {
        const [profile = '', metric = ''] = key.split('\0');
        const { value } = own.find((p) => p.profile === profile && p.metric === metric)!;
        const type = typeof value === 'number' ? 'float' : (typeof value as 'string' | 'boolean');
        return { profile, metric, type };
      }),
      firstMs: Math.min(...own.map((p) => p.timeMs)),
      lastMs: Math.max(...own.map((p) => p.timeMs)),
      count: own.length,
    };
  };
  return store;
}

function matches(point: Point, { device, profile, metric }: LatestFilter): boolean {
  return (
    (device ?? point.device) === point.device &&
    (profile ?? point.profile) === point.profile &&
    (metric ?? point.metric) === point.metric
  );
}

function newest(points: readonly Point[]): LatestValue[] {
  const found = new Map<string, Point>();
  for (const point of points) {
    const key = JSON.stringify([point.device, point.profile, point.metric]);
    if ((found.get(key)?.timeMs ?? -1) <= point.timeMs) found.set(key, point);
  }
  return [...found.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, point]) => ({ ...point, tags: { ...point.tags, device: point.device } }));
}

function range(points: readonly Point[], query: RangeQuery): Series[] {
  const { fromMs, toMs, bucketMs, aggregate = 'mean', groupByDevice = true, limit = 1e5 } = query;
  const series = new Map<string, Map<number, number[]>>();
  for (const point of points) {
    if (!matches(point, query) || point.timeMs < fromMs || point.timeMs >= toMs) continue;
    const key = groupByDevice ? point.device : '';
    const time = bucketMs ? Math.floor(point.timeMs / bucketMs) * bucketMs : point.timeMs;
    const buckets = series.get(key) ?? new Map<number, number[]>();
    series.set(key, buckets);
    buckets.set(time, [...(buckets.get(time) ?? []), Number(point.value)]);
  }
  const total = [...series.values()].reduce((sum, buckets) => sum + buckets.size, 0);
  if (total > limit) throw new AnalyticsError('ERR_STORE_LIMIT', `points: expected ${limit}`);
  return [...series].map(([device, buckets]) => {
    const times = [...buckets.keys()].sort((a, b) => a - b);
    const { profile, metric } = query;
    const values = times.map((time) => reduce(buckets.get(time)!, aggregate));
    return { ...(groupByDevice ? { device } : {}), profile, metric, timesMs: times, values };
  });
}

function reduce(values: readonly number[], aggregate: string): number {
  if (aggregate === 'min') return Math.min(...values);
  if (aggregate === 'max') return Math.max(...values);
  if (aggregate === 'count') return values.length;
  const sum = values.reduce((a, b) => a + b, 0);
  return aggregate === 'sum' ? sum : sum / values.length;
}
