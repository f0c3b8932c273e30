import { DeviceHistory } from '@fieldproof/compute/rewards/device-history';
import type { RegistryAction } from '@fieldproof/protocol/registry-actions';
import { describe, expect, test } from '@jest/globals';

const DEVICE = 'z6MkfDRC7Y5TSZ2h4PFbNWJcfQfo5SzijZ4qtwbkWrUQuyzY';
/** Epochs of ten slots of 100 ms. */
const epoch = (number: number) => ({ startMs: number * 1000, slotMs: 100, slots: 10 });
const subject = DEVICE;

/** An action whose subject is left out; what is not about the test may be left out too. */
type Change = readonly [
  at: number,
  action: { readonly action: RegistryAction['action']; readonly [field: string]: unknown },
];

const ENROL = {
  ...({ action: 'enrol', key: new Uint8Array(32), owner: 'did:key:z6MkA', name: 'roof' } as const),
  ...{ group: 'default', cell: 'here', streams: [], issued: 0, expires: 10 ** 9 },
} as const;
const site = (cell: string) => ({ action: 'site', group: 'default', cell, text: null }) as const;
const suspend = (until: number | null = null) =>
  ({ action: 'suspend', reason: 'odd', until, appealUntil: 10 ** 9 }) as const;

/** Entries 1, 2, 3 … of the log. */
function history(...changes: readonly Change[]): DeviceHistory {
  const made = new DeviceHistory();
  for (const [at, [atMs, action]] of changes.entries()) {
    made.take({ ...action, subject } as RegistryAction, { at: atMs, index: at + 1 });
  }
  return made;
}

const counts = (made: DeviceHistory, number: number) =>
  [...(made.facts(epoch(number))?.counts ?? [])].join('');

describe('a device over time', () => {
  test('counts from the slot on that begins after it was enrolled, with what it came with', () => {
    const made = history([3250, ENROL]);
    expect(made.facts(epoch(2))).toBeUndefined();
    expect(made.facts(epoch(3))).toMatchObject({ cell: 'here', enrolled: 1, owner: ENROL.owner });
    expect(counts(made, 3)).toBe('0001111111');
    expect(counts(made, 4)).toBe('1111111111');
  });

  test('is what it was when the epoch began, whatever becomes of it within', () => {
    const streams = [{ metric: 'a/t', cadenceMs: 1000, resolution: 0.1 }];
    const made = history(
      [500, ENROL],
      [2000, site('there')],
      [2001, { action: 'transfer', owner: 'did:key:z6MkB', ownership: new Uint8Array(1) }],
      [2002, { action: 'streams', streams }],
    );
    expect(made.facts(epoch(2))).toMatchObject({ cell: 'here', owner: ENROL.owner, streams: [] });
    expect(made.facts(epoch(3))).toMatchObject({ cell: 'there', owner: 'did:key:z6MkB', streams });
  });

  test('that has moved says how many epochs ago; its first place is no move', () => {
    const made = history(
      [500, { ...ENROL, cell: '' }],
      [1500, site('here')],
      [3999, site('there')],
    );
    expect(made.facts(epoch(2))).toMatchObject({ movedEpochsAgo: undefined });
    expect(made.facts(epoch(3))).toMatchObject({ cell: 'here', movedEpochsAgo: undefined });
    expect(made.facts(epoch(4))).toMatchObject({ cell: 'there', movedEpochsAgo: 0 });
    expect(made.facts(epoch(6))).toMatchObject({ movedEpochsAgo: 2 });
    expect(history([0, ENROL], [3000, site('there')]).facts(epoch(4))).toMatchObject({
      movedEpochsAgo: 0,
    });
  });

  test('counts in no slot that begins while it is suspended', () => {
    expect(counts(history([0, ENROL], [1150, suspend(1450)]), 1)).toBe('1100011111');
    const resumed = history([0, ENROL], [1150, suspend()], [1700, { action: 'resume' }]);
    expect(counts(resumed, 1)).toBe('1100000111');
    expect(counts(history([0, ENROL], [1150, suspend()]), 2)).toBe('0000000000');
    const twice = history([0, ENROL], [1150, suspend()], [1250, suspend(1350)]);
    expect(counts(twice, 1)).toBe('1100111111');
  });

  test('a suspension that was wrong never was, also after its end', () => {
    const appeal = { action: 'appeal', suspension: 2, statement: new Uint8Array(1) } as const;
    const decided = (outcome: string) =>
      history(
        [0, ENROL],
        [1150, suspend(1450)],
        [1500, appeal],
        [1900, { action: 'decision', appeal: 3, outcome, reason: 'looked' }],
      );
    expect(counts(decided('lifted'), 1)).toBe('1111111111');
    expect(counts(decided('upheld'), 1)).toBe('1100011111');
  });

  test('that is taken out and comes back counts in between in nothing', () => {
    const made = history([0, ENROL], [1500, { action: 'unenrol', reason: 'sold' }], [3500, ENROL]);
    expect(counts(made, 1)).toBe('1111100000');
    expect(made.facts(epoch(2))).toBeUndefined();
    expect(counts(made, 3)).toBe('0000011111');
    expect(made.facts(epoch(3))).toMatchObject({ enrolled: 1 });
  });

  test('is nothing without an entry that enrols it', () => {
    expect(history([5, site('here')]).facts(epoch(0))).toBeUndefined();
  });
});
