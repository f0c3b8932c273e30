import { conflictOf, writeError } from '@fieldproof/analytics/store/influx-errors';
import { quoteIdentifier } from '@fieldproof/analytics/store/influxql';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

/** Reads a quoted identifier as InfluxQL's scanner does; the rest of the text behind it. */
function scanIdentifier(text: string): { name: string; rest: string } {
  expect(text[0]).toBe('"');
  let name = '';
  for (let i = 1; i < text.length; i++) {
    if (text[i] === '"') return { name, rest: text.slice(i + 1) };
    if (text[i] === '\n') break;
    if (text[i] === '\\') {
      i++;
      expect(['"', '\\']).toContain(text[i]);
    }
    name += text[i];
  }
  throw new Error('the quote does not end');
}

describe('quoteIdentifier', () => {
  test('any name it takes reads back whole, and nothing is left over', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom('"', '\\', ';', ' ', "'", '\n', '-', '/', 'a') }),
    );
    fc.assert(
      fc.property(text, (name) => {
        let quoted: string;
        try {
          quoted = quoteIdentifier(name);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_STORE_QUERY' });
          return;
        }
        expect(scanIdentifier(quoted)).toEqual({ name, rest: '' });
      }),
      { numRuns: 2000 },
    );
  });

  test.each(['', 'a\nb', 'a\rb', 'a\0b', 'a\\', '\ud800'])('%j is never sent', (name) => {
    expect(() => quoteIdentifier(name)).toThrow(
      expect.objectContaining({ code: 'ERR_STORE_QUERY' }),
    );
  });
});

describe('writeError', () => {
  test.each([
    [
      400,
      '{"error":"partial write: field type conflict: input field \\"v\\" …"}',
      'ERR_STORE_FIELD_TYPE',
    ],
    [
      400,
      '{"error":"partial write: max-series-per-database limit exceeded: (2) dropped=1"}',
      'ERR_STORE_SERIES_BUDGET',
    ],
    [400, '{"error":"unable to parse \'x\': missing fields"}', 'ERR_STORE_LINES_REFUSED'],
    [
      400,
      '{"error":"partial write: points beyond retention policy dropped=1"}',
      'ERR_STORE_LINES_REFUSED',
    ],
    [401, '{"error":"authorization failed"}', 'ERR_STORE_AUTH'],
    [403, '', 'ERR_STORE_AUTH'],
    [413, '{"error":"Request Entity Too Large"}', 'ERR_STORE_BODY_TOO_LARGE'],
    [404, '{"error":"database not found"}', 'ERR_STORE_UNAVAILABLE'],
    [429, '', 'ERR_STORE_UNAVAILABLE'],
    [500, '{"error":"timeout"}', 'ERR_STORE_UNAVAILABLE'],
    [503, '<html>busy</html>', 'ERR_STORE_UNAVAILABLE'],
  ])('%d %s is %s', (status, text, code) => {
    const error = writeError(status, text);
    expect(error).toMatchObject({ code, transient: code === 'ERR_STORE_UNAVAILABLE' });
    expect(error.message.length).toBeLessThan(600);
  });

  test('a conflict names measurement, field and type', () => {
    const message =
      'input field "a \\"b\\"" on measurement "m" is type string, already exists as type float';
    expect(conflictOf(message)).toEqual({ measurement: 'm', field: 'a "b"', type: 'string' });
    expect(conflictOf('something else')).toBeUndefined();
  });
});
