import { describe, expect, test } from '@jest/globals';
import type { ApiDevice, ApiLatest } from '../../../analytics/web/api.ts';
import {
  formatAge,
  formatCount,
  formatLag,
  formatMetric,
  shortId,
} from '../../../analytics/web/format.ts';
import { cardMatches, cardsOf } from '../../../analytics/web/model.ts';

const device = (id: string, rest: Partial<ApiDevice> = {}): ApiDevice => ({
  ...{ device: id, name: null, owner: null, group: null, cell: null, source: null },
  ...{ online: null, lastReadingMs: null, profiles: null, metrics: [] },
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

  test('a card shows what its device declares, and no windows', () => {
    const latest = ['air', 'air_1m', 'air_quality'].flatMap((profile) =>
      ['temperature', 'temperature_count'].map((metric) => value('a', metric, { profile })),
    );
    const shown = (profiles: readonly string[] | null) => {
      const [card] = cardsOf([device('a', { profiles })], latest);
      const all = card!.primary === null ? [] : [card!.primary, ...card!.others];
      return [...new Set(all.map(({ profile }) => profile))];
    };
    expect(shown(['air', 'air_quality'])).toEqual(['air', 'air_quality']);
    expect(shown(['air_1m'])).toEqual(['air_1m']);
    // Without a birth, or with one that says nothing of what is there, the names decide.
    expect(shown(null)).toEqual(['air']);
    expect(shown(['other'])).toEqual(['air']);
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

describe('counts and ages as people read them', () => {
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

  test('counts, names and ids', () => {
    expect([950, 12_400, 1_204_332].map(formatCount)).toEqual(['950', '12.4 k', '1.2 M']);
    expect([140, 65_000].map(formatLag)).toEqual(['140 ms', '1 min']);
    expect(formatMetric('air_temperature')).toBe('Air temperature');
    expect([shortId('z6MkhaXgBZDvotDkL5257f'), shortId('short')]).toEqual([
      'z6MkhaXg…5257f',
      'short',
    ]);
  });
});
