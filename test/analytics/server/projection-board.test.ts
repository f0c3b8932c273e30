import { ProjectionBoard } from '@fieldproof/analytics/server/projection-board';
import { describe, expect, test } from '@jest/globals';
import { controlUnderTest, NOW_MS } from './control-under-test.ts';

describe('the lag of the projection', () => {
  let now = NOW_MS;
  const board = () => {
    now = NOW_MS;
    return new ProjectionBoard(() => now);
  };

  test('is unknown until one has reported', () => {
    expect(board().status(100)).toBeNull();
  });

  test('is nothing when everything is stored, else the age of the oldest that is not', () => {
    const one = board();
    one.put('a', { nextIndex: 100, oldestUnstoredMs: null });
    expect(one.status(100)).toMatchObject({ nextIndex: 100, evidenceSize: 100, lagMs: 0 });
    now += 300;
    expect(one.status(103)).toMatchObject({ evidenceSize: 103, lagMs: 300 });
    one.put('a', { nextIndex: 101, oldestUnstoredMs: now - 5000 });
    expect(one.status(null)).toMatchObject({ nextIndex: 101, evidenceSize: 101, lagMs: 5000 });
  });

  test('is that of the projection which is furthest behind; one that went silent counts no more', () => {
    const one = board();
    one.put('slow', { nextIndex: 5, oldestUnstoredMs: null });
    now += 20_000;
    one.put('fast', { nextIndex: 90, oldestUnstoredMs: null });
    expect(one.status(90)).toMatchObject({ name: 'slow', lagMs: 20_000 });
    now += 20_000;
    expect(one.status(90)).toMatchObject({ name: 'fast', lagMs: 0 });
    now += 60_000;
    expect(one.status(95)).toMatchObject({ name: 'fast', lagMs: 80_000 });
  });

  test('keeps a bounded number of names', () => {
    const one = board();
    one.put('first', { nextIndex: 0, oldestUnstoredMs: null });
    for (let i = 0; i < 64; i++) one.put(`n${i}`, { nextIndex: 9, oldestUnstoredMs: null });
    expect(one.status(9)).toMatchObject({ nextIndex: 9 });
  });
});

test('PUT /v1/projection takes a report with the scope write, and the status shows it', async () => {
  const { call } = await controlUnderTest();
  const put = (scope: 'read' | 'write', report: object, name = 'flows-a1.b2') =>
    call(scope, `/v1/projection/${name}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      payload: report,
    });
  const report = { nextIndex: 12, oldestUnstoredMs: NOW_MS - 700, waiting: 1, connected: true };
  expect((await put('read', report)).statusCode).toBe(403);
  expect((await put('write', { nextIndex: -1 })).statusCode).toBe(400);
  expect((await put('write', report, 'a%2Fb')).statusCode).toBe(400);
  expect((await put('write', report)).statusCode).toBe(204);
  expect((await call('read', '/v1/status')).json().projection).toEqual({
    ...{ name: 'flows-a1.b2', nextIndex: 12, evidenceSize: 12 },
    ...{ lagMs: 700, reportedMs: NOW_MS, problem: null },
  });
});
