import { readFileSync } from 'node:fs';
import { fromHex } from '@fieldproof/protocol/bytes';
import { encode, Float, Tagged } from '@fieldproof/protocol/cbor';
import { type ResolvedRecord, resolve } from '@fieldproof/protocol/senml';
import { decodeSenmlCbor, encodeSenmlCbor } from '@fieldproof/protocol/senml-cbor';
import type { SenmlPack } from '@fieldproof/protocol/senml-fields';
import {
  formatSenmlJson,
  parseSenmlJson,
  senmlFromJson,
  senmlNumber,
} from '@fieldproof/protocol/senml-json';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

interface Example {
  readonly example: string;
  readonly about: string;
  readonly pack: unknown;
  readonly resolved: readonly Record<string, unknown>[];
  readonly cbor_hex?: string;
}
interface Case {
  readonly name: string;
  readonly pack: unknown;
  readonly valid: boolean | null;
  readonly resolved?: readonly Record<string, unknown>[];
}

const vectors = (file: string) =>
  JSON.parse(readFileSync(new URL(`../vectors/senml/${file}`, import.meta.url), 'utf8'));
const examples: Example[] = vectors('rfc8428_examples.json');
const validity: { cases: Case[]; json_text: { text: string; valid: boolean | null }[] } =
  vectors('own_validity.json');

/** The instants at which the original tool resolved the examples. */
const TOOL_NOWS = [1498780179, 1499109309];

/** What we decide where RFC 8428 leaves room (`valid: null`), by name of the case. */
const DECISIONS: Record<string, boolean> = {
  // 4.5.4: a missing value counts as zero where a base value is in force, so it is the base value.
  'bv-missing-v': true,
  // 4.3: "with padding omitted".
  'vd-padded': false,
};

/** RFC 8259 8.1 lets a parser refuse a byte order mark; we do. */
const BYTE_ORDER_MARK_TEXT_IS_VALID = false;

const accepts = (run: () => unknown): boolean => {
  try {
    run();
    return true;
  } catch (error) {
    expect((error as { code: string }).code).toMatch(/^ERR_(SENML|CBOR)_/);
    return false;
  }
};

describe('the examples of RFC 8428', () => {
  test.each(examples.map((e) => [`${e.example} (${e.about})`, e] as const))(
    '%s resolve as published',
    (_, { example, pack, resolved }) => {
      const records = resolve(senmlFromJson(pack));
      // The original tool dropped the data record of example 7.
      const shown = example === 'ex7' ? records.filter(({ vd }) => vd === undefined) : records;
      expect(records).toHaveLength(example === 'ex7' ? 4 : resolved.length);
      const expected = resolved.map(({ t, ...rest }) =>
        TOOL_NOWS.includes(t as number) ? rest : { ...rest, t },
      );
      // Example 3 is published in the pack's order; resolved records are in chronological order (4.6).
      expected.sort((a, b) => Number('t' in a ? a.t : 0) - Number('t' in b ? b.t : 0));
      expect(shown).toEqual(expected);
    },
  );

  test.each(examples.filter(({ cbor_hex }) => cbor_hex).map((e) => [e.example, e] as const))(
    '%s decodes from its CBOR bytes',
    (_, { pack, cbor_hex }) => {
      const decoded = decodeSenmlCbor(fromHex(cbor_hex!));
      // The generator wrote the missing time of the last record as 0.
      const shown = JSON.parse(formatSenmlJson(decoded)) as Record<string, unknown>[];
      expect(
        shown.map(({ t, ...rest }) =>
          t === 0 ? rest : { ...rest, ...(t === undefined ? {} : { t }) },
        ),
      ).toEqual(pack);
      expect(resolve(decoded)).toEqual(resolve(senmlFromJson(pack)));
    },
  );

  test.each(examples.map((e) => [e.example, e] as const))(
    '%s survives JSON, CBOR and back',
    (_, { pack }) => {
      const parsed = senmlFromJson(pack);
      expect(parseSenmlJson(formatSenmlJson(parsed))).toEqual(parsed);
      expect(decodeSenmlCbor(encodeSenmlCbor(parsed), { strict: true })).toEqual(parsed);
    },
  );
});

describe('validity read off the text of RFC 8428', () => {
  test.each(validity.cases.map((c) => [c.name, c] as const))(
    '%s',
    (name, { pack, valid, resolved }) => {
      let records: ResolvedRecord[] | undefined;
      const ok = accepts(() => {
        records = resolve(senmlFromJson(pack));
      });
      expect(ok).toBe(valid ?? DECISIONS[name]);
      if (resolved) expect(records).toEqual(resolved);
    },
  );

  test('decides every case that the RFC leaves open', () => {
    const open = validity.cases.filter(({ valid }) => valid === null).map(({ name }) => name);
    expect(Object.keys(DECISIONS)).toEqual(expect.arrayContaining(open));
  });

  test.each(validity.json_text.map((c) => [JSON.stringify(c.text), c] as const))(
    'the text %s',
    (_, { text, valid }) => {
      expect(accepts(() => resolve(parseSenmlJson(text)))).toBe(
        valid ?? BYTE_ORDER_MARK_TEXT_IS_VALID,
      );
    },
  );
});

describe('resolving a pack', () => {
  const json = (...records: unknown[]) => resolve(senmlFromJson(records));

  test('adds base value and value as decimals', () => {
    expect(json({ bn: 'a', bv: 21, v: 0.53 })[0]!.v).toBe(21.53);
    expect(json({ bn: 'a', bv: 0.1, v: 0.2 })[0]!.v).toBe(0.3);
  });

  test('adds floats of CBOR as doubles', () => {
    const bytes = encode([
      new Map<number, Float | string>([
        [0, 'a'],
        [2, new Float(0.2)],
        [-5, new Float(0.1)],
      ]),
    ]);
    expect(resolve(decodeSenmlCbor(bytes))[0]!.v).toBe(0.1 + 0.2);
  });

  test('gives a record without value the base value in force, and its first record nothing', () => {
    expect(json({ bn: 'a', bt: 1.7e9, bv: 20, bu: 'Cel' }, { t: 1 })).toEqual([
      { n: 'a', u: 'Cel', t: 1.7e9 + 1, v: 20 },
    ]);
  });

  test('gives no base value to a record with another kind of value or only a sum', () => {
    expect(json({ bn: 'a', bv: 20 }, { vs: 'x' }, { vb: true }, { s: 3 })).toEqual([
      { n: 'a', vs: 'x' },
      { n: 'a', vb: true },
      { n: 'a', s: 3 },
    ]);
  });

  test('gives every record the base sum', () => {
    expect(json({ bn: 'a', bs: 7 }, { v: 1 }, { t: 2 })).toEqual([
      { n: 'a', v: 1, s: 7 },
      { n: 'a', t: 2, s: 7 },
    ]);
  });

  test('keeps relative times, or adds them to now', () => {
    const pack = senmlFromJson([
      { n: 'a', v: 1, t: -5 },
      { n: 'a', v: 2 },
      { n: 'a', v: 3, t: 1.7e9 },
    ]);
    expect(resolve(pack, { order: 'pack' }).map(({ t }) => t)).toEqual([-5, undefined, 1.7e9]);
    expect(resolve(pack, { now: 1.8e9, order: 'pack' }).map(({ t }) => t)).toEqual([
      1.8e9 - 5,
      1.8e9,
      1.7e9,
    ]);
    expect(resolve(pack, { now: 1.8e9 }).map(({ v }) => v)).toEqual([3, 1, 2]);
  });

  test('takes 2^28 as absolute and the second before as relative', () => {
    const pack = senmlFromJson([
      { n: 'a', v: 1, t: 2 ** 28 },
      { n: 'a', v: 2, t: 2 ** 28 - 1 },
    ]);
    expect(resolve(pack, { now: 1e9, order: 'pack' }).map(({ t }) => t)).toEqual([
      2 ** 28,
      1e9 + 2 ** 28 - 1,
    ]);
  });

  test('lets a record take back the base unit with an empty one', () => {
    expect(json({ bn: 'a', bu: 'Cel', v: 1 }, { u: '', v: 2 }, { v: 3 }).map(({ u }) => u)).toEqual(
      ['Cel', undefined, 'Cel'],
    );
  });

  test.each([
    ['an empty pack', []],
    ['a record without fields', [{ n: 'a', v: 1 }, {}]],
    ['a record of unknown fields only', [{ foo: 1 }]],
    ['no value and no sum', [{ n: 'a', t: 1 }]],
    ['two values', [{ n: 'a', v: 1, vs: 'x' }]],
    ['no name', [{ v: 1 }]],
    ['a name that starts with a dash', [{ n: '-a', v: 1 }]],
    ['a name with a letter beyond ASCII', [{ n: 'ä', v: 1 }]],
    ['a label that must be understood', [{ n: 'a', v: 1, next_: 1 }]],
    ['version 11', [{ bver: 11, n: 'a', v: 1 }]],
    ['version 0', [{ bver: 0, n: 'a', v: 1 }]],
    ['a fractional version', [{ bver: 9.5, n: 'a', v: 1 }]],
    [
      'versions that differ',
      [
        { bver: 5, n: 'a', v: 1 },
        { bver: 6, n: 'a', v: 1 },
      ],
    ],
    [
      'a version stated late that is not the default',
      [
        { n: 'a', v: 1 },
        { bver: 5, n: 'a', v: 1 },
      ],
    ],
    ['null as a name', [{ n: null, v: 1 }]],
    ['a number as a base name', [{ bn: 1, n: 'a', v: 1 }]],
    ['a text as a base time', [{ bt: '1', n: 'a', v: 1 }]],
    ['a number as a boolean', [{ n: 'a', vb: 1 }]],
    ['base64 of the other alphabet', [{ n: 'a', vd: 'ab+/' }]],
    ['base64url with stray bits', [{ n: 'a', vd: 'aGkgCh' }]],
    ['an update time that is no number', [{ n: 'a', v: 1, ut: '1' }]],
    ['a sum that overflows', [{ n: 'a', bv: 1.7e308, v: 1.7e308 }]],
    ['null', null],
    ['a record that is null', [null]],
  ])('refuses %s', (_, pack) => {
    expect(accepts(() => resolve(senmlFromJson(pack)))).toBe(false);
  });

  test('refuses numbers beyond the doubles in JSON', () => {
    expect(accepts(() => parseSenmlJson('[{"n":"a","v":1e999}]'))).toBe(false);
  });
});

describe('SenML in CBOR', () => {
  const one = (...entries: [unknown, unknown][]) => encode([new Map(entries)] as never);

  test('takes integers, decimal fractions and floats', () => {
    const values = [21, -3, new Tagged(4, [-2, 2153]), new Float(1.5), 2n ** 60n];
    expect(values.map((v) => resolve(decodeSenmlCbor(one([0, 'a'], [2, v])))[0]!.v)).toEqual([
      21,
      -3,
      21.53,
      1.5,
      2 ** 60,
    ]);
  });

  test.each([
    ['a bignum', 2n ** 80n],
    ['a bigfloat', new Tagged(5, [1, 2])],
    ['an exponent beyond 18', new Tagged(4, [-19, 1])],
    ['three parts in a decimal fraction', new Tagged(4, [1, 2, 3])],
    ['a float mantissa', new Tagged(4, [1, new Float(2)])],
    ['NaN', new Float(Number.NaN)],
    ['a text', '1'],
    ['null', null],
  ])('refuses %s as a value', (_, value) => {
    expect(accepts(() => decodeSenmlCbor(one([0, 'a'], [2, value])))).toBe(false);
  });

  test('takes unknown labels, texts or integers, and refuses those that must be understood', () => {
    expect(accepts(() => decodeSenmlCbor(one([0, 'a'], [2, 1], ['foo', [1, 2]], [99, 1])))).toBe(
      true,
    );
    expect(accepts(() => decodeSenmlCbor(one([0, 'a'], [2, 1], ['foo_', 1])))).toBe(false);
  });

  test('refuses known labels as text and labels of other types', () => {
    expect(accepts(() => decodeSenmlCbor(one([0, 'a'], [2, 1], ['vs', 'x'])))).toBe(false);
    expect(accepts(() => decodeSenmlCbor(one([0, 'a'], [2, 1], [new Float(1.5), 'x'])))).toBe(
      false,
    );
  });

  test('takes other orders and lengths unless strict', () => {
    const loose = fromHex('9fbf02010061 61ffff'.replace(' ', ''));
    expect(resolve(decodeSenmlCbor(loose))).toEqual([{ n: 'a', v: 1 }]);
    expect(accepts(() => decodeSenmlCbor(loose, { strict: true }))).toBe(false);
  });
});

describe('numbers to write', () => {
  test('mean the same double in JSON and in CBOR', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (x) => {
        const pack: SenmlPack = [{ n: 'a', v: senmlNumber(x) }];
        expect(resolve(parseSenmlJson(formatSenmlJson(pack)))[0]!.v).toBe(x);
        expect(resolve(decodeSenmlCbor(encodeSenmlCbor(pack)))[0]!.v).toBe(x);
      }),
      { numRuns: 1000 },
    );
  });
});
