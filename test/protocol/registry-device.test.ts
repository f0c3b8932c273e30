import { encode } from '@fieldproof/protocol/cbor';
import { kidOf } from '@fieldproof/protocol/ed25519';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, seal, statementAad } from '@fieldproof/protocol/envelope';
import {
  openRegistryAction,
  type RegistryAction,
  readRegistryAction,
  sealRegistryAction,
} from '@fieldproof/protocol/registry-actions';
import {
  applyRegistryAction,
  type RegisteredDevice,
  signingKey,
  standingOf,
} from '@fieldproof/protocol/registry-device';
import { describe, expect, test } from '@jest/globals';

const registry = signerFromSeed(new Uint8Array(32).fill(1));
const keyOf = (fill: number) => signerFromSeed(new Uint8Array(32).fill(fill)).publicKey;
const DEVICE = 'z6MkfDRC7Y5TSZ2h4PFbNWJcfQfo5SzijZ4qtwbkWrUQuyzY';
const NETWORK = 'test';

const ENROL: RegistryAction = {
  action: 'enrol',
  subject: DEVICE,
  key: keyOf(10),
  owner: 'did:key:z6MkA',
  name: 'roof',
  group: 'default',
  cell: '',
  streams: [],
  issued: 1000,
  expires: 100_000,
};

test('a token may name the access token with which it was made, whole or not at all', () => {
  const token = {
    ...{ action: 'token' as const, subject: 'ab'.repeat(32) },
    ...{ uses: 1, expires: 1000, group: 'default', cell: '' },
  };
  const read = (action: RegistryAction) =>
    readRegistryAction(sealRegistryAction(action, { network: NETWORK, signer: registry }));
  const by = new Uint8Array(32).fill(7);
  expect(read(token)).toEqual(token);
  expect(read({ ...token, by })).toEqual({ ...token, by });
  for (const length of [0, 31, 33]) {
    expect(() => read({ ...token, by: new Uint8Array(length) })).toThrow(
      expect.objectContaining({ code: 'ERR_MESSAGE_MALFORMED' }),
    );
  }
});

/** The device after actions at entries 1, 2, 3 …, times 1,000 times the index. */
function after(...actions: readonly RegistryAction[]): RegisteredDevice | null {
  return actions.reduce<RegisteredDevice | null>((device, action, i) => {
    const said = readRegistryAction(
      sealRegistryAction(action, { network: NETWORK, signer: registry }),
    );
    return applyRegistryAction(device, said, { at: (i + 1) * 1000, index: i + 1 });
  }, null);
}

const rotate = (key: number, firstBoot: number, until: number, cause = 'rotation') =>
  ({
    action: 'rotate',
    subject: DEVICE,
    key: keyOf(key),
    firstBoot,
    until,
    cause,
    issued: 2000,
    expires: 100_000,
  }) as const;

const judged = (device: RegisteredDevice | null, key: number, bootCounter: number, at: number) =>
  signingKey(device!, { kid: kidOf(keyOf(key)), bootCounter }, at);

describe('statements', () => {
  test('open under the registry key and no other, for this network and no other', () => {
    const statement = sealRegistryAction(ENROL, { network: NETWORK, signer: registry });
    const context = { network: NETWORK, publicKey: registry.publicKey, verify };
    expect(openRegistryAction(statement, context)).toEqual(ENROL);
    const other = keyOf(2);
    expect(() => openRegistryAction(statement, { ...context, publicKey: other })).toThrow();
    expect(() => openRegistryAction(statement, { ...context, network: 'other' })).toThrow();
  });

  test('of a later version are read as unknown, and change nothing', () => {
    const statement = seal({
      contentType: CONTENT_TYPES.cbor,
      payload: encode({ action: 'teleport', subject: DEVICE, to: 'mars' }),
      externalAad: statementAad(NETWORK, 'registry'),
      signer: registry,
    });
    const action = readRegistryAction(statement);
    expect(action).toEqual({ action: 'unknown', name: 'teleport', subject: DEVICE });
    const before = after(ENROL);
    expect(applyRegistryAction(before, action, { at: 5, index: 5 })).toBe(before);
    expect(applyRegistryAction(null, action, { at: 5, index: 5 })).toBeNull();
  });
});

describe('keys', () => {
  test('a boot belongs to the key that was current when it began', () => {
    const device = after(ENROL, rotate(11, 5, 50_000));
    expect(judged(device, 11, 5, 3000)).toEqual(keyOf(11));
    expect(judged(device, 11, 4, 3000)).toBe('retired');
    expect(judged(device, 10, 4, 3000)).toEqual(keyOf(10));
    expect(judged(device, 10, 5, 3000)).toBe('retired');
    expect(judged(device, 10, 4, 50_000)).toBe('retired');
    expect(judged(device, 12, 4, 3000)).toBe('unknown');
  });

  test('several replaced keys keep their own boots', () => {
    const device = after(ENROL, rotate(11, 5, 50_000), rotate(12, 9, 60_000));
    expect([2, 7, 9].map((boot, i) => judged(device, 10 + i, boot, 3000))).toEqual(
      [10, 11, 12].map(keyOf),
    );
    expect(judged(device, 10, 7, 3000)).toBe('retired');
  });

  test('a compromised key and all before it end at once', () => {
    const device = after(ENROL, rotate(11, 5, 50_000), rotate(12, 9, 3000, 'compromise'));
    expect(judged(device, 10, 2, 3000)).toBe('retired');
    expect(judged(device, 11, 7, 3000)).toBe('retired');
    expect(judged(device, 12, 9, 3000)).toEqual(keyOf(12));
  });
});

describe('standing', () => {
  const suspend = (until: number | null) =>
    ({ action: 'suspend', subject: DEVICE, reason: 'smoke', until, appealUntil: 90_000 }) as const;

  test('a suspension ends by itself when it says so', () => {
    const device = after(ENROL, suspend(10_000))!;
    expect(standingOf(device, 9999)).toBe('suspended');
    expect(standingOf(device, 10_000)).toBe('good');
    expect(standingOf(after(ENROL, suspend(null))!, 99_999)).toBe('suspended');
  });

  test('a decision that lifts it ends it, one that upholds it does not', () => {
    const appeal = {
      action: 'appeal',
      subject: DEVICE,
      suspension: 2,
      statement: Uint8Array.of(1),
    } as const;
    const decide = (outcome: string) =>
      ({
        action: 'decision',
        subject: DEVICE,
        appeal: 3,
        outcome,
        reason: 'looked at it',
      }) as const;
    expect(standingOf(after(ENROL, suspend(null), appeal, decide('lifted'))!, 5000)).toBe('good');
    const upheld = after(ENROL, suspend(null), appeal, decide('upheld'))!;
    expect(standingOf(upheld, 5000)).toBe('suspended');
    expect(upheld.suspension).toMatchObject({
      index: 2,
      appeal: { index: 3 },
      decision: { index: 4 },
    });
  });

  test('an appeal against another suspension is not one against this', () => {
    const appeal = {
      action: 'appeal',
      subject: DEVICE,
      suspension: 1,
      statement: Uint8Array.of(1),
    } as const;
    expect(after(ENROL, suspend(null), appeal)!.suspension!.appeal).toBeNull();
  });

  test('what is unenrolled stays so until it is enrolled again', () => {
    const out = after(ENROL, { action: 'unenrol', subject: DEVICE, reason: 'sold' });
    expect(standingOf(out!, 3000)).toBe('unenrolled');
    const resumed = after(
      ENROL,
      { action: 'unenrol', subject: DEVICE, reason: 'sold' },
      { action: 'resume', subject: DEVICE },
    );
    expect(standingOf(resumed!, 4000)).toBe('unenrolled');
    const again = after(ENROL, { action: 'unenrol', subject: DEVICE, reason: 'sold' }, ENROL);
    expect(standingOf(again!, 4000)).toBe('good');
  });
});

test('an owner is replaced, and remembered', () => {
  const device = after(ENROL, {
    action: 'transfer',
    subject: DEVICE,
    owner: 'did:key:z6MkB',
    ownership: Uint8Array.of(1),
  });
  expect(device).toMatchObject({ owner: 'did:key:z6MkB', formerOwners: ['did:key:z6MkA'] });
});

test('quarantined boots come and go', () => {
  const boot = [7, Uint8Array.of(1, 2, 3, 4)] as const;
  const quarantine = {
    action: 'quarantine',
    subject: DEVICE,
    boot,
    against: [7, new Uint8Array(4)],
  } as const;
  expect(after(ENROL, quarantine, quarantine)!.quarantined).toEqual([
    { bootCounter: 7, bootSeed: 0x01020304 },
  ]);
  const name = { bootCounter: 7, bootSeed: 0x01020304 };
  const release = { action: 'release', subject: DEVICE, boot } as const;
  const released = after(ENROL, quarantine, release);
  expect(released).toMatchObject({ quarantined: [], released: [name] });
  expect(after(ENROL, quarantine, release, quarantine)).toMatchObject({
    quarantined: [name],
    released: [],
  });
});

test('place and texts are replaced by site and notes', () => {
  const device = after(
    ENROL,
    {
      action: 'site',
      subject: DEVICE,
      group: 'west',
      cell: '871f91d91ffffff',
      text: new Uint8Array(32).fill(0xab),
    },
    { action: 'notes', subject: DEVICE, text: null },
  );
  expect(device).toMatchObject({
    group: 'west',
    cell: '871f91d91ffffff',
    texts: { site: 'ab'.repeat(32), notes: null },
  });
});
