import { decodeBase64, encodeBase64 } from '@fieldproof/protocol/base64';
import {
  COSIGNATURE,
  formatVerifierKey,
  NOTE_SIGNATURE,
  noteVerifier,
  parseVerifierKey,
} from '@fieldproof/protocol/note-key';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const PETER = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const SUMDB = 'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8';
const noteMalformed = expect.objectContaining({ code: 'ERR_NOTE_MALFORMED' });
const argumentError = expect.objectContaining({ code: 'ERR_ARGUMENT' });

describe('verifier keys', () => {
  test.each([
    [PETER, 'PeterNeumann', 0xc74f20a3],
    [SUMDB, 'sum.golang.org', 0x033de0ae],
  ])('the published key %s has its name and key id', (text, name, keyId) => {
    const verifier = parseVerifierKey(text);
    expect(verifier).toMatchObject({ name, keyId, type: NOTE_SIGNATURE });
    expect(formatVerifierKey(verifier)).toBe(text);
    expect(noteVerifier(name, verifier.publicKey).keyId).toBe(keyId);
  });

  test('of a witness have type 4 and another key id for the same key', () => {
    const { publicKey, keyId } = parseVerifierKey(PETER);
    const witness = noteVerifier('PeterNeumann', publicKey, COSIGNATURE);
    expect(witness.keyId).not.toBe(keyId);
    expect(parseVerifierKey(formatVerifierKey(witness))).toEqual(witness);
  });

  test('survive their text', () => {
    const keys = fc.tuple(
      fc.webPath().map((path) => `log.example${path.replaceAll('+', '')}`),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.constantFrom(NOTE_SIGNATURE, COSIGNATURE),
    );
    fc.assert(
      fc.property(keys, ([name, publicKey, type]) => {
        const verifier = noteVerifier(name, publicKey, type);
        expect(parseVerifierKey(formatVerifierKey(verifier))).toEqual(verifier);
      }),
    );
  });

  test.each([
    '',
    'PeterNeumann',
    'PeterNeumann+c74f20a3',
    PETER.replace('PeterNeumann', ''),
    PETER.replace('PeterNeumann', 'Peter Neumann'),
    PETER.replace('PeterNeumann', 'Peter\u00a0Neumann'),
    PETER.replace('PeterNeumann', 'PeterNeumanm'),
    PETER.replace('c74f20a3', 'c74f20a4'),
    PETER.replace('c74f20a3', 'c74f20'),
    PETER.replace('c74f20a3', '0xc74f20'),
    PETER.replace('ARpc', 'BRpc'),
    PETER.replace('ARpc', 'AR pc'),
    PETER.replace('10TW', '10TX'),
    `${PETER}=`,
    `${PETER}\n`,
    ` ${PETER}`,
    PETER.slice(0, -4),
    PETER.slice(0, -1),
    `${PETER}AAAA`,
    'PeterNeumann+c74f20a3+',
  ])('%p is refused', (text) => {
    expect(() => parseVerifierKey(text)).toThrow(noteMalformed);
  });

  test.each(['', 'a b', 'a+b', 'a\nb', 'a\tb', 'a\u2003b', 'a\u0085b', 'a\u0000', '\ud800'])(
    'a key cannot be named %p',
    (name) => {
      expect(() => noteVerifier(name, new Uint8Array(32))).toThrow(argumentError);
    },
  );

  test('a key of another length is refused', () => {
    expect(() => noteVerifier('a', new Uint8Array(31))).toThrow(argumentError);
  });
});

describe('base64', () => {
  test('agrees with another implementation and survives', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const text = encodeBase64(bytes);
        expect(text).toBe(Buffer.from(bytes).toString('base64'));
        expect(decodeBase64(text)).toEqual(bytes);
      }),
    );
  });

  test.each([
    'A',
    'AA',
    'AAA',
    'AB==',
    'AAB=',
    'AA=A',
    '====',
    'AAAA=',
    'AA==AA==',
    'AA-_',
    'AA AA',
    'AAAA\n',
    'é===',
  ])('%p is refused', (text) => expect(decodeBase64(text)).toBeUndefined());
});
