/** The state of the agent on a disk that loses power, or fails, at each of its operations in turn. */

import { bootKey } from '@fieldproof/device-agent/boot';
import { describe, expect, test } from '@jest/globals';
import { AgentLife, live } from './agent-life.ts';
import { FragileDisk } from './fragile-disk.ts';

const MODES = [
  { isFronted: false, fsync: 'always' },
  { isFronted: false, fsync: 'interval' },
  { isFronted: true, fsync: 'interval' },
] as const;
type Mode = (typeof MODES)[number];
/** Of what a cut leaves of what was not synced. More of them, and each error at each operation: `LONG=1`. */
const IS_LONG = process.env.LONG === '1';
const SEEDS = IS_LONG ? [1, 2, 3, 4] : [1];

/** How many operations a whole life has. */
async function lengthOf(mode: Mode): Promise<number> {
  const disk = new FragileDisk();
  await live(new AgentLife({ disk, ...mode }));
  return disk.operations;
}

/** The same numbers for the same seed. */
function chances(seed: number): () => number {
  let state = seed * 2654435761;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe.each(MODES)('with front $isFronted, fsync $fsync', (mode) => {
  test('the power may be cut at every operation: what was promised is there, and nothing comes twice', async () => {
    const length = await lengthOf(mode);
    expect(length).toBeGreaterThan(80);
    for (let at = 1; at <= length; at += 1) {
      for (const seed of SEEDS) {
        const disk = new FragileDisk();
        disk.plan = (operation) => (operation === at ? 'cut' : 'pass');
        const life = new AgentLife({ disk, ...mode });
        const end = await live(life).then(
          () => 'lived',
          (error: { code?: string }) => error.code,
        );
        expect([at, end]).toEqual([at, 'CUT']);
        const after = disk.afterPowerCut(chances(at * 8 + seed));
        life.disk = after;
        const promised = [...life.promised];
        // Twice: what the first start repairs must be there for the second.
        for (let start = 0; start < 2; start += 1) {
          await life.start();
          const found = await life.handedOut();
          const lost = promised.filter((key) => !found.has(key));
          expect([at, seed, start, lost]).toEqual([at, seed, start, []]);
          const parked = life.parked.list().map(({ boot, seq }) => `${bootKey(boot)}/${seq}`);
          // One that was on its way may have pushed the oldest out.
          const newest = [...life.parkedKeys.keys()].at(-1);
          if (newest !== undefined)
            expect([at, seed, parked]).toEqual([at, seed, expect.arrayContaining([newest])]);
          expect(parked.length).toBeLessThanOrEqual(2);
          expect(life.lossesAreTold()).toBe(true);
          await life.seal(100);
          await life.stop();
        }
        expect(after.paths().filter((path) => path.endsWith('.tmp'))).toEqual([]);
      }
    }
  });

  test.each(['EIO', 'ENOSPC', 'EROFS'] as const)(
    '%s at every operation, once or for a while: it says so, goes on, and recovers',
    async (code) => {
      const length = await lengthOf(mode);
      for (let at = 1; at <= length; at += 1) {
        // A full disk and a read-only one differ from a bad one in their code: each takes turns with the others.
        if (!IS_LONG && code !== 'EIO' && at % 2 !== Number(code === 'EROFS')) continue;
        // Each for the time of one operation, or of many.
        for (const lasts of IS_LONG ? [1, 3, 12] : [at % 4 < 2 ? 1 : 12]) {
          const disk = new FragileDisk();
          disk.plan = (operation) => (operation >= at && operation < at + lasts ? code : 'pass');
          const life = new AgentLife({ disk, ...mode });
          await live(life);
          for (const told of life.told)
            expect([at, told]).toEqual([at, expect.stringMatching(/^E[A-Z_]+$/)]);
          disk.plan = () => 'pass';
          // The disk works again: all that was kept is there, and can be made durable.
          await life.spill();
          const found = await life.handedOut();
          expect([at, lasts, [...life.kept].filter((key) => !found.has(key))]).toEqual([
            at,
            lasts,
            [],
          ]);
          const after = disk.afterPowerCut(chances(at));
          const promised = [...life.promised];
          life.disk = after;
          await life.start();
          const again = await life.handedOut();
          expect([at, lasts, promised.filter((key) => !again.has(key))]).toEqual([at, lasts, []]);
        }
      }
    },
  );
});

test('the process may die at every operation, also those in memory: nothing that was sealed is lost', async () => {
  const mode = { isFronted: true, fsync: 'interval' } as const;
  const whole = new FragileDisk({ isVolatileCounted: true });
  await live(new AgentLife({ disk: whole, ...mode }));
  for (let at = 1; at <= whole.operations; at += 1) {
    const disk = new FragileDisk({ isVolatileCounted: true });
    disk.plan = (operation) => (operation === at ? 'cut' : 'pass');
    const life = new AgentLife({ disk, ...mode });
    await live(life).catch(() => {});
    // What was on its way when it died is nobody's promise.
    const kept = [...life.kept];
    life.disk = disk.afterKill();
    await life.start();
    const found = await life.handedOut();
    expect([at, kept.filter((key) => !found.has(key))]).toEqual([at, []]);
    expect(life.lossesAreTold()).toBe(true);
  }
});

test('a process that dies loses nothing that was sealed, with a front too', async () => {
  const disk = new FragileDisk();
  const life = new AgentLife({ disk, isFronted: true, fsync: 'interval' });
  await life.start();
  for (let seq = 0; seq < 5; seq += 1) await life.seal(700);
  await life.settle([[0, 1]]);
  const kept = [...life.kept];
  expect(disk.paths().filter((path) => path.endsWith('.seg'))).toHaveLength(2);
  life.disk = disk.afterKill();
  await life.start();
  expect([...(await life.handedOut())].filter((key) => kept.includes(key))).toEqual(kept);
  expect(life.lossesAreTold()).toBe(true);
});
