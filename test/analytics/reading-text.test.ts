import { readingLine, readingText, unitText } from '@fieldproof/analytics/reading-text';
import { describe, expect, test } from '@jest/globals';

const THIN = '\u202f';

describe('readings as people read them', () => {
  test.each([
    [21.534, null, '21.53'],
    [0.12345, null, '0.123'],
    [-4, 'Cel', '-4 °C'],
    [62.800000000000004, '%RH', '62.8 % RH'],
    [1013.25, 'hPa', '1013 hPa'],
    [123.456, 'lx', '123.5 lx'],
    [0, 'B', '0 B'],
    [395, 'B/s', '395 B/s'],
    [1234, 'B/s', '1.234 kB/s'],
    [24_413_391_104, 'B', '24.41 GB'],
    [999_960, 'B', '1 MB'],
    [-24_413_391_104, 'B', '-24.41 GB'],
    [0.229, '/', '22.9 %'],
    [0.07, '/', '7 %'],
    [3, 'ug/m3', '3 µg/m³'],
    [1.9602, 'g/m3', '1.96 g/m³'],
    [12_345, null, `12${THIN}345`],
    [1_234_567.8, null, `1${THIN}234${THIN}568`],
    [9999, null, '9999'],
    [1e-7, null, `1${THIN}×${THIN}10⁻⁷`],
    [2.5e12, 'W', `2.5${THIN}×${THIN}10¹² W`],
    [Number.NaN, null, '–'],
    [true, '/', 'yes'],
    ['open', null, 'open'],
    ['x'.repeat(60), null, `${'x'.repeat(47)}…`],
  ])('%j in %s is %s', (value, unit, expected) => {
    expect(readingLine(value, unit)).toBe(expected);
  });

  test('a table asks for more digits than a card', () => {
    const seven = { digits: 7 };
    expect(readingText(62.800000000000004, null, seven)).toEqual({ value: '62.8', unit: '' });
    expect(readingText(113.08333333333333, null, seven).value).toBe('113.0833');
    expect(readingText(83_955_281_920, 'B', seven)).toEqual({ value: '83.95528', unit: 'GB' });
  });

  test('units that nobody knows stay as they are', () => {
    expect(['Cel', '%RH', '/', 'kW', 'furlong', null].map(unitText)).toEqual([
      ...['°C', '% RH', '%', 'kW', 'furlong', ''],
    ]);
  });
});
