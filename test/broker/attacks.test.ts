import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';

let broker: TestBroker;

beforeEach(async () => {
  broker = await startTestBroker();
});

afterEach(async () => {
  await broker.close();
});

describe('administration without a token is refused', () => {
  test.each([
    '/admin/status',
    '/%61dmin/status',
    '/admin%2fstatus',
    'http://broker/admin/status',
    '//admin/status',
    '/admin/tokens?a=/x',
    '/ADMIN/status',
    '/admin;x/status',
  ])('at %s', async (path) => {
    expect([401, 404]).toContain(await rawStatus('GET', path));
  });

  test('also for what changes something', async () => {
    expect(await rawStatus('POST', '/%61dmin/tokens')).toBe(401);
    const { body } = await broker.admin('GET', '/admin/tokens');
    expect(body).toEqual({ tokens: [] });
  });
});

/** A request target sent as it is: fetch would normalise it. */
function rawStatus(method: string, path: string): Promise<number> {
  const { hostname, port } = new URL(broker.running.addresses.http);
  return new Promise((resolve, reject) => {
    const call = request({ hostname, port, method, path }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    call.on('error', reject);
    call.end();
  });
}
