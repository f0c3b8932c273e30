import { decodeBase58, encodeBase58 } from '@fieldproof/protocol/base58';
import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import {
  deviceIdFromPublicKey,
  didKeyFromPublicKey,
  publicKeyFromDeviceId,
  publicKeyFromDidKey,
} from '@fieldproof/protocol/did-key';
import { publicKeyFromSeed } from '@fieldproof/protocol/ed25519';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { vectors } from './vectors.ts';

interface Valid {
  readonly seed_hex: string;
  readonly public_key_hex: string;
  readonly public_key_base58: string;
  readonly did: string;
}
interface Invalid {
  readonly did: string;
  readonly why: string;
}

const valid = vectors<Valid[]>('did-key/valid.json');
const invalid = vectors<Invalid[]>('did-key/invalid.json');
const good = valid[0]!.did;

describe('published identifiers', () => {
  test.each(valid)('$did', (v) => {
    const key = publicKeyFromSeed(fromHex(v.seed_hex));
    expect(toHex(key)).toBe(v.public_key_hex);
    expect(didKeyFromPublicKey(key)).toBe(v.did);
    expect(toHex(publicKeyFromDidKey(v.did))).toBe(v.public_key_hex);
    expect(encodeBase58(key)).toBe(v.public_key_base58);
    expect(toHex(decodeBase58(v.public_key_base58))).toBe(v.public_key_hex);
    const id = v.did.slice('did:key:'.length);
    expect(deviceIdFromPublicKey(key)).toBe(id);
    expect(toHex(publicKeyFromDeviceId(id))).toBe(v.public_key_hex);
  });
});

describe('identifiers that are refused', () => {
  const badPoint = /zero key|32 zero bytes|identity|y >= p/;
  test.each(invalid)('$why', ({ did, why }) => {
    const code = badPoint.test(why) ? 'ERR_KEY_INVALID' : 'ERR_DID_MALFORMED';
    expect(() => publicKeyFromDidKey(did)).toThrow(expect.objectContaining({ code }));
  });

  test.each([
    ['a longer text', `${good}1`],
    ['a million characters', `did:key:z${'1'.repeat(1_000_000)}`],
    ['a DID URL', `${good}#${good.slice(8)}`],
    ['a leading 1 that keeps the value', `did:key:z1${good.slice(9)}`],
    ['35 bytes in 48 characters', `did:key:z${'z'.repeat(47)}`],
    ['a letter outside ASCII', `${good.slice(0, -1)}é`],
    ['a device id', good.slice(8)],
    ['nothing', undefined as never],
  ])('%s', (_, did) => {
    expect(() => publicKeyFromDidKey(did)).toThrow(
      expect.objectContaining({ code: 'ERR_DID_MALFORMED' }),
    );
  });

  test('every other character in every place', () => {
    const key = toHex(publicKeyFromDidKey(good));
    for (let i = 0; i < good.length; i++) {
      const other = good[i] === '2' ? '3' : '2';
      let read = '';
      try {
        read = toHex(publicKeyFromDidKey(good.slice(0, i) + other + good.slice(i + 1)));
      } catch (error) {
        expect(error).toMatchObject({
          code: expect.stringMatching(/ERR_DID_MALFORMED|ERR_KEY_INVALID/),
        });
      }
      expect(read).not.toBe(key);
    }
  });

  test('a key of another length has no identifier', () => {
    expect(() => didKeyFromPublicKey(new Uint8Array(31))).toThrow(
      'expected 32 bytes, got 31 bytes',
    );
  });
});

describe('base58', () => {
  test('gives back every byte string, leading zeros included', () => {
    fc.assert(
      fc.property(fc.nat({ max: 4 }), fc.uint8Array({ maxLength: 60 }), (zeros, tail) => {
        const bytes = new Uint8Array(zeros + tail.length);
        bytes.set(tail, zeros);
        expect(decodeBase58(encodeBase58(bytes))).toEqual(bytes);
      }),
    );
  });

  test('gives back every text: there is one text per byte string', () => {
    const digit = fc.constantFrom(...'123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz');
    fc.assert(
      fc.property(fc.string({ unit: digit, maxLength: 60 }), (text) => {
        expect(encodeBase58(decodeBase58(text))).toBe(text);
      }),
    );
  });

  test.each(['0', 'O', 'I', 'l', 'a b', 'é'])('refuses %p', (text) => {
    expect(() => decodeBase58(text)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });
});
