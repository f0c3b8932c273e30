import { openAppeal } from '@fieldproof/protocol/appeal';
import { type CborValue, encode } from '@fieldproof/protocol/cbor';
import { deviceIdFromPublicKey, didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  CONTENT_TYPES,
  type ContentType,
  type Signer,
  seal,
  statementAad,
} from '@fieldproof/protocol/envelope';
import {
  openRotation,
  type Rotation,
  sealPossession,
  sealRotation,
} from '@fieldproof/protocol/rotation';
import { sealOwnership } from '@fieldproof/protocol/statements';
import { openTransfer, sealTransfer, type Transfer } from '@fieldproof/protocol/transfer';
import { describe, expect, test } from '@jest/globals';

const [first, next, owner, heir, stranger] = [2, 3, 4, 5, 6].map((fill) =>
  signerFromSeed(new Uint8Array(32).fill(fill)),
) as [Signer, Signer, Signer, Signer, Signer];
const network = 'net';
const device = deviceIdFromPublicKey(first.publicKey);
const other = deviceIdFromPublicKey(stranger.publicKey);
const nonce = new Uint8Array(32).fill(9);
/** The order-2 point (0, −1): y = p − 1. */
const SMALL_ORDER = Uint8Array.of(0xec, ...new Uint8Array(30).fill(0xff), 0x7f);

const ROTATION: Rotation = {
  nonce,
  device,
  key: next.publicKey,
  firstBoot: 8,
  cause: 'rotation',
  proof: sealPossession(device, { network, signer: next }),
};
const TRANSFER: Transfer = {
  nonce,
  device,
  owner: didKeyFromPublicKey(heir.publicKey),
  ownership: sealOwnership(device, { network, signer: heir }),
};

interface Context {
  readonly network: string;
  readonly verify: typeof verify;
  readonly signers: (device: string) => readonly Uint8Array[];
}

const requests: readonly {
  readonly name: string;
  readonly purpose: string;
  readonly body: object;
  readonly signer: Signer;
  readonly sealed: Uint8Array;
  readonly open: (request: Uint8Array, context: Context) => unknown;
}[] = [
  {
    name: 'a rotation',
    purpose: 'rotate',
    body: ROTATION,
    signer: first,
    sealed: sealRotation(ROTATION, { network, signer: first }),
    open: openRotation,
  },
  {
    name: 'a transfer',
    purpose: 'transfer',
    body: TRANSFER,
    signer: owner,
    sealed: sealTransfer(TRANSFER, { network, signer: owner }),
    open: openTransfer,
  },
];

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'no error';
}

describe.each(requests)('$name', ({ purpose, body, signer, sealed, open }) => {
  const context: Context = {
    network,
    verify,
    signers: (id) => (id === device ? [owner.publicKey, first.publicKey] : []),
  };
  /** As no honest program makes it. */
  const forged = (
    changes: object,
    how: { purpose?: string; about?: string; type?: ContentType; by?: Signer } = {},
  ) =>
    seal({
      contentType: how.type ?? CONTENT_TYPES.cbor,
      payload: encode({ ...body, ...changes } as unknown as CborValue),
      externalAad: statementAad(network, how.purpose ?? purpose, how.about ?? device),
      signer: how.by ?? signer,
    });

  test('opens as it was sealed, and says under whose key', () => {
    expect(open(sealed, context)).toEqual({ body, signedBy: signer.publicKey });
  });

  test('is refused after any bit has changed, cut anywhere, or with more behind', () => {
    for (let at = 0; at < sealed.length; at++) {
      for (const mask of [0x01, 0x80]) {
        const changed = sealed.slice();
        changed[at]! ^= mask;
        expect(codeOf(() => open(changed, context))).toMatch(/^ERR_/);
      }
      expect(codeOf(() => open(sealed.subarray(0, at), context))).toMatch(/^ERR_/);
    }
    expect(codeOf(() => open(Uint8Array.of(...sealed, 0), context))).toMatch(/^ERR_/);
  });

  test.each([
    ['of another network', sealed, { ...context, network: 'other' }],
    ['by a stranger', forged({}, { by: stranger }), context],
    ['when nobody may sign for the device', sealed, { ...context, signers: () => [] }],
    ['for another purpose', forged({}, { purpose: 'enrol' }), context],
    ['about another device than it names', forged({}, { about: other }), context],
  ])('is refused %s', (_why, request, where) => {
    expect(codeOf(() => open(request, where))).toBe('ERR_SIGNATURE_INVALID');
  });

  test('a stranger’s signature under the kid of who may sign is refused', () => {
    const by = { publicKey: signer.publicKey, sign: stranger.sign };
    expect(codeOf(() => open(forged({}, { by }), context))).toBe('ERR_SIGNATURE_INVALID');
  });

  test.each([
    ['another content type', forged({}, { type: CONTENT_TYPES.senml })],
    ['a short nonce', forged({ nonce: new Uint8Array(31) })],
    ['no nonce', forged({ nonce: null })],
  ])('is malformed with %s', (_why, request) => {
    expect(codeOf(() => open(request, context))).toBe('ERR_MESSAGE_MALFORMED');
  });

  test('is not taken for the other one, nor for an appeal', () => {
    for (const { purpose: asked, open: openOther } of requests) {
      if (asked === purpose) continue;
      expect(codeOf(() => openOther(sealed, context))).toMatch(/^ERR_/);
    }
    const ownerKey = () => signer.publicKey;
    expect(codeOf(() => openAppeal(sealed, { network, verify, ownerKey }))).toMatch(/^ERR_/);
  });

  test('keys of a later version are ignored', () => {
    expect(open(forged({ novelty: 1 }), context)).toEqual({ body, signedBy: signer.publicKey });
  });
});

describe('the proof of a rotation', () => {
  const open = (changes: Partial<Rotation>) =>
    openRotation(sealRotation({ ...ROTATION, ...changes }, { network, signer: first }), {
      network,
      verify,
      signers: () => [first.publicKey],
    });

  test('fails after any byte of it has changed', () => {
    for (let at = 0; at < ROTATION.proof.length; at++) {
      const proof = ROTATION.proof.slice();
      proof[at]! ^= 0x01;
      expect(codeOf(() => open({ proof }))).toMatch(/^ERR_/);
    }
  });

  test.each([
    ['by another key', sealPossession(device, { network, signer: stranger })],
    ['for another device', sealPossession(other, { network, signer: next })],
    ['for another network', sealPossession(device, { network: 'other', signer: next })],
    ['for another purpose', sealOwnership(device, { network, signer: next })],
  ])('fails %s', (_why, proof) => {
    expect(codeOf(() => open({ proof }))).toBe('ERR_SIGNATURE_INVALID');
  });

  test('fails when what it says is not what it was made for', () => {
    const proof = seal({
      contentType: CONTENT_TYPES.cbor,
      payload: encode({ device: other }),
      externalAad: statementAad(network, 'possession', device),
      signer: next,
    });
    expect(codeOf(() => open({ proof }))).toBe('ERR_MESSAGE_MALFORMED');
  });

  test('a key that cannot sign is refused as such', () => {
    expect(codeOf(() => open({ key: SMALL_ORDER }))).toBe('ERR_KEY_INVALID');
    expect(codeOf(() => open({ key: new Uint8Array(32).fill(0xff) }))).toBe('ERR_KEY_INVALID');
  });

  test.each([
    ['swap', { cause: 'swap' }],
    ['a first boot that no stamp can carry', { firstBoot: 2 ** 32 }],
    ['a negative one', { firstBoot: -1 }],
  ])('%s is nothing to ask for', (_why, changes) => {
    expect(codeOf(() => open(changes as Partial<Rotation>))).toBe('ERR_MESSAGE_MALFORMED');
  });
});

describe('the statement of the new owner', () => {
  const open = (changes: Partial<Transfer>) =>
    openTransfer(sealTransfer({ ...TRANSFER, ...changes }, { network, signer: owner }), {
      network,
      verify,
      signers: () => [owner.publicKey],
    });

  test('fails after any byte of it has changed', () => {
    for (let at = 0; at < TRANSFER.ownership.length; at++) {
      const ownership = TRANSFER.ownership.slice();
      ownership[at]! ^= 0x01;
      expect(codeOf(() => open({ ownership }))).toMatch(/^ERR_/);
    }
  });

  test.each([
    ['is of somebody else', { ownership: sealOwnership(device, { network, signer: stranger }) }],
    ['is of another network', { ownership: sealOwnership(device, { network: 'x', signer: heir }) }],
    ['is about another device', { ownership: sealOwnership(other, { network, signer: heir }) }],
    ['is for another owner', { owner: didKeyFromPublicKey(stranger.publicKey) }],
    ['names a key that cannot sign', { owner: didKeyFromPublicKey(SMALL_ORDER) }],
  ])('fails when it %s', (_why, changes) => {
    expect(codeOf(() => open(changes))).toMatch(
      /^ERR_(SIGNATURE_INVALID|MESSAGE_MALFORMED|KEY_INVALID)$/,
    );
  });
});
