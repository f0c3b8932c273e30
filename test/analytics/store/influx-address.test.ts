import { influxAddress } from '@fieldproof/analytics/store/influx-address';
import { describe, expect, test } from '@jest/globals';

describe('the address of an InfluxDB database', () => {
  test.each([
    ['http://host:8086', 'http://host:8086', 'fieldproof'],
    ['http://host:8086/', 'http://host:8086', 'fieldproof'],
    ['http://host:8086/city', 'http://host:8086', 'city'],
    ['http://host:8086/city/', 'http://host:8086', 'city'],
    ['https://host/influx/city', 'https://host/influx', 'city'],
    ['http://host:8086/city%20air', 'http://host:8086', 'city air'],
    ['http://host:8086/a%2Fb', 'http://host:8086', 'a/b'],
    ['http://user:pass%40@host:8086/city', 'http://user:pass%40@host:8086', 'city'],
    ['http://[::1]:8086/city?x=1#y', 'http://[::1]:8086', 'city'],
  ])('%s', (text, url, database) => {
    expect(influxAddress(text)).toEqual({ url, database });
  });

  test('a database that is named beside it goes before the path, a fallback after it', () => {
    const city = 'http://host:8086/city';
    expect(influxAddress(city, { database: 'b' }).database).toBe('b');
    expect(influxAddress(city, { database: '' }).database).toBe('city');
    expect(influxAddress(city, { fallback: 'c' }).database).toBe('city');
    expect(influxAddress('http://host:8086', { fallback: 'c' }).database).toBe('c');
  });

  test.each([
    'localhost',
    'ftp://user:hunter2@host/city',
    'http://user:hunter2@host/%ff',
    `http://user:hunter2@host/${'x'.repeat(256)}`,
  ])('%s is refused without repeating a password', (text) => {
    const refusal = (() => {
      try {
        return influxAddress(text);
      } catch (error) {
        return error as { code: string; message: string };
      }
    })();
    expect(refusal).toMatchObject({ code: 'ERR_USAGE' });
    expect(JSON.stringify(refusal)).not.toContain('hunter2');
  });
});
