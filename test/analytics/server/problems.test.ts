import { connect } from 'node:net';
import { ANALYTICS_ERRORS } from '@fieldproof/analytics/errors';
import type { RouteGroup } from '@fieldproof/analytics/server/context';
import { describe, expect, test } from '@jest/globals';
import { controlUnderTest, type Method } from './control-under-test.ts';

const crash: RouteGroup = () => async (app) => {
  app.get('/v1/crash', async () => {
    throw new Error('the password is hunter2');
  });
};

const CASES: readonly {
  readonly name: string;
  readonly url: string;
  readonly method?: Method;
  readonly scope?: 'read' | 'write' | 'admin' | null;
  readonly headers?: Record<string, string>;
  readonly payload?: string;
  readonly expected: readonly [number, keyof typeof ANALYTICS_ERRORS];
}[] = [
  { name: 'an unknown path', url: '/v1/nothing', expected: [404, 'ERR_ROUTE_UNKNOWN'] },
  { name: 'an unknown asset', url: '/assets/x.js', expected: [404, 'ERR_ROUTE_UNKNOWN'] },
  { name: 'a bad escape', url: '/v1/%zz', expected: [400, 'ERR_REQUEST_INVALID'] },
  {
    ...{ name: 'a wrong method', url: '/v1/latest', method: 'PUT' },
    expected: [405, 'ERR_METHOD_NOT_ALLOWED'],
  },
  { name: 'no token', url: '/v1/latest', scope: null, expected: [401, 'ERR_TOKEN_MISSING'] },
  {
    ...{ name: 'an unknown token', url: '/v1/latest', scope: null },
    ...{ headers: { authorization: 'Bearer fpt_x' }, expected: [401, 'ERR_TOKEN_UNKNOWN'] },
  },
  {
    ...{ name: 'a token of another scheme', url: '/v1/latest', scope: null },
    ...{ headers: { authorization: 'Digest x' }, expected: [401, 'ERR_TOKEN_MISSING'] },
  },
  {
    ...{ name: 'reading with a write token', url: '/v1/latest', scope: 'write' },
    expected: [403, 'ERR_TOKEN_SCOPE'],
  },
  {
    ...{ name: 'writing with a read token', url: '/v1/write', method: 'POST', payload: 'x' },
    expected: [403, 'ERR_TOKEN_SCOPE'],
  },
  { name: 'tokens without admin', url: '/v1/tokens', expected: [403, 'ERR_TOKEN_SCOPE'] },
  { name: 'a bad parameter', url: '/v1/query', expected: [400, 'ERR_REQUEST_INVALID'] },
  {
    ...{ name: 'a body that is not JSON', url: '/v1/tokens', method: 'POST', scope: 'admin' },
    ...{ headers: { 'content-type': 'application/json' }, payload: '{' },
    expected: [400, 'ERR_REQUEST_INVALID'],
  },
  {
    ...{ name: 'a body of another type', url: '/v1/tokens', method: 'POST', scope: 'admin' },
    ...{ headers: { 'content-type': 'text/xml' }, payload: '<x/>' },
    expected: [415, 'ERR_MEDIA_TYPE'],
  },
  {
    ...{ name: 'a body that is too large', url: '/v1/tokens', method: 'POST', scope: 'admin' },
    ...{ headers: { 'content-type': 'application/json' }, payload: `"${'x'.repeat(70_000)}"` },
    expected: [413, 'ERR_REQUEST_TOO_LARGE'],
  },
  { name: 'a crash', url: '/v1/crash', expected: [500, 'ERR_INTERNAL'] },
];

describe('problem details', () => {
  test.each(CASES)('$name', async ({ url, method = 'GET', scope = 'read', expected, ...rest }) => {
    const { call } = await controlUnderTest([], { routes: [crash] });
    const response = await call(scope, url, { method, ...rest });
    const [status, code] = expected;
    const problem = response.json();
    expect([response.statusCode, problem.code]).toEqual([status, code]);
    expect(response.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(problem).toMatchObject({
      ...{ type: `urn:fieldproof:error:${code}`, status, title: ANALYTICS_ERRORS[code].what },
      remedy: ANALYTICS_ERRORS[code].remedy,
      instance: `urn:fieldproof:request:${response.headers['x-request-id']}`,
    });
    expect(problem.detail).toEqual(expect.any(String));
    expect(response.headers['x-content-type-options']).toBe('nosniff');
    if (status === 401) expect(response.headers['www-authenticate']).toContain('Bearer');
    if (status === 405) expect(response.headers.allow).toBe('GET, HEAD');
    expect(response.body).not.toContain('hunter2');
    expect(response.body).not.toContain('    at ');
  });

  test('a token ends while the server runs', async () => {
    const { call, time } = await controlUnderTest();
    time.nowMs += 91 * 86_400_000;
    const response = await call('read', '/v1/latest');
    expect([response.statusCode, response.json().code]).toEqual([401, 'ERR_TOKEN_EXPIRED']);
  });

  test('the log has the cause of a crash under the request id, and never a token', async () => {
    const { call, logged, tokenText } = await controlUnderTest([], { routes: [crash] });
    const response = await call('read', `/v1/crash?token=${tokenText.read}`);
    await call('write', `/v1/latest?p=${tokenText.write}`);
    const text = logged.join('');
    expect(text).toContain('hunter2');
    expect(text).toContain(response.headers['x-request-id']);
    for (const token of Object.values(tokenText)) expect(text).not.toContain(token);
  });

  test('a usable request id of the client is kept, another is not', async () => {
    const { call } = await controlUnderTest();
    const id = async (given: string) =>
      (await call(null, '/healthz', { headers: { 'x-request-id': given } })).headers[
        'x-request-id'
      ];
    expect(await id('trace-1')).toBe('trace-1');
    expect(await id('a b"c')).toMatch(/^[0-9a-f]{16}$/);
  });

  test('bytes that are not HTTP get a problem too', async () => {
    const { url } = await controlUnderTest();
    const port = Number(new URL(url).port);
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = connect(port, '127.0.0.1', () =>
        socket.write('\x16\x03\x01 not http\r\n\r\n'),
      );
      socket.on('data', (chunk) => {
        text += chunk.toString();
      });
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain('application/problem+json');
    expect(answer).toContain('"code":"ERR_REQUEST_INVALID"');
  });
});
