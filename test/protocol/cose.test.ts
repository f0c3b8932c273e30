import { createPrivateKey, createPublicKey, type KeyLike } from 'node:crypto';
import { Sign1 as OracleSign1 } from '@auth0/cose';
import { concatBytes, fromHex, toHex } from '@fieldproof/protocol/bytes';
import { type CborValue, decode, encode, Float, Tagged } from '@fieldproof/protocol/cbor';
import {
  type DecodeSign1Options,
  decodeSign1,
  encodeSign1,
  sigStructure,
  verifySign1,
} from '@fieldproof/protocol/cose';
import * as reference from '@fieldproof/protocol/ed25519';
import * as node from '@fieldproof/protocol/ed25519-node';
import { describe, expect, test } from '@jest/globals';
import { vectors } from './vectors.ts';

interface OwnVectors {
  readonly public_key_hex: string;
  readonly payload_hex: string;
  readonly sig_structure_ok_basic_hex: string;
  readonly cases: readonly {
    readonly name: string;
    readonly valid: boolean | null;
    readonly cose_hex: string;
    readonly external_aad_hex: string;
    readonly detached_payload_hex?: string;
  }[];
}
interface Example {
  readonly input: {
    readonly sign0?: { readonly key: { readonly x_hex?: string }; readonly external?: string };
  };
  readonly intermediates: { readonly ToBeSign_hex?: string };
  readonly output: { readonly cbor: string };
}

const paths = { reference: reference.verify, node: node.verify };
const none = new Uint8Array(0);
const seed = new Uint8Array(32).fill(9);
const publicKey = reference.publicKeyFromSeed(seed);
const payload = new TextEncoder().encode('23.5');

describe.each(Object.entries(paths))('own vectors, Ed25519 by %s', (_, verify) => {
  describe.each(['own_sign1_eddsa_shared-1.json', 'own_sign1_eddsa_shared-22.json'])(
    '%s',
    (file) => {
      const set = vectors<OwnVectors>(`cose/${file}`);
      const check = (c: OwnVectors['cases'][number], options: DecodeSign1Options = {}) =>
        verifySign1(fromHex(c.cose_hex), {
          publicKey: fromHex(set.public_key_hex),
          externalAad: fromHex(c.external_aad_hex),
          verify,
          ...options,
        });

      test.each(set.cases.filter((c) => c.valid === true))('$name verifies', (c) => {
        const { payload: signed } = check(c);
        expect(toHex(signed)).toBe(set.payload_hex);
        expect(check(c, { strict: true, tag: 'required' }).verified).toBe(true);
      });

      test.each(set.cases.filter((c) => c.valid === false))('$name is refused', (c) => {
        expect(() => check(c)).toThrow(
          expect.objectContaining({ code: expect.stringMatching(/^ERR_(COSE|CBOR|SIGNATURE)_/) }),
        );
      });

      // The cases that the vectors leave to a profile: what is taken by default, and which option turns it round.
      const decisions: Record<string, { byDefault: boolean; otherwise: DecodeSign1Options }> = {
        untagged: { byDefault: true, otherwise: { tag: 'required' } },
        detached: { byDefault: false, otherwise: { detachedPayload: fromHex(set.payload_hex) } },
        'indefinite-array': { byDefault: true, otherwise: { strict: true } },
        'nonminimal-protected': { byDefault: true, otherwise: { strict: true } },
      };
      test.each(set.cases.filter((c) => c.valid === null))('$name is decided', (c) => {
        const { byDefault, otherwise } = decisions[c.name]!;
        const [taken, refused] = byDefault ? [{}, otherwise] : [otherwise, {}];
        expect(toHex(check(c, taken).payload)).toBe(set.payload_hex);
        expect(() => check(c, refused)).toThrow(
          expect.objectContaining({
            code: expect.stringMatching(/^ERR_(COSE_MALFORMED|CBOR_NOT)/),
          }),
        );
      });

      test('the Sig_structure is the published one', () => {
        const { protectedBytes } = decodeSign1(fromHex(set.cases[0]!.cose_hex));
        expect(toHex(sigStructure(protectedBytes, none, fromHex(set.payload_hex)))).toBe(
          set.sig_structure_ok_basic_hex,
        );
      });
    },
  );

  test('the COSE working group’s Ed25519 example verifies', () => {
    const example = vectors<Example>('cose/eddsa-examples/eddsa-sig-01.json');
    const message = verifySign1(fromHex(example.output.cbor), {
      publicKey: fromHex(example.input.sign0!.key.x_hex!),
      externalAad: none,
      verify,
    });
    expect(new TextDecoder().decode(message.payload)).toBe('This is the content.');
    expect(message.algorithm).toBe(-8);
    expect(toHex(sigStructure(message.protectedBytes, none, message.payload)).toUpperCase()).toBe(
      example.intermediates.ToBeSign_hex,
    );
  });
});

describe('examples of other kinds are refused with a code', () => {
  test.each([
    ['eddsa-examples/eddsa-01', 'ERR_COSE_MALFORMED'],
    ['sign1-tests/sign-fail-01', 'ERR_COSE_MALFORMED'],
    ['sign1-tests/sign-fail-02', 'ERR_COSE_ALGORITHM'],
    ['sign1-tests/sign-fail-03', 'ERR_COSE_ALGORITHM'],
    ['sign1-tests/sign-pass-01', 'ERR_COSE_ALGORITHM'],
    ['sign1-tests/sign-pass-02', 'ERR_COSE_ALGORITHM'],
  ])('%s: %s', (file, code) => {
    const bytes = fromHex(vectors<Example>(`cose/${file}.json`).output.cbor);
    expect(() => check(bytes)).toThrow(expect.objectContaining({ code }));
  });

  test('an Ed448 signature is refused for its length', () => {
    const message = new Tagged(18, [fromHex('a10127'), new Map(), payload, new Uint8Array(114)]);
    expect(() => check(encode(message))).toThrow('signature: expected 64 bytes (Ed25519), got 114');
  });

  test.each(['sign-pass-01', 'sign-pass-02'])('%s: what ES256 signed is rebuilt', (file) => {
    const example = vectors<Example>(`cose/sign1-tests/${file}.json`);
    const message = decodeSign1(fromHex(example.output.cbor));
    const aad = fromHex(example.input.sign0!.external ?? '');
    expect(toHex(sigStructure(message.protectedBytes, aad, message.payload)).toUpperCase()).toBe(
      example.intermediates.ToBeSign_hex,
    );
  });
});

describe('headers', () => {
  const refused = (
    protectedHeader: [CborValue, CborValue][],
    unprotectedHeader: [CborValue, CborValue][] = [],
  ) => {
    const protectedBytes = encode(new Map(protectedHeader));
    const signature = reference.sign(sigStructure(protectedBytes, none, payload), seed);
    const parts = [protectedBytes, new Map(unprotectedHeader), payload, signature];
    return expect(() => check(encode(new Tagged(18, parts))));
  };

  test('crit with only understood labels that are there is taken', () => {
    const protectedHeader = new Map<CborValue, CborValue>([
      [1, -19],
      [2, [3, 'x', -65537]],
      [3, 112],
      ['x', null],
      [-65537, []],
    ]);
    const bytes = make(protectedHeader);
    expect(() => check(bytes)).toThrow('crit: label x is not understood');
    const options = { publicKey, externalAad: none, verify: node.verify };
    expect(verifySign1(bytes, { ...options, understood: ['x', -65537] }).verified).toBe(true);
  });
  test('crit that is empty, no array, outside or of other labels is refused', () => {
    refused([
      [1, -19],
      [2, []],
    ]).toThrow('crit: expected an array of at least one label');
    refused([
      [1, -19],
      [2, 3],
      [3, 112],
    ]).toThrow('crit: expected an array');
    refused([
      [1, -19],
      [2, [[3]]],
      [3, 112],
    ]).toThrow('crit: expected integer or text labels');
    refused([
      [1, -19],
      [2, [4]],
    ]).toThrow('crit: label 4 is not in the protected header');
    refused([[1, -19]], [[2, [1]]]).toThrow('crit: expected in the protected header');
  });
  test('a label in both headers is refused', () => {
    refused(
      [
        [1, -19],
        [4, payload],
      ],
      [[4, payload]],
    ).toThrow('headers: label 4 is in both');
    refused([[1, -19]], [[1, -19]]).toThrow('headers: label 1 is in both');
  });
  test('alg of another type, value or place is refused', () => {
    refused([[1, new Float(-8)]]).toThrow('protected header: expected an integer or text as alg');
    refused([[1, 'EdDSA']]).toThrow('got EdDSA');
    refused([[1, -7]]).toThrow('alg: expected -19 or -8 in the protected header, got -7');
    refused([], [[1, -19]]).toThrow('alg: expected -19 or -8 in the protected header, got none');
  });
  test('labels, kid and content type of other types are refused', () => {
    refused([
      [1, -19],
      [payload, 1],
    ]).toThrow('expected integer or text labels');
    refused([
      [1, -19],
      [4, 'did:key:z6Mk'],
    ]).toThrow('expected a byte string as kid');
    refused([[1, -19]], [[4, 1]]).toThrow('unprotected header: expected a byte string as kid');
    refused([
      [1, -19],
      [3, -1],
    ]).toThrow('expected an unsigned integer or text as content type');
  });
});

describe('encodeSign1', () => {
  const protectedHeader = new Map<CborValue, CborValue>([
    [1, -19],
    [4, reference.kidOf(publicKey)],
  ]);

  test('gives a deterministic, tagged message that verifies', () => {
    const bytes = make(protectedHeader);
    expect(encode(decode(bytes))).toEqual(bytes);
    const message = check(bytes, { strict: true, tag: 'required' });
    expect(message.protectedHeader).toEqual(protectedHeader);
    expect(message.payload).toEqual(payload);
    expect(message.algorithm).toBe(-19);
  });
  test('signs the external_aad', () => {
    const bytes = make(protectedHeader, { externalAad: encode(['net', 'telemetry']) });
    const options = { publicKey, verify: node.verify };
    expect(
      verifySign1(bytes, { ...options, externalAad: encode(['net', 'telemetry']) }).verified,
    ).toBe(true);
    for (const externalAad of [none, encode(['net', 'event'])]) {
      expect(() => verifySign1(bytes, { ...options, externalAad })).toThrow(
        expect.objectContaining({ code: 'ERR_SIGNATURE_INVALID' }),
      );
    }
    expect(() => verifySign1(bytes, { ...options, externalAad: undefined as never })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
  });
  test('leaves a detached payload out, and the verifier needs it', () => {
    const bytes = make(protectedHeader, { detached: true });
    expect(() => check(bytes)).toThrow('got nil (detached)');
    expect(check(bytes, { detachedPayload: payload }).payload).toEqual(payload);
    expect(() => check(bytes, { detachedPayload: none })).toThrow('does not verify');
    expect(() => check(make(protectedHeader), { detachedPayload: payload })).toThrow(
      'expected nil',
    );
  });
  test('refuses headers that its own verifier would refuse', () => {
    expect(() => make(new Map([[1, -7]]))).toThrow(
      expect.objectContaining({ code: 'ERR_COSE_ALGORITHM' }),
    );
    expect(() => make(new Map([[4, 1]]))).toThrow(
      expect.objectContaining({ code: 'ERR_COSE_MALFORMED' }),
    );
    expect(() => make(protectedHeader, { sign: () => none })).toThrow('expected 64 bytes, got 0');
  });
});

describe('a small message, corrupted', () => {
  const good = make(
    new Map<CborValue, CborValue>([
      [1, -19],
      [3, 60],
    ]),
  );

  test('every flipped bit is refused', () => {
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = Uint8Array.from(good);
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => check(bad)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^ERR_(COSE|CBOR|SIGNATURE)_/) }),
      );
    }
  });
  test('every truncation and every trailing byte is refused', () => {
    for (let length = 0; length < good.length; length++) {
      expect(() => check(good.subarray(0, length))).toThrow();
    }
    for (let byte = 0; byte < 256; byte++) {
      expect(() => check(concatBytes(good, Uint8Array.of(byte)))).toThrow();
    }
  });
  test('another key is refused, and a bad one by its own code', () => {
    const options = { externalAad: none, verify: node.verify };
    const other = reference.publicKeyFromSeed(new Uint8Array(32));
    expect(() => verifySign1(good, { ...options, publicKey: other })).toThrow('does not verify');
    expect(() => verifySign1(good, { ...options, publicKey: none })).toThrow(
      expect.objectContaining({ code: 'ERR_KEY_INVALID' }),
    );
  });
  test('a message longer than maxBytes is refused before it is read', () => {
    expect(check(good, { maxBytes: good.length }).verified).toBe(true);
    expect(() => check(good, { maxBytes: good.length - 1 })).toThrow(
      expect.objectContaining({ code: 'ERR_CBOR_LIMIT' }),
    );
  });
});

describe('against @auth0/cose', () => {
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  });

  test('it verifies ours', async () => {
    const bytes = make(
      new Map<CborValue, CborValue>([
        [1, -8],
        [3, 112],
      ]),
    );
    const message = OracleSign1.decode(bytes);
    await message.verify(createPublicKey(key) as KeyLike as never);
    expect(toHex(message.payload)).toBe(toHex(payload));
  });
  test('we verify its', async () => {
    const message = await OracleSign1.sign(
      [[1, -8]] as never,
      [[4, payload]] as never,
      payload,
      key as never,
    );
    expect(check(Uint8Array.from(message.encode())).payload).toEqual(payload);
  });
});

function make(
  protectedHeader: ReadonlyMap<CborValue, CborValue>,
  options: Partial<Parameters<typeof encodeSign1>[0]> = {},
): Uint8Array {
  return encodeSign1({
    protectedHeader,
    payload,
    externalAad: none,
    sign: (message) => node.sign(message, seed),
    ...options,
  });
}

function check(bytes: Uint8Array, options: DecodeSign1Options = {}) {
  return verifySign1(bytes, { publicKey, externalAad: none, verify: node.verify, ...options });
}
