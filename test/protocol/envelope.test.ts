import { type CborValue, decode, encode, Float, Tagged } from '@fieldproof/protocol/cbor';
import { sigStructure } from '@fieldproof/protocol/cose';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  downAad,
  MAX_ENVELOPE_BYTES,
  open,
  openUp,
  parseEnvelope,
  type Stamp,
  sameBoot,
  seal,
  statementAad,
  upAad,
} from '@fieldproof/protocol/envelope';
import { describe, expect, test } from '@jest/globals';

const signer = signerFromSeed(new Uint8Array(32).fill(7));
const stamp: Stamp = {
  bootCounter: 2,
  bootSeed: Uint8Array.of(1, 2, 3, 4),
  seq: 9,
  bootMs: 1234,
  boundMs: 15,
};
const externalAad = upAad('net', 'telemetry');
const context = { externalAad, publicKey: signer.publicKey, verify };
const payload = encode([1, 2, 3]);
const good = seal({ contentType: 112, payload, stamp, externalAad, signer });

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'no error';
}

/** An envelope with a header and parts of our choice, properly signed. */
function forged(
  header: Map<CborValue, CborValue>,
  options: { unprotected?: CborValue; tag?: number; payload?: CborValue } = {},
): Uint8Array {
  const protectedBytes = encode(header);
  const body = options.payload === undefined ? payload : options.payload;
  const signature = signer.sign(
    sigStructure(protectedBytes, externalAad, body instanceof Uint8Array ? body : payload),
  );
  return encode(
    new Tagged(options.tag ?? 18, [
      protectedBytes,
      options.unprotected ?? new Map(),
      body,
      signature,
    ]),
  );
}

const kid = parseEnvelope(good).kid;
const header = (changes: [CborValue, CborValue | undefined][] = []): Map<CborValue, CborValue> => {
  const map = new Map<CborValue, CborValue>([
    [1, -19],
    [3, 112],
    [4, kid],
    [-65537, [2, stamp.bootSeed, 9, 1234, 15]],
  ]);
  for (const [key, value] of changes) {
    if (value === undefined) map.delete(key);
    else map.set(key, value);
  }
  return map;
};

describe('an up envelope', () => {
  test('opens with everything that was sealed', () => {
    const opened = openUp(good, context);
    expect(opened.stamp).toEqual(stamp);
    expect(opened.payload).toEqual(payload);
    expect(opened.contentType).toBe(112);
  });

  test('is the same bytes every time it is sealed from the same parts', () => {
    expect(seal({ contentType: 112, payload, stamp, externalAad, signer })).toEqual(good);
  });

  test('does not open after any single bit has changed', () => {
    for (let bit = 0; bit < good.length * 8; bit++) {
      const changed = good.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(codeOf(() => openUp(changed, context))).toMatch(/^ERR_/);
    }
  });

  test('does not open after it was cut anywhere or grew', () => {
    for (let length = 0; length < good.length; length++) {
      expect(codeOf(() => openUp(good.subarray(0, length), context))).toMatch(/^ERR_/);
    }
    expect(codeOf(() => openUp(Uint8Array.of(...good, 0), context))).toBe('ERR_CBOR_MALFORMED');
  });

  test.each([
    ['another kind', upAad('net', 'event')],
    ['another network', upAad('net2', 'telemetry')],
    ['a down message', downAad('net', 'receipt', 'z')],
    ['a statement', statementAad('net', 'telemetry', '')],
  ])('does not open as %s', (_name, aad) => {
    expect(codeOf(() => openUp(good, { ...context, externalAad: aad }))).toBe(
      'ERR_SIGNATURE_INVALID',
    );
  });

  test('with alg -8 (EdDSA) opens as well', () => {
    expect(openUp(forged(header([[1, -8]])), context).stamp.seq).toBe(9);
  });

  test.each<[string, [CborValue, CborValue | undefined][], string]>([
    ['no alg', [[1, undefined]], 'ERR_COSE_ALGORITHM'],
    ['ES256', [[1, -7]], 'ERR_COSE_ALGORITHM'],
    ['no content type', [[3, undefined]], 'ERR_ENVELOPE_HEADER'],
    ['an unknown content type', [[3, 50]], 'ERR_ENVELOPE_HEADER'],
    ['a text content type', [[3, 'senml']], 'ERR_ENVELOPE_HEADER'],
    ['no kid', [[4, undefined]], 'ERR_ENVELOPE_HEADER'],
    ['a short kid', [[4, new Uint8Array(7)]], 'ERR_ENVELOPE_HEADER'],
    ['no stamp', [[-65537, undefined]], 'ERR_ENVELOPE_HEADER'],
    ['a critical label', [[2, [4]]], 'ERR_ENVELOPE_HEADER'],
    ['an unknown label', [[99, 1]], 'ERR_ENVELOPE_HEADER'],
    ['a stamp of four', [[-65537, [2, stamp.bootSeed, 9, 1234]]], 'ERR_ENVELOPE_HEADER'],
    ['a stamp of six', [[-65537, [2, stamp.bootSeed, 9, 1, 1, 1]]], 'ERR_ENVELOPE_HEADER'],
    ['a negative seq', [[-65537, [2, stamp.bootSeed, -1, 1, 1]]], 'ERR_ENVELOPE_HEADER'],
    ['a fractional seq', [[-65537, [2, stamp.bootSeed, 1.5, 1, 1]]], 'ERR_ENVELOPE_HEADER'],
    ['a 64-bit seq', [[-65537, [2, stamp.bootSeed, 2n ** 60n, 1, 1]]], 'ERR_ENVELOPE_HEADER'],
    ['a 33-bit boot', [[-65537, [2 ** 32, stamp.bootSeed, 1, 1, 1]]], 'ERR_ENVELOPE_HEADER'],
    ['a long seed', [[-65537, [2, new Uint8Array(5), 1, 1, 1]]], 'ERR_ENVELOPE_HEADER'],
    [
      'a bound of two days',
      [[-65537, [2, stamp.bootSeed, 1, 1, 172_800_000]]],
      'ERR_ENVELOPE_HEADER',
    ],
  ])('with %s is refused', (_name, changes, code) => {
    expect(codeOf(() => openUp(forged(header(changes)), context))).toBe(code);
  });

  test.each([
    ['seq', [2, stamp.bootSeed, new Float(9), 1, 1]],
    ['bootCounter', [new Float(2), stamp.bootSeed, 9, 1, 1]],
  ])('with a float for %s in the stamp is refused', (_name, items) => {
    expect(codeOf(() => openUp(forged(header([[-65537, items]])), context))).toBe(
      'ERR_ENVELOPE_HEADER',
    );
  });

  test('with an unprotected header, another tag or no payload is refused', () => {
    expect(
      codeOf(() => openUp(forged(header(), { unprotected: new Map([[4, kid]]) }), context)),
    ).toBe('ERR_ENVELOPE_HEADER');
    expect(codeOf(() => openUp(forged(header(), { tag: 98 }), context))).toBe('ERR_COSE_MALFORMED');
    expect(codeOf(() => openUp(forged(header(), { payload: null }), context))).toBe(
      'ERR_COSE_MALFORMED',
    );
    const untagged = encode((decode(good) as Tagged).value);
    expect(codeOf(() => openUp(untagged, context))).toBe('ERR_COSE_MALFORMED');
  });

  test('that is not deterministically encoded is refused although its signature is right', () => {
    // the signature's length written in two bytes instead of one
    const at = good.length - 66;
    const longer = Uint8Array.of(...good.subarray(0, at), 0x59, 0, 64, ...good.subarray(at + 2));
    expect(codeOf(() => openUp(longer, context))).toBe('ERR_CBOR_NOT_DETERMINISTIC');
  });

  test('of more than 60,000 bytes is neither sealed nor opened', () => {
    const large = new Uint8Array(MAX_ENVELOPE_BYTES);
    expect(
      codeOf(() => seal({ contentType: 60, payload: large, stamp, externalAad, signer })),
    ).toBe('ERR_TOO_LARGE');
    expect(codeOf(() => parseEnvelope(new Uint8Array(MAX_ENVELOPE_BYTES + 1)))).toBe(
      'ERR_TOO_LARGE',
    );
  });
});

describe('a down envelope or statement', () => {
  const aad = downAad('net', 'receipt', 'z6MkA');
  const receipt = seal({ contentType: 60, payload, externalAad: aad, signer });

  test('opens for the device that it was made for, and for no other', () => {
    expect(open(receipt, { ...context, externalAad: aad }).payload).toEqual(payload);
    const other = downAad('net', 'receipt', 'z6MkB');
    expect(codeOf(() => open(receipt, { ...context, externalAad: other }))).toBe(
      'ERR_SIGNATURE_INVALID',
    );
  });

  test('with a stamp is refused, as an up envelope without one is', () => {
    const stamped = seal({ contentType: 60, payload, stamp, externalAad: aad, signer });
    expect(codeOf(() => open(stamped, { ...context, externalAad: aad }))).toBe(
      'ERR_ENVELOPE_HEADER',
    );
    expect(codeOf(() => openUp(receipt, { ...context, externalAad: aad }))).toBe(
      'ERR_ENVELOPE_HEADER',
    );
  });
});

test('two boots are the same only with the same counter and seed', () => {
  expect(sameBoot(stamp, { ...stamp })).toBe(true);
  expect(sameBoot(stamp, { ...stamp, bootCounter: 3 })).toBe(false);
  expect(sameBoot(stamp, { ...stamp, bootSeed: Uint8Array.of(1, 2, 3, 5) })).toBe(false);
});
