import { verify as portableVerify } from '@fieldproof/protocol/ed25519';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { COSIGNATURE, noteVerifier, parseVerifierKey } from '@fieldproof/protocol/note-key';
import {
  formatNote,
  formatSignatureLine,
  MAX_NOTE_BYTES,
  MAX_NOTE_SIGNATURES,
  parseNote,
  signNote,
  verifyNote,
} from '@fieldproof/protocol/signed-note';
import { describe, expect, test } from '@jest/globals';
import { signerOf } from './note-signer.ts';

const PETER = parseVerifierKey(
  'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
);
const TEXT =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const LINE =
  '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';
const NOTE = `${TEXT}\n${LINE}`;
const POEM =
  'Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n';
const POEM_LINE =
  '— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n';

const noteMalformed = expect.objectContaining({ code: 'ERR_NOTE_MALFORMED' });
const signatureInvalid = expect.objectContaining({ code: 'ERR_SIGNATURE_INVALID' });
const argumentError = expect.objectContaining({ code: 'ERR_ARGUMENT' });
const utf8 = (text: string) => new TextEncoder().encode(text);
const open = (note: string | Uint8Array) => verifyNote(note, [PETER], verify);

describe('published notes', () => {
  test('the note of the Go package verifies, as text and as bytes', () => {
    const verified = { text: TEXT, signatures: [{ verifier: PETER }] };
    expect(open(NOTE)).toEqual(verified);
    expect(open(utf8(NOTE))).toEqual(verified);
    expect(verifyNote(NOTE, [PETER], portableVerify)).toEqual(verified);
  });

  test('the poem of the specification splits at its last empty line', () => {
    const note = parseNote(`${POEM}\n${POEM_LINE}`);
    expect(note.text).toBe(POEM);
    expect(note.signatures).toMatchObject([
      { name: 'quasimodo.example/salvatore', keyId: 0x367ba04b },
    ]);
    expect(formatNote(note)).toBe(`${POEM}\n${POEM_LINE}`);
  });
});

describe('verification', () => {
  const alice = signerOf('alice.example', 1);
  const bob = signerOf('bob.example', 2);
  const note = signNote('hello\n', [alice, bob]);

  test('names the known keys that signed and ignores the others', () => {
    const both = verifyNote(note, [bob.verifier, alice.verifier], verify);
    expect(both.signatures.map(({ verifier }) => verifier.name)).toEqual([
      'alice.example',
      'bob.example',
    ]);
    const one = verifyNote(note, [bob.verifier], verify);
    expect(one.signatures).toEqual([{ verifier: bob.verifier }]);
  });

  test('refuses a note that no known key signed', () => {
    expect(() => verifyNote(note, [PETER], verify)).toThrow(signatureInvalid);
    expect(() => verifyNote(note, [], verify)).toThrow(signatureInvalid);
  });

  test('ignores a signature that shares only the name or only the key id with a known key', () => {
    const signature = new Uint8Array(64);
    const { name, keyId } = alice.verifier;
    for (const line of [
      { name, keyId: keyId ^ 1 },
      { name: 'mallory', keyId },
    ]) {
      const mixed = note + formatSignatureLine({ ...line, signature });
      expect(verifyNote(mixed, [alice.verifier], verify).signatures).toHaveLength(1);
    }
  });

  test('refuses the whole note when one known key has a bad signature', () => {
    const { name, keyId } = alice.verifier;
    for (const signature of [new Uint8Array(64), new Uint8Array(63), new Uint8Array(72)]) {
      const bad = signNote('hello\n', [bob]) + formatSignatureLine({ name, keyId, signature });
      expect(() => verifyNote(bad, [alice.verifier, bob.verifier], verify)).toThrow(
        signatureInvalid,
      );
      // Also behind a good signature of the same key.
      const behind = note + formatSignatureLine({ name, keyId, signature });
      expect(() => verifyNote(behind, [alice.verifier], verify)).toThrow(signatureInvalid);
    }
  });

  test('counts a key once, however often its line is repeated', () => {
    const repeated = note + note.slice(note.indexOf('—'));
    expect(verifyNote(repeated, [alice.verifier, bob.verifier], verify).signatures).toHaveLength(2);
  });

  test('refuses two verifiers of one name and key id', () => {
    expect(() => verifyNote(NOTE, [PETER, { ...PETER }], verify)).toThrow(argumentError);
  });

  test('a key of one type does not verify the signature of the other', () => {
    const witness = noteVerifier('alice.example', alice.verifier.publicKey, COSIGNATURE);
    const { signature } = parseNote(note).signatures[0]!;
    for (const bytes of [signature, new Uint8Array([...new Uint8Array(8), ...signature])]) {
      const line = formatSignatureLine({
        name: witness.name,
        keyId: witness.keyId,
        signature: bytes,
      });
      expect(() => verifyNote(`hello\n\n${line}`, [witness], verify)).toThrow(signatureInvalid);
    }
    expect(() => signNote('hello\n', [{ ...alice, verifier: witness }])).toThrow(argumentError);
  });

  test('no single changed bit of a note is accepted', () => {
    const good = utf8(NOTE);
    for (let bit = 0; bit < good.length * 8; bit += 1) {
      const bad = good.slice();
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => open(bad)).toThrow(/^(note|checkpoint): /);
    }
  });

  test('no note cut short is accepted', () => {
    for (let length = 0; length < NOTE.length; length += 1) {
      expect(() => open(NOTE.slice(0, length))).toThrow(noteMalformed);
    }
  });
});

describe('the form of a note', () => {
  test.each<[string, string]>([
    ['nothing', ''],
    ['no signature', `${TEXT}\n`],
    ['no empty line', TEXT + LINE],
    ['only a signature', LINE],
    ['no newline at the end', NOTE.slice(0, -1)],
    ['an empty line at the end', `${NOTE}\n`],
    ['text behind the signatures', `${NOTE}more\n`],
    ['a hyphen for the dash', NOTE.replace('—', '-')],
    ['no space behind the dash', NOTE.replace('— ', '—')],
    ['two spaces', NOTE.replace('— ', '—  ')],
    ['a space behind the signature', NOTE.replace('nAM=', 'nAM= ')],
    ['a name with a plus', NOTE.replace('— Peter', '— Peter+')],
    ['a name with a no-break space', NOTE.replace('— Peter', '— Peter\u00a0')],
    ['no name', NOTE.replace('— PeterNeumann', '—')],
    ['base64 without padding', NOTE.replace('nAM=', 'nAM')],
    ['base64 with unused bits', NOTE.replace('nAM=', 'nAN=')],
    ['base64url', NOTE.replace('go/Z', 'go_Z')],
    ['a key id alone', `${TEXT}\n— PeterNeumann x08gow==\n`],
    ['a carriage return', NOTE.replace(',\n', ',\r\n')],
    ['a tab', NOTE.replace('If you', 'If\tyou')],
    ['a zero', NOTE.replace('If you', 'If\0you')],
    ['half a surrogate pair', NOTE.replace('If you', 'If \ud800')],
  ])('is refused with %s', (_, note) => {
    expect(() => parseNote(note)).toThrow(noteMalformed);
  });

  test('is refused when it is not UTF-8', () => {
    const bytes = utf8(NOTE);
    bytes[3] = 0xff;
    expect(() => parseNote(bytes)).toThrow(noteMalformed);
  });

  test('keeps a byte order mark as part of the text', () => {
    expect(parseNote(utf8(`\ufeff${NOTE}`)).text).toBe(`\ufeff${TEXT}`);
    expect(() => open(utf8(`\ufeff${NOTE}`))).toThrow(signatureInvalid);
  });

  test('allows 16 signatures of 5,000 bytes, and has limits', () => {
    const line = (size: number) =>
      formatSignatureLine({ name: 'pq.example', keyId: 1, signature: new Uint8Array(size) });
    expect(parseNote(`text\n\n${line(5000).repeat(16)}`).signatures).toHaveLength(16);
    expect(parseNote(`text\n\n${line(1).repeat(MAX_NOTE_SIGNATURES)}`).signatures).toHaveLength(
      MAX_NOTE_SIGNATURES,
    );
    expect(() => parseNote(`text\n\n${line(1).repeat(MAX_NOTE_SIGNATURES + 1)}`)).toThrow(
      noteMalformed,
    );
    expect(() => parseNote(`${'x'.repeat(MAX_NOTE_BYTES)}\n\n${LINE}`)).toThrow(noteMalformed);
  });

  test.each(['', 'text', 'te\0xt\n', 'te\txt\n', '\ud800\n'])('text %p is not signed', (text) => {
    expect(() => signNote(text, [signerOf('alice.example', 1)])).toThrow(noteMalformed);
  });

  test('a note needs a signer', () => {
    expect(() => signNote('text\n', [])).toThrow(noteMalformed);
  });

  test('a text may end in empty lines or be one', () => {
    for (const text of ['a\n\n\n', '\n', '\n\n', '\n\na\n']) {
      const alice = signerOf('alice.example', 1);
      expect(verifyNote(signNote(text, [alice]), [alice.verifier], verify).text).toBe(text);
    }
  });
});
