import { WriteBehind } from '@fieldproof/broker/registry/write-behind';
import { expect, test } from '@jest/globals';

test('all who ask during a run share one more, which sees what they have brought', async () => {
  const brought: string[] = [];
  const runs: string[][] = [];
  const ends: (() => void)[] = [];
  const writing = new WriteBehind(async () => {
    runs.push([...brought]);
    await new Promise<void>((resolve) => ends.push(resolve));
  });
  const first = writing.run();
  brought.push('with the first');
  await Promise.resolve();
  const others = ['a', 'b', 'c'].map((name) => {
    brought.push(name);
    return writing.run();
  });
  expect(new Set(others).size).toBe(1);
  ends.shift()?.();
  await first;
  brought.push('with the second');
  await Promise.resolve();
  ends.shift()?.();
  await Promise.all(others);
  expect(runs).toEqual([
    ['with the first'],
    expect.arrayContaining(['with the first', 'a', 'b', 'c']),
  ]);
  const last = writing.run();
  await Promise.resolve();
  ends.shift()?.();
  await last;
  expect(runs).toHaveLength(3);
});
