import { plainBatch, plainReadings, tablesOf } from '@fieldproof/flows/plain-readings';
import { describe, expect, test } from '@jest/globals';

const reading = { device: 'd', profile: 'air', metric: 'temp', value: 21.5, time: 1000 };

test('a reading, an array of them, and a batch become tables, and plain objects come back', () => {
  const [one] = tablesOf(reading);
  expect([...plainReadings(one!)]).toEqual([
    { ...reading, unit: '', cell: '', group: '', source: 'sensor' },
  ]);
  expect(
    tablesOf([reading, { ...reading, value: 'on' }, { ...reading, value: true }]),
  ).toHaveLength(3);
  const batch = {
    device: 'd',
    profile: 'air',
    cell: 'c',
    group: 'g',
    source: 'replay',
    times: [1, 2],
    metrics: { temp: { unit: 'Cel', values: [1, null] }, ok: { unit: '', values: [true, false] } },
  };
  const [table] = tablesOf(batch);
  expect(plainBatch(table!)).toEqual(batch);
  expect([...plainReadings(table!)]).toHaveLength(3);
});

describe('what is no reading is refused with its place', () => {
  const cases: [unknown, string][] = [
    [undefined, 'payload: expected a reading, got undefined'],
    ['x', 'payload: expected a reading'],
    [[reading, null], 'payload[1]: expected a reading, got null'],
    [{ ...reading, device: '' }, 'payload.device'],
    [{ ...reading, profile: 'Air' }, 'payload.profile'],
    [{ ...reading, metric: 'a b' }, 'expected a metric name'],
    [{ ...reading, value: Number.NaN }, 'finite number'],
    [{ ...reading, value: {} }, 'got object'],
    [{ ...reading, time: 'now' }, 'payload.time'],
    [{ ...reading, source: 'me' }, 'expected sensor'],
    [{ ...reading, metrics: {}, times: 1 }, 'payload.times'],
    [{ ...reading, times: [1], metrics: { t: { values: [] } } }, 'expected 1 values'],
  ];
  test.each(cases)('%j', (payload, message) => {
    expect(() => tablesOf(payload)).toThrow(expect.objectContaining({ code: 'ERR_READING_SHAPE' }));
    expect(() => tablesOf(payload)).toThrow(message);
  });
});
