/** The shared CBOR vector sets, which have no licence file and so are read where VECTORS_DIR points to. */

import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import { decode, diagnose, encode } from '@fieldproof/protocol/cbor';
import { describe, expect, test } from '@jest/globals';
import { sharedVectors } from './vectors.ts';

interface Vector {
  readonly hex: string;
  readonly roundtrip?: boolean;
  readonly diagnostic?: string;
  readonly decoded?: unknown;
  readonly notes?: string;
}

/** Rules of dCBOR that core deterministic encoding does not have. */
const DCBOR_ONLY = /^Can be reduced to|65-bit negative|Unsupported simple|not normalized with NFC/;

const sets = {
  'appendix_a_even.json': (v: Vector) => {
    const value = decode(fromHex(v.hex), { strict: false, keepFloats: true });
    if (v.diagnostic !== undefined) expect(diagnose(value)).toBe(v.diagnostic);
    else if (typeof v.decoded === 'number') expect(Number(diagnose(value))).toBe(v.decoded);
    expect(toHex(encode(value)) === v.hex).toBe(v.roundtrip);
    if (v.roundtrip)
      expect(diagnose(decode(fromHex(v.hex), { keepFloats: true }))).toBe(diagnose(value));
    else expect(() => decode(fromHex(v.hex))).toThrow();
  },
  'not_well_formed_even.json': (v: Vector) => {
    for (const strict of [true, false]) {
      expect(() => decode(fromHex(v.hex), { strict })).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^ERR_CBOR_/) }),
      );
    }
  },
  'dcbor_valid_even.json': (v: Vector) => {
    expect(toHex(encode(decode(fromHex(v.hex), { keepFloats: true })))).toBe(v.hex);
  },
  'dcbor_invalid_even.json': (v: Vector) => {
    const dcborOnly = DCBOR_ONLY.test(v.notes ?? '') && !/_\d/.test(v.diagnostic ?? '');
    if (dcborOnly) expect(toHex(encode(decode(fromHex(v.hex), { keepFloats: true })))).toBe(v.hex);
    else expect(() => decode(fromHex(v.hex))).toThrow();
  },
} as const;

describe.each(Object.entries(sets))('shared set %s', (file, check) => {
  const list = sharedVectors<Vector[]>(`cbor/${file}`);
  (list ? test.each(list) : test.skip.each([{ hex: 'not present' }]))('$hex', check);
});
