import { describe, expect, test } from '@jest/globals';
import type { ApiDevice, ApiLatest } from '../../../analytics/web/api.ts';
import {
  formatAge,
  formatCount,
  formatLag,
  formatMetric,
  formatUnit,
  formatValue,
  shortId,
} from '../../../analytics/web/format.ts';
import { cardMatches, cardsOf } from '../../../analytics/web/model.ts';

const device = (id: string, rest: Partial<ApiDevice> = {}): ApiDevice => ({
  ...{ device: id, name: null, owner: null, group: null, cell: null, source: null },
  ...{ online: null, lastReadingMs: null, metrics: [] },
  ...rest,
});
const value = (id: string, metric: string, rest: Partial<ApiLatest> = {}): ApiLatest => ({
  ...{ device: id, profile: 'environment', metric, timeMs: 1000, value: 1, unit: null },
  ...rest,
});

describe('what the page shows', () => {
  test('the metric that says most comes first, texts last', () => {
    const latest = [
      value('a', 'door', { value: 'open' }),
      value('a', 'humidity'),
      value('a', 'board'),
      value('a', 'temperature', { timeMs: 2000, unit: 'Cel' }),
    ];
    const [card] = cardsOf([device('a')], latest);
    expect(card!.primary).toMatchObject({
      metric: 'temperature',
      label: 'Temperature',
      unit: 'Cel',
    });
    expect(card!.others.map((reading) => reading.metric)).toEqual(['humidity', 'board', 'door']);
    expect(card!.newestMs).toBe(2000);
  });

  test('cards are in an order that does not change with the values', () => {
    const devices = [
      device('c', { name: 'node-10' }),
      device('a', { name: 'node-9' }),
      device('b'),
    ];
    const latest = [value('a', 't'), value('c', 't')];
    const order = () => cardsOf(devices, latest).map((card) => card.device);
    expect(order()).toEqual(['a', 'c', 'b']);
    latest.reverse();
    expect(order()).toEqual(['a', 'c', 'b']);
  });

  test('the filter finds every word in name, id, group, source or metric', () => {
    const devices = [device('z6MkX', { name: 'Roof East', group: 'weather', source: 'replay' })];
    const [card] = cardsOf(devices, [value('z6MkX', 'temperature')]);
    for (const text of ['', 'roof', 'EAST weather', 'z6mkx', 'environment/temp']) {
      expect([text, cardMatches(card!, text, '')]).toEqual([text, true]);
    }
    expect(cardMatches(card!, 'roof west', '')).toBe(false);
    expect(cardMatches(card!, '', 'sensor')).toBe(false);
    expect(cardMatches(card!, '', 'replay')).toBe(true);
  });
});

describe('numbers and ages as people read them', () => {
  test.each([
    [21.534, '21.53'],
    [0.12345, '0.123'],
    [-4, '-4'],
    [1013.25, '1,013'],
    [123.456, '123.5'],
    [0, '0'],
    [1e-7, '1.00e-7'],
    [2.5e12, '2.50e+12'],
    [true, 'yes'],
    ['x'.repeat(60), `${'x'.repeat(47)}…`],
  ])('the value %j is %s', (input, expected) => {
    expect(formatValue(input)).toBe(expected);
  });

  test.each([
    [-5, 'now'],
    [999, 'now'],
    [3000, '3 s ago'],
    [61_000, '1 min ago'],
    [7_200_000, '2 h ago'],
    [200_000_000, '2 d ago'],
  ])('%d ms are %s', (input, expected) => {
    expect(formatAge(input)).toBe(expected);
  });

  test('units, counts, names and ids', () => {
    expect(['Cel', '%RH', '/', 'kW', null].map(formatUnit)).toEqual(['°C', '% RH', '', 'kW', '']);
    expect([950, 12_400, 1_204_332].map(formatCount)).toEqual(['950', '12.4 k', '1.2 M']);
    expect([140, 65_000].map(formatLag)).toEqual(['140 ms', '1 min']);
    expect(formatMetric('air_temperature')).toBe('Air temperature');
    expect([shortId('z6MkhaXgBZDvotDkL5257f'), shortId('short')]).toEqual([
      'z6MkhaXg…5257f',
      'short',
    ]);
  });
});
