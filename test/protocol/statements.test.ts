import { deviceIdFromPublicKey, didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  type Credential,
  type Descriptor,
  type Enrolment,
  openCredential,
  openDescriptor,
  openEnrolment,
  openHello,
  openLogin,
  sealCredential,
  sealDescriptor,
  sealEnrolment,
  sealHello,
  sealLogin,
  sealOwnership,
} from '@fieldproof/protocol/statements';
import { describe, expect, test } from '@jest/globals';

const root = signerFromSeed(new Uint8Array(32).fill(1));
const device = signerFromSeed(new Uint8Array(32).fill(2));
const owner = signerFromSeed(new Uint8Array(32).fill(3));
const stranger = signerFromSeed(new Uint8Array(32).fill(4));
const network = 'net';
const deviceId = deviceIdFromPublicKey(device.publicKey);
const nonce = new Uint8Array(32).fill(9);

const descriptor: Descriptor = {
  network,
  version: 3,
  issued: 1,
  expires: 2,
  keys: {
    registry: root.publicKey,
    log: root.publicKey,
    control: root.publicKey,
    ledger: root.publicKey,
  },
  origins: { evidence: 'e', ledger: 'l' },
  ca: new Uint8Array(32),
  addresses: { http: ['http://a'], mqtt: [], control: [] },
  witnesses: [],
  stewards: [],
  mergeDelayMs: 60_000,
};

const credential: Credential = {
  device: deviceId,
  key: device.publicKey,
  owner: didKeyFromPublicKey(owner.publicKey),
  name: 'roof',
  group: 'g',
  cell: '',
  streams: [],
  issued: 1,
  expires: 2,
};

const enrolment: Enrolment = {
  nonce,
  token: new Uint8Array(16),
  key: device.publicKey,
  owner: didKeyFromPublicKey(owner.publicKey),
  ownership: sealOwnership(deviceId, { network, signer: owner }),
  name: 'roof',
};

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'no error';
}

/** Each statement with how it is opened; `opened` must equal `body`. */
const statements: readonly {
  readonly name: string;
  readonly sealed: Uint8Array;
  readonly open: (bytes: Uint8Array, changes?: object) => unknown;
  readonly opened: unknown;
}[] = [
  {
    name: 'descriptor',
    sealed: sealDescriptor(descriptor, { signer: root }),
    open: (bytes, changes) =>
      openDescriptor(bytes, { network, publicKey: root.publicKey, verify, ...changes }),
    opened: descriptor,
  },
  {
    name: 'hello',
    sealed: sealHello(
      { network, time: 5, nonce, clientNonce: new Uint8Array(16), descriptor: 3 },
      { signer: root },
    ),
    open: (bytes, changes) =>
      openHello(bytes, {
        network,
        publicKey: root.publicKey,
        verify,
        clientNonce: new Uint8Array(16),
        ...changes,
      }),
    opened: { network, time: 5, nonce, clientNonce: new Uint8Array(16), descriptor: 3 },
  },
  {
    name: 'credential',
    sealed: sealCredential(credential, { network, signer: root }),
    open: (bytes, changes) =>
      openCredential(bytes, {
        network,
        publicKey: root.publicKey,
        verify,
        device: deviceId,
        ...changes,
      }),
    opened: credential,
  },
  {
    name: 'enrolment',
    sealed: sealEnrolment(enrolment, { network, signer: device }),
    open: (bytes, changes) => openEnrolment(bytes, { network, verify, ...changes }),
    opened: { enrolment, device: deviceId },
  },
  {
    name: 'login',
    sealed: sealLogin({ device: deviceId, nonce }, { network, signer: device }),
    open: (bytes, changes) =>
      openLogin(bytes, {
        network,
        publicKey: device.publicKey,
        verify,
        device: deviceId,
        ...changes,
      }),
    opened: nonce,
  },
];

describe.each(statements)('$name', ({ sealed, open, opened, name }) => {
  test('opens as it was sealed', () => {
    expect(open(sealed)).toEqual(opened);
  });

  test('is refused after any byte has changed', () => {
    for (let at = 0; at < sealed.length; at++) {
      const changed = sealed.slice();
      changed[at]! ^= 0x01;
      expect(codeOf(() => open(changed))).toMatch(/^ERR_/);
    }
  });

  test('is refused on another network', () => {
    expect(codeOf(() => open(sealed, { network: 'other' }))).toBe('ERR_SIGNATURE_INVALID');
  });

  if (name !== 'enrolment') {
    test('is refused under another key', () => {
      expect(codeOf(() => open(sealed, { publicKey: stranger.publicKey }))).toBe(
        'ERR_SIGNATURE_INVALID',
      );
    });
  }

  test.each(statements.filter((other) => other.name !== name))(
    'is not taken for a $name',
    ({ open: openOther }) => {
      expect(codeOf(() => openOther(sealed))).toMatch(/^ERR_/);
    },
  );
});

test('a hello that answers another nonce is refused', () => {
  const { sealed, open } = statements[1]!;
  expect(codeOf(() => open(sealed, { clientNonce: new Uint8Array(16).fill(1) }))).toBe(
    'ERR_SIGNATURE_INVALID',
  );
});

test('nobody can enrol a device for an owner who did not sign for it', () => {
  const forgeries: Uint8Array[] = [
    sealOwnership(deviceId, { network, signer: stranger }),
    sealOwnership(deviceIdFromPublicKey(stranger.publicKey), { network, signer: owner }),
    sealOwnership(deviceId, { network: 'other', signer: owner }),
  ];
  for (const ownership of forgeries) {
    const bytes = sealEnrolment({ ...enrolment, ownership }, { network, signer: device });
    expect(codeOf(() => openEnrolment(bytes, { network, verify }))).toMatch(/^ERR_/);
  }
});

test('an enrolment proves possession of the key in it', () => {
  const bytes = sealEnrolment(enrolment, { network, signer: stranger });
  expect(codeOf(() => openEnrolment(bytes, { network, verify }))).toBe('ERR_SIGNATURE_INVALID');
});

test('a credential opens for the key that has become a device’s, and for no other', () => {
  const next = { ...credential, key: stranger.publicKey, firstBoot: 8 };
  const bytes = sealCredential(next, { network, signer: root });
  const context = { network, publicKey: root.publicKey, verify };
  expect(openCredential(bytes, { ...context, key: stranger.publicKey })).toEqual(next);
  expect(openCredential(bytes, { ...context, device: deviceId })).toEqual(next);
  expect(codeOf(() => openCredential(bytes, { ...context, key: device.publicKey }))).toBe(
    'ERR_MESSAGE_MALFORMED',
  );
  for (let at = 0; at < bytes.length; at++) {
    const changed = bytes.slice();
    changed[at]! ^= 0x01;
    const open = () => openCredential(changed, { ...context, key: stranger.publicKey });
    expect(codeOf(open)).toMatch(/^ERR_/);
  }
});

test('the key of a device enrols as it; its owner may name the device or the key', () => {
  const keyId = deviceIdFromPublicKey(stranger.publicKey);
  const deviceOf = (id: string) => (id === keyId ? deviceId : id);
  const enrol = (named: string) => {
    const ownership = sealOwnership(named, { network, signer: owner });
    const body = { ...enrolment, key: stranger.publicKey, ownership };
    const bytes = sealEnrolment(body, { network, signer: stranger });
    return openEnrolment(bytes, { network, verify, deviceOf }).device;
  };
  expect(enrol(keyId)).toBe(deviceId);
  expect(enrol(deviceId)).toBe(deviceId);
  const third = deviceIdFromPublicKey(owner.publicKey);
  expect(codeOf(() => enrol(third))).toBe('ERR_MESSAGE_MALFORMED');
});

test('a login names its device', () => {
  const other = deviceIdFromPublicKey(stranger.publicKey);
  const bytes = sealLogin({ device: other, nonce }, { network, signer: device });
  const context = { network, publicKey: device.publicKey, verify, device: deviceId };
  expect(codeOf(() => openLogin(bytes, context))).toBe('ERR_MESSAGE_MALFORMED');
});

test('readers ignore keys that they do not know', () => {
  const later = { ...descriptor, novelty: [1, 2, 3] } as Descriptor;
  const bytes = sealDescriptor(later, { signer: root });
  expect(openDescriptor(bytes, { network, publicKey: root.publicKey, verify })).toEqual(descriptor);
});
