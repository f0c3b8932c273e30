import type { BootName } from '@fieldproof/broker/gate/clones';
import { CloneWatch } from '@fieldproof/broker/gate/clones';
import { QuarantineDesk, type QuarantineOptions } from '@fieldproof/broker/registry/quarantine';
import { seedNumberOf } from '@fieldproof/protocol/registry-actions';
import { beforeEach, expect, test } from '@jest/globals';

const A = { bootCounter: 1, bootSeed: 0xaaaaaaaa };
const B = { bootCounter: 2, bootSeed: 0xbbbbbbbb };

let device: { quarantined: BootName[]; released: BootName[] };
/** Boots quarantined by an entry, in their order. */
let logged: BootName[];
let kept: { readonly boots: readonly BootName[]; readonly index: number }[];
let isLogFull: boolean;

beforeEach(() => {
  device = { quarantined: [], released: [] };
  logged = [];
  kept = [];
  isLogFull = false;
});

/** A broker's start, with the births that its database has. */
async function start(): Promise<QuarantineDesk> {
  const directory = {
    get: () => device,
    require: () => device,
    inTurn: (_id: string, action: () => Promise<unknown>) => action(),
    keepFreshBirths: (births: (typeof kept)[number]) => kept.push(births),
    record: async ({ boot }: { readonly boot: readonly [number, Uint8Array] }) => {
      if (isLogFull) throw new Error('full');
      const name = { bootCounter: boot[0], bootSeed: seedNumberOf(boot[1]) };
      device = { ...device, quarantined: [...device.quarantined, name] };
      logged.push(name);
    },
  };
  const registry = {
    freshBirths: async () => kept.slice(-1).map((births) => ({ deviceId: 'd', ...births })),
    forgetFreshBirths: async () => kept.splice(0),
    unloggedQuarantines: async () => [],
  };
  const clones = new CloneWatch({ recordedBoots: () => [], rightsOf: () => device });
  const desk = new QuarantineDesk({
    ...{ directory, registry, clones, recordedBoots: () => [] },
    log: { warn: () => {}, error: () => {} },
  } as unknown as QuarantineOptions);
  await desk.load();
  return desk;
}

test('a clone whose quarantine a crash kept from the log is logged by the next start', async () => {
  const first = await start();
  await first.freshBirth('d', A, 10);
  await first.freshBirth('d', B, 11);
  isLogFull = true;
  kept.splice(0, kept.length, { boots: [A, B], index: 11 });
  const second = await start();
  isLogFull = false;
  second.replayBirth('d', A, 12);
  expect(logged).toEqual([]);
  await second.adopt();
  expect(logged).toEqual([B]);
  await second.adopt();
  expect(logged).toEqual([B]);
});

test('one that a later entry names, or releases, is not logged again', async () => {
  for (const rights of [{ quarantined: [B] }, { released: [B] }]) {
    kept = [];
    device = { quarantined: [], released: [], ...rights };
    const desk = await start();
    for (const [i, boot] of [A, B, A].entries()) desk.replayBirth('d', boot, i);
    await desk.adopt();
    expect(logged).toEqual([]);
  }
});

test('births that the database has are not counted twice when the log is read again', async () => {
  const first = await start();
  await first.freshBirth('d', A, 10);
  await first.freshBirth('d', B, 11);
  const second = await start();
  second.replayBirth('d', A, 10);
  second.replayBirth('d', B, 11);
  await second.adopt();
  expect(logged).toEqual([]);
  await second.freshBirth('d', A, 12);
  expect(logged).toEqual([B]);
});

test('with another log than the database remembers, the births are those of the log', async () => {
  const first = await start();
  await first.freshBirth('d', A, 100);
  await first.freshBirth('d', B, 101);
  const second = await start();
  await second.forget();
  second.replayBirth('d', A, 3);
  await second.adopt();
  expect([logged, kept.map(({ index }) => index)]).toEqual([[], [3]]);
});

test('a flood of clones with one counter fills the log no further than readers keep them', async () => {
  const recordedBoots = () => [A];
  const clones = new CloneWatch({ recordedBoots, rightsOf: () => device });
  const desk = await start();
  Object.assign((desk as unknown as { options: object }).options, { clones, recordedBoots });
  for (let seed = 0; seed < 100; seed++) {
    const boot = { ...A, bootSeed: seed };
    await desk.quarantine('d', { boot, against: A });
    await desk.quarantine('d', { boot, against: A });
    expect(clones.isCloned('d', boot)).toBe(true);
  }
  expect(logged).toHaveLength(64);
});
