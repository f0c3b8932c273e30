import { type Appeal, MAX_APPEAL_TEXT, openAppeal, sealAppeal } from '@fieldproof/protocol/appeal';
import { type CborValue, encode } from '@fieldproof/protocol/cbor';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, type ContentType, seal, statementAad } from '@fieldproof/protocol/envelope';
import { describe, expect, test } from '@jest/globals';

const owner = signerFromSeed(new Uint8Array(32).fill(3));
const stranger = signerFromSeed(new Uint8Array(32).fill(4));
const network = 'net';
const device = deviceIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(2)).publicKey);
const other = deviceIdFromPublicKey(stranger.publicKey);

const APPEAL: Appeal = {
  nonce: new Uint8Array(32).fill(9),
  device,
  suspension: 12,
  text: 'It was a restored backup.\n\tThe copy is gone: “weg”.',
};
const sealed = sealAppeal(APPEAL, { network, signer: owner });
const context = { network, verify, ownerKey: () => owner.publicKey };

/** An appeal that no honest owner's program makes. */
function forged(
  changes: object,
  how: { readonly purpose?: string; readonly about?: string; readonly type?: ContentType } = {},
): Uint8Array {
  return seal({
    contentType: how.type ?? CONTENT_TYPES.cbor,
    payload: encode({ ...APPEAL, ...changes } as unknown as CborValue),
    externalAad: statementAad(network, how.purpose ?? 'appeal', how.about ?? device),
    signer: owner,
  });
}

test('an appeal opens as it was sealed, under the key of the owner of the device that it names', () => {
  const asked: string[] = [];
  const ownerKey = (id: string) => {
    asked.push(id);
    return owner.publicKey;
  };
  expect(openAppeal(sealed, { ...context, ownerKey })).toEqual(APPEAL);
  expect(asked).toEqual([device]);
});

test('an appeal is refused after any bit of it has changed, cut anywhere or with more behind', () => {
  for (let at = 0; at < sealed.length; at++) {
    for (const mask of [0x01, 0x80]) {
      const changed = sealed.slice();
      changed[at]! ^= mask;
      expect(() => openAppeal(changed, context)).toThrow();
    }
    expect(() => openAppeal(sealed.subarray(0, at), context)).toThrow();
  }
  expect(() => openAppeal(Uint8Array.of(...sealed, 0), context)).toThrow();
});

describe('an appeal is refused', () => {
  const refused: readonly [string, Uint8Array, string][] = [
    ['of another network', sealAppeal(APPEAL, { network: 'other', signer: owner }), 'SIGNATURE'],
    ['of a stranger', sealAppeal(APPEAL, { network, signer: stranger }), 'SIGNATURE'],
    ['signed for another device', forged({}, { about: other }), 'SIGNATURE'],
    ['that names another device', forged({ device: other }), 'SIGNATURE'],
    ['signed as an ownership statement', forged({}, { purpose: 'ownership' }), 'SIGNATURE'],
    ['of another content type', forged({}, { type: CONTENT_TYPES.cwt }), 'MESSAGE'],
    ['without text', forged({ text: '' }), 'MESSAGE'],
    ['with too long a text', forged({ text: 'x'.repeat(MAX_APPEAL_TEXT + 1) }), 'MESSAGE'],
    ['with an escape sequence in it', forged({ text: 'x\u001b[2J' }), 'MESSAGE'],
    ['with a short nonce', forged({ nonce: new Uint8Array(31) }), 'MESSAGE'],
    ['with a negative index', forged({ suspension: -1 }), 'MESSAGE'],
    ['with an index as text', forged({ suspension: '12' }), 'MESSAGE'],
    ['that names no device', forged({ device: 'roof' }), 'MESSAGE'],
  ];
  test.each(refused)('%s', (_what, bytes, code) => {
    expect(() => openAppeal(bytes, context)).toThrow(
      expect.objectContaining({ code: expect.stringContaining(code) }),
    );
  });
});

test('what may not be appealed with is not signed', () => {
  expect(() => sealAppeal({ ...APPEAL, text: '' }, { network, signer: owner })).toThrow(
    expect.objectContaining({ code: 'ERR_MESSAGE_MALFORMED' }),
  );
});

test('keys of a later version are ignored', () => {
  expect(openAppeal(forged({ novelty: [1] }), context)).toEqual(APPEAL);
});
