import { describe, expect, test } from '@jest/globals';
import type { ApiMetric } from '../../../analytics/web/api.ts';
import { metricGroups } from '../../../analytics/web/metric-groups.ts';

const metric = (profile: string, name: string, unit: string | null = null): ApiMetric => ({
  ...{ profile, metric: name, type: 'float', unit },
});
const AIR = [metric('air', 'humidity', '%RH'), metric('air', 'temperature', 'Cel')];
const WINDOWS = ['version', 'temperature_count', 'temperature_max', 'temperature_mean'].map(
  (name) => metric('air_1m', name, /max|mean/.test(name) ? 'Cel' : null),
);

const shown = (metrics: readonly ApiMetric[], declared: readonly string[] | null) =>
  metricGroups(metrics, declared).map(({ heading, choices }) => [
    heading,
    ...choices.map(({ label }) => label),
  ]);

describe('what a person picks a chart from', () => {
  test('windows come after what the device sends, mean first, version last', () => {
    expect(shown([...WINDOWS, ...AIR], ['air'])).toEqual([
      ['air', 'Humidity (% RH)', 'Temperature (°C)'],
      [
        ...['Windows · 1 min', 'Temperature · mean (°C)', 'Temperature · max (°C)'],
        ...['Temperature · count', 'Version'],
      ],
    ]);
    expect(shown([...WINDOWS, ...AIR], null)).toEqual(shown([...WINDOWS, ...AIR], ['air']));
  });

  test('one profile needs no heading, several windows say of which profile they are', () => {
    expect(shown(AIR, ['air'])).toEqual([[null, 'Humidity (% RH)', 'Temperature (°C)']]);
    const several = [...AIR, ...WINDOWS, metric('power', 'load'), metric('power_10s', 'load_sum')];
    expect(shown(several, ['air', 'power']).map(([heading]) => heading)).toEqual([
      ...['air', 'power', 'Windows · 1 min · air', 'Windows · 10 s · power'],
    ]);
  });

  test('what is neither declared nor derived has its own heading; texts have no chart', () => {
    const door: ApiMetric = { profile: 'air', metric: 'door', type: 'string', unit: null };
    const groups = shown([...AIR, door, metric('lab', 'ph'), metric('air_raw', 'x')], ['air']);
    expect(groups).toEqual([
      ['air', 'Humidity (% RH)', 'Temperature (°C)'],
      ['Derived · raw', 'X'],
      ['lab', 'Ph'],
    ]);
    expect(shown([door], ['air'])).toEqual([]);
  });
});
