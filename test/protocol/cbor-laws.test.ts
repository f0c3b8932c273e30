import { toHex } from '@fieldproof/protocol/bytes';
import { type CborValue, decode, encode, Float, Simple, Tagged } from '@fieldproof/protocol/cbor';
import { describe, expect, test } from '@jest/globals';
import { Encoder } from 'cbor-x';
import * as cborg from 'cborg';
import fc from 'fast-check';

const integer = fc.oneof(fc.maxSafeInteger(), fc.integer(), fc.nat({ max: 300 }));
const number = fc
  .double()
  .filter((n) => !Object.is(n, -0) && (!Number.isInteger(n) || Number.isSafeInteger(n)));
const text = fc.string({ unit: 'grapheme', maxLength: 80 });
const bytes = fc.uint8Array({ maxLength: 40 });
const float = fc.oneof(fc.double(), fc.float(), integer).map((n) => new Float(n));
const wide = fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n });
const simple = fc
  .oneof(fc.nat({ max: 19 }), fc.integer({ min: 32, max: 255 }))
  .map((n) => new Simple(n));

/** Values that every CBOR library knows. */
const { common } = fc.letrec<{ common: CborValue }>((tie) => ({
  common: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(integer, number, text, bytes, fc.constantFrom(true, false, null)),
    fc.array(tie('common'), { maxLength: 6 }),
    fc
      .uniqueArray(fc.tuple(fc.oneof(integer, text), tie('common')), {
        selector: ([key]) => key,
        maxLength: 30,
      })
      .map((entries) => new Map(entries)),
  ),
}));

/** All values of the data model. */
const { value } = fc.letrec<{ value: CborValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(
      integer,
      number,
      float,
      wide,
      text,
      bytes,
      simple,
      fc.constantFrom(true, false, null, undefined, -0),
    ),
    fc.array(tie('value'), { maxLength: 6 }),
    fc
      .tuple(fc.oneof(fc.nat(), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), tie('value'))
      .map(([tag, content]) => new Tagged(tag, content)),
    fc
      .uniqueArray(fc.tuple(tie('value'), tie('value')), {
        selector: ([key]) => toHex(encode(key)),
        maxLength: 8,
      })
      .map((entries) => new Map(entries)),
    fc.dictionary(text, tie('value'), { maxKeys: 8 }),
  ),
}));

const keepFloats = { keepFloats: true, maxDepth: 128 };
const lenient = { ...keepFloats, strict: false };

describe('laws', () => {
  test('what is encoded decodes strictly and encodes to the same bytes', () => {
    fc.assert(
      fc.property(value, (v) => {
        const encoded = encode(v);
        expect(toHex(encode(decode(encoded, keepFloats)))).toBe(toHex(encoded));
        expect(toHex(encode(decode(encoded, lenient)))).toBe(toHex(encoded));
      }),
      { numRuns: 400 },
    );
  });

  test('the order in which a map was filled does not matter', () => {
    const entries = fc.uniqueArray(fc.tuple(fc.oneof(integer, text), integer), {
      selector: ([key]) => key,
    });
    fc.assert(
      fc.property(entries, (list) => {
        const forwards = encode(new Map(list));
        expect(toHex(encode(new Map([...list].reverse())))).toBe(toHex(forwards));
      }),
    );
  });

  test('bytes that decode strictly are the only encoding of their value', () => {
    const small = fc.uint8Array({ maxLength: 12 });
    fc.assert(
      fc.property(small, (input) => checkInput(input)),
      { numRuns: 3000 },
    );
  });

  test('so are corrupted encodings that still decode', () => {
    fc.assert(
      fc.property(value, fc.nat(), fc.nat({ max: 255 }), (v, position, byte) => {
        const input = encode(v);
        input[position % input.length] = byte;
        checkInput(input);
      }),
      { numRuns: 1500 },
    );
  });

  test('a truncation is refused as malformed', () => {
    fc.assert(
      fc.property(value, fc.nat(), (v, at) => {
        const input = encode(v);
        expect(() => decode(input.subarray(0, at % input.length), keepFloats)).toThrow(
          expect.objectContaining({ code: 'ERR_CBOR_MALFORMED' }),
        );
      }),
    );
  });
});

describe('other libraries', () => {
  test('cborg encodes to the same bytes, and decodes ours to the same value', () => {
    fc.assert(
      fc.property(common, (v) => {
        const encoded = encode(v);
        expect(toHex(cborg.encode(v, cborg.rfc8949EncodeOptions))).toBe(toHex(encoded));
        const options = { useMaps: true, strict: true, rejectDuplicateMapKeys: true };
        expect(cborg.decode(encoded, options)).toEqual(v);
        expect(decode(encoded, { maxDepth: 128 })).toEqual(v);
      }),
      { numRuns: 300 },
    );
  });

  test('cbor-x decodes ours, and we decode its', () => {
    const other = new Encoder({
      useRecords: false,
      variableMapSize: true,
      tagUint8Array: false,
      mapsAsObjects: false,
    });
    // cbor-x writes 64-bit integers as floats and reads them as bigints.
    const narrow = fc.oneof(
      fc.integer(),
      text,
      bytes,
      fc.boolean(),
      fc.double({ noDefaultInfinity: true, noNaN: true, noInteger: true }),
    );
    const entries = fc.uniqueArray(fc.tuple(fc.oneof(fc.integer(), text), narrow), {
      selector: ([key]) => key,
    });
    fc.assert(
      fc.property(entries, (list) => {
        const map = new Map<CborValue, CborValue>(list);
        expect(toHex(encode(plain(other.decode(encode(map)))))).toBe(toHex(encode(map)));
        expect(toHex(encode(decode(Uint8Array.from(other.encode(map)), lenient)))).toBe(
          toHex(encode(map)),
        );
      }),
    );
  });
});

/** Buffers of another library as Uint8Array, Maps as Maps. */
function plain(map: Map<CborValue, CborValue>): CborValue {
  return new Map(
    [...map].map(([key, v]) => [key, v instanceof Uint8Array ? Uint8Array.from(v) : v]),
  );
}

/** Strict decoding is injective, lenient decoding leads back to strict, and nothing but our codes is thrown. */
function checkInput(input: Uint8Array): void {
  const strict = attempt(input, keepFloats);
  if (strict !== undefined) expect(toHex(encode(strict.value))).toBe(toHex(input));
  const loose = attempt(input, lenient);
  if (loose !== undefined) {
    const again = encode(loose.value);
    expect(toHex(encode(decode(again, keepFloats)))).toBe(toHex(again));
  }
  if (strict !== undefined) expect(loose).toBeDefined();
}

function attempt(input: Uint8Array, options: object): { value: CborValue } | undefined {
  try {
    return { value: decode(input, options) };
  } catch (error) {
    expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_CBOR_/) });
    return undefined;
  }
}
