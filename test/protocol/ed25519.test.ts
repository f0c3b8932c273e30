import { concatBytes, equalBytes, fromHex, toHex } from '@fieldproof/protocol/bytes';
import * as reference from '@fieldproof/protocol/ed25519';
import * as node from '@fieldproof/protocol/ed25519-node';
import { createSodiumVerify, isTrustworthy } from '@fieldproof/protocol/ed25519-sodium';
import { describe, expect, test } from '@jest/globals';
import { Point } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import sodium from 'sodium-native';
import { vectors } from './vectors.ts';

interface SignVector {
  readonly seed_hex: string;
  readonly public_key_hex: string;
  readonly message_hex: string;
  readonly signature_hex: string;
  readonly line: number;
}
interface Wycheproof {
  readonly testGroups: readonly {
    readonly publicKey: { readonly pk: string };
    readonly tests: readonly {
      readonly tcId: number;
      readonly msg: string;
      readonly sig: string;
      readonly result: string;
    }[];
  }[];
}
interface Speccheck {
  readonly id: number;
  readonly desc: string;
  readonly message: string;
  readonly pub_key: string;
  readonly signature: string;
}

const { n: L, p: P } = Point.CURVE();
const seed = Uint8Array.from({ length: 32 }, (_, i) => i);
const publicKey = reference.publicKeyFromSeed(seed);
const message = new TextEncoder().encode('23.5 Cel');
const signature = reference.sign(message, seed);

const verifyWithSodium = createSodiumVerify(sodium.crypto_sign_verify_detached);

/** The verdict of all paths, which have to agree. */
function verdict(sig: Uint8Array, msg: Uint8Array, key: Uint8Array): boolean {
  const byReference = reference.verify(sig, msg, key);
  const byNode = node.verify(sig, msg, key);
  const prepared = node.prepareKey(key);
  const byPrepared = prepared !== null && node.verifyPrepared(sig, msg, prepared);
  const bySodium = verifyWithSodium(sig, msg, key);
  expect({ key: toHex(key), sig: toHex(sig), byNode, byPrepared, bySodium }).toEqual({
    key: toHex(key),
    sig: toHex(sig),
    byNode: byReference,
    byPrepared: byReference,
    bySodium: byReference,
  });
  expect(prepared !== null).toBe(reference.isAcceptablePublicKey(key));
  return byReference;
}

describe('published signatures come out bit for bit and verify', () => {
  const all = ['rfc8032.json', 'sign_input_sample.json'].flatMap((file) =>
    vectors<SignVector[]>(`ed25519/${file}`).map((v) => ({ ...v, name: `${file} line ${v.line}` })),
  );
  test.each(all)('$name', (v) => {
    const [s, m] = [fromHex(v.seed_hex), fromHex(v.message_hex)];
    expect(toHex(reference.publicKeyFromSeed(s))).toBe(v.public_key_hex);
    expect(toHex(node.publicKeyFromSeed(s))).toBe(v.public_key_hex);
    expect(toHex(reference.sign(m, s))).toBe(v.signature_hex);
    expect(toHex(node.sign(m, s))).toBe(v.signature_hex);
    expect(toHex(node.signerFromSeed(s).sign(m))).toBe(v.signature_hex);
    expect(verdict(fromHex(v.signature_hex), m, fromHex(v.public_key_hex))).toBe(true);
  });
});

describe('Wycheproof', () => {
  const all = vectors<Wycheproof>('ed25519/wycheproof_ed25519_odd.json').testGroups.flatMap(
    (group) => group.tests.map((t) => ({ ...t, pk: group.publicKey.pk })),
  );
  test.each(all)('tcId $tcId is $result', ({ pk, msg, sig, result }) => {
    expect(verdict(fromHex(sig), fromHex(msg), fromHex(pk))).toBe(result === 'valid');
  });
});

describe('speccheck, under the strict rule', () => {
  const accepted = new Set([2, 3]);
  test.each(vectors<Speccheck[]>('ed25519/speccheck_even.json'))('$id: $desc', (v) => {
    expect(verdict(fromHex(v.signature), fromHex(v.message), fromHex(v.pub_key))).toBe(
      accepted.has(v.id),
    );
  });
});

describe('systematic corruption', () => {
  test('every flipped bit of the signature is refused', () => {
    for (let bit = 0; bit < 512; bit++)
      expect(verdict(flip(signature, bit), message, publicKey)).toBe(false);
  });
  test('every flipped bit of the key is refused', () => {
    for (let bit = 0; bit < 256; bit++)
      expect(verdict(signature, message, flip(publicKey, bit))).toBe(false);
  });
  test('every flipped bit of the message is refused', () => {
    for (let bit = 0; bit < 8 * message.length; bit++) {
      expect(verdict(signature, flip(message, bit), publicKey)).toBe(false);
    }
  });
  test('S + L is refused', () => {
    const s = littleEndian(signature.subarray(32)) + L;
    expect(verdict(concatBytes(signature.subarray(0, 32), bytes32(s)), message, publicKey)).toBe(
      false,
    );
  });
  test.each([0, 1, 32, 63, 65, 128])('a signature of %d bytes is refused', (length) => {
    const wrong = new Uint8Array(length);
    wrong.set(signature.subarray(0, length));
    expect(verdict(wrong, message, publicKey)).toBe(false);
  });
  test.each([0, 31, 33, 64])('a key of %d bytes is refused', (length) => {
    const wrong = new Uint8Array(length);
    wrong.set(publicKey.subarray(0, length));
    expect(verdict(signature, message, wrong)).toBe(false);
  });
  test('values of other types are refused without an exception', () => {
    for (const bad of [undefined, null, 'text', 64, {}, [], new Float64Array(8)] as never[]) {
      expect(verifyBoth(bad, message, publicKey)).toEqual([false, false]);
      expect(verifyBoth(signature, bad, publicKey)).toEqual([false, false]);
      expect(verifyBoth(signature, message, bad)).toEqual([false, false]);
      expect(node.prepareKey(bad)).toBeNull();
    }
  });
});

describe('points of small order', () => {
  const torsion = torsionPoints();

  test('there are eight, and none is a key', () => {
    expect(new Set(torsion.map((t) => t.toHex())).size).toBe(8);
    for (const point of torsion) {
      expect(reference.isAcceptablePublicKey(point.toBytes())).toBe(false);
      expect(node.prepareKey(point.toBytes())).toBeNull();
    }
  });

  test('no non-canonical encoding is a key', () => {
    for (let y = P; y < 1n << 255n; y++) {
      for (const sign of [0n, 1n << 255n]) {
        const key = bytes32(y + sign);
        expect(reference.isAcceptablePublicKey(key)).toBe(false);
        expect(node.prepareKey(key)).toBeNull();
        expect(verdict(concatBytes(key, signature.subarray(32)), message, publicKey)).toBe(false);
      }
    }
    for (const y of [1n, P - 1n]) expect(node.prepareKey(bytes32(y + (1n << 255n)))).toBeNull();
  });

  test('forgeries under every encoding of the identity, which OpenSSL alone would take, are refused', () => {
    const forged = concatBytes(Point.BASE.multiply(5n).toBytes(), bytes32(5n));
    for (const y of [1n, P + 1n, 1n + (1n << 255n), P + 1n + (1n << 255n)]) {
      expect(verdict(forged, message, bytes32(y))).toBe(false);
    }
  });

  test('a small-order R is taken exactly where the equation holds', () => {
    const a = scalarOf(seed);
    for (const point of torsion) {
      const r = point.toBytes();
      const k = challenge(r, publicKey, message);
      // S = k a makes [S]B - [k]A the identity.
      const forged = concatBytes(r, bytes32((k * a) % L));
      expect(verdict(forged, message, publicKey)).toBe(point.equals(Point.ZERO));
    }
  });

  test('the identity R in its non-canonical forms is refused', () => {
    const a = scalarOf(seed);
    for (const y of [1n + (1n << 255n), P + 1n, P + 1n + (1n << 255n)]) {
      const r = bytes32(y);
      const s = bytes32((challenge(r, publicKey, message) * a) % L);
      expect(verdict(concatBytes(r, s), message, publicKey)).toBe(false);
    }
  });

  test('both paths agree on keys and R of mixed order', () => {
    const index = fc.nat({ max: 7 });
    const scalar = fc.bigInt({ min: 1n, max: L - 1n });
    const scalarOrZero = fc.oneof(scalar, fc.constant(0n));
    let accepted = 0;
    fc.assert(
      fc.property(
        index,
        index,
        scalar,
        scalarOrZero,
        fc.uint8Array({ maxLength: 40 }),
        (i, j, a, r, msg) => {
          const key = Point.BASE.multiply(a).add(torsion[i]!).toBytes();
          const big = Point.BASE.multiply(r, false).add(torsion[j]!).toBytes();
          const k = challenge(big, key, msg);
          const good = concatBytes(big, bytes32((r + k * a) % L));
          // [k]A carries [k mod 8 * i] of the torsion generator, R carries j: they have to cancel.
          const holds = (BigInt(j) + k * BigInt(i)) % 8n === 0n;
          expect(verdict(good, msg, key)).toBe(holds);
          if (holds) accepted++;
        },
      ),
      { numRuns: 150, seed: 8032 },
    );
    expect(accepted).toBeGreaterThan(0);
  });

  test('both paths agree on random bytes', () => {
    const bytes = (n: number) => fc.uint8Array({ minLength: n, maxLength: n });
    fc.assert(
      fc.property(bytes(64), bytes(12), bytes(32), (sig, msg, key) => {
        expect(verdict(sig, msg, key)).toBe(false);
      }),
      { numRuns: 100 },
    );
  });
});

test('more keys than the cache holds still verify', () => {
  const signers = Array.from({ length: 200 }, (_, i) => new Uint8Array(32).fill(i)).map((s) =>
    node.signerFromSeed(s),
  );
  for (let round = 0; round < 2; round++) {
    for (const signer of signers) {
      expect(node.verify(signer.sign(message), message, signer.publicKey)).toBe(true);
    }
  }
});

test('a cached key does not follow later writes into its buffer', () => {
  const key = Uint8Array.from(publicKey);
  const prepared = node.prepareKey(key);
  expect(node.verify(signature, message, key)).toBe(true);
  key.fill(0);
  expect(node.verify(signature, message, key)).toBe(false);
  expect(equalBytes(prepared!.publicKey, publicKey)).toBe(true);
});

test('a seed of another length is refused with its length', () => {
  for (const f of [reference.sign, node.sign]) {
    expect(() => f(message, new Uint8Array(31))).toThrow('seed: expected 32 bytes, got 31');
  }
  expect(() => reference.kidOf(new Uint8Array(33))).toThrow(
    'public key: expected 32 bytes, got 33',
  );
});

test('the kid is the first 8 bytes of SHA-256 of the key', () => {
  const key = fromHex('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a');
  expect(toHex(reference.kidOf(key))).toBe('21fe31dfa154a261');
});

function verifyBoth(sig: Uint8Array, msg: Uint8Array, key: Uint8Array): boolean[] {
  return [reference.verify(sig, msg, key), node.verify(sig, msg, key)];
}

/** The i-th is i times a generator of the torsion group of order 8. */
function torsionPoints(): Point[] {
  const generator = Point.fromHex(
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  );
  const points = [Point.ZERO];
  for (let i = 1; i < 8; i++) points.push(points[i - 1]!.add(generator));
  return points;
}

function challenge(r: Uint8Array, key: Uint8Array, msg: Uint8Array): bigint {
  return littleEndian(sha512(concatBytes(r, key, msg))) % L;
}

function scalarOf(secret: Uint8Array): bigint {
  const head = sha512(secret).slice(0, 32);
  head[0]! &= 248;
  head[31] = (head[31]! & 127) | 64;
  return littleEndian(head) % L;
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);
}

function bytes32(value: bigint): Uint8Array {
  return fromHex(value.toString(16).padStart(64, '0')).reverse();
}

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const out = Uint8Array.from(bytes);
  out[bit >> 3]! ^= 1 << (bit & 7);
  return out;
}

describe('a binding of libsodium', () => {
  const { crypto_sign_verify_detached: verifyDetached } = sodium;
  test('is trusted', () => expect(isTrustworthy(verifyDetached)).toBe(true));
  test.each([
    ['accepts everything', () => true],
    ['refuses everything', () => false],
    ['has another rule for points of mixed order', cofactored],
    [
      'throws',
      () => {
        throw new Error('no such function');
      },
    ],
  ])('that %s is not', (_, verify) => expect(isTrustworthy(verify)).toBe(false));

  /** ZIP 215: 8 times the equation. */
  function cofactored(sig: Uint8Array, msg: Uint8Array, key: Uint8Array): boolean {
    const [r, a] = [Point.fromBytes(sig.subarray(0, 32)), Point.fromBytes(key)];
    const k = littleEndian(sha512(concatBytes(sig.subarray(0, 32), key, msg))) % L;
    const s = littleEndian(sig.subarray(32));
    return Point.BASE.multiplyUnsafe(s)
      .subtract(a.multiplyUnsafe(k))
      .subtract(r)
      .clearCofactor()
      .is0();
  }
});
