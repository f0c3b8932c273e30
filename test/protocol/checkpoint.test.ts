import {
  type Checkpoint,
  cosignCheckpoint,
  encodeCheckpoint,
  parseCheckpoint,
  signCheckpoint,
  verifyCheckpoint,
} from '@fieldproof/protocol/checkpoint';
import {
  cosignatureMessage,
  decodeCosignature,
  encodeCosignature,
} from '@fieldproof/protocol/cosignature';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { emptyRoot } from '@fieldproof/protocol/merkle';
import { COSIGNATURE, parseVerifierKey } from '@fieldproof/protocol/note-key';
import { formatNote, parseNote, signNote } from '@fieldproof/protocol/signed-note';
import { describe, expect, test } from '@jest/globals';
import { signerOf } from './note-signer.ts';

const SPEC_TEXT =
  'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';
const SPEC_NOTE = `${SPEC_TEXT}
— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
`;
const SUMDB = parseVerifierKey(
  'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8',
);

const noteMalformed = expect.objectContaining({ code: 'ERR_NOTE_MALFORMED' });
const signatureInvalid = expect.objectContaining({ code: 'ERR_SIGNATURE_INVALID' });
const argumentError = expect.objectContaining({ code: 'ERR_ARGUMENT' });

const origin = 'fieldproof/demo/evidence';
const log = signerOf(origin, 1);
const w1 = signerOf('witness.example/w1', 2, COSIGNATURE);
const w2 = signerOf('witness.example/w2', 3, COSIGNATURE);
const keys = {
  origin,
  log: log.verifier,
  witnesses: [w1.verifier, w2.verifier],
  verify,
};
const head: Checkpoint = { origin, size: 0, root: emptyRoot() };

describe('published checkpoints', () => {
  test('the example of the specification is read and written', () => {
    const checkpoint = parseCheckpoint(SPEC_TEXT);
    expect(checkpoint).toMatchObject({ origin: 'example.com/behind-the-sofa', size: 20_852_163 });
    expect(checkpoint).not.toHaveProperty('extensions');
    expect(encodeCheckpoint(checkpoint)).toBe(SPEC_TEXT);
  });

  test('its cosignature has the time and the signed message of the specification', () => {
    const note = parseNote(SPEC_NOTE);
    expect(formatNote(note)).toBe(SPEC_NOTE);
    expect(note.signatures[1]).toMatchObject({ name: 'witness.example.com/w1', keyId: 0x8d66cf3f });
    const cosignature = decodeCosignature(note.signatures[1]!.signature)!;
    expect(cosignature.timestamp).toBe(1_679_315_147);
    expect(encodeCosignature(cosignature)).toEqual(note.signatures[1]!.signature);
    expect(new TextDecoder().decode(cosignatureMessage(note.text, cosignature.timestamp))).toBe(
      `cosignature/v1\ntime 1679315147\n${SPEC_TEXT}`,
    );
  });

  test.each([
    [
      65_209_736,
      '5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=',
      'Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=',
    ],
    [
      6_476_701,
      'mb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=',
      'Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=',
    ],
    [
      3_935_567,
      'SapHtgdNCeF00Cx8kqztePV24kgzNg++Xovae42HAMw=',
      'Az3grsm7Wm4CVNR1RHq9BFnu9jzcRlU2uw7lr0gfUWgO6+rqPNjT+fUTl9gH0NRTgdwW9nItuQSMbhSaLCsk8YeYSAs=',
    ],
  ])('the head of the Go checksum database at %i entries verifies', (size, root, signature) => {
    const note = `go.sum database tree\n${size}\n${root}\n\n— sum.golang.org ${signature}\n`;
    const sumdb = { origin: 'go.sum database tree', log: SUMDB, verify };
    const checkpoint = verifyCheckpoint(note, sumdb);
    expect(checkpoint.size).toBe(size);
    expect(Buffer.from(checkpoint.root).toString('base64')).toBe(root);
    expect(checkpoint.cosignatures).toEqual([]);
    expect(() => verifyCheckpoint(note.replace(`${size}`, `${size + 1}`), sumdb)).toThrow(
      signatureInvalid,
    );
  });
});

describe('signing', () => {
  test('a log signs, witnesses cosign, and a reader sees who and when', () => {
    const signed = signCheckpoint({ ...head, extensions: ['one', 'two words'] }, log);
    const cosigned = cosignCheckpoint(
      cosignCheckpoint(signed, w1, 1_700_000_000),
      w2,
      1_700_000_001,
    );
    expect(verifyCheckpoint(cosigned, keys)).toEqual({
      ...head,
      extensions: ['one', 'two words'],
      cosignatures: [
        { verifier: w1.verifier, timestamp: 1_700_000_000 },
        { verifier: w2.verifier, timestamp: 1_700_000_001 },
      ],
    });
    expect(cosigned.startsWith(signed)).toBe(true);
  });

  test('a witness that is not known is ignored', () => {
    const cosigned = cosignCheckpoint(signCheckpoint(head, log), w1, 5);
    expect(verifyCheckpoint(cosigned, { ...keys, witnesses: [w2.verifier] }).cosignatures).toEqual(
      [],
    );
  });

  test('a checkpoint with cosignatures but without its log is refused', () => {
    const foreign = signCheckpoint(head, signerOf('other.example', 9));
    const cosigned = cosignCheckpoint(foreign, w1, 5);
    expect(() => verifyCheckpoint(cosigned, keys)).toThrow(signatureInvalid);
  });

  test('a cosignature moved to another time or another checkpoint is refused', () => {
    const { text, signatures } = parseNote(cosignCheckpoint(signCheckpoint(head, log), w1, 5));
    const [own, cosignature] = signatures;
    const later = cosignature!.signature.slice();
    later[7]! ^= 1;
    const moved = formatNote({ text, signatures: [own!, { ...cosignature!, signature: later }] });
    expect(() => verifyCheckpoint(moved, keys)).toThrow(signatureInvalid);

    const next = parseNote(signCheckpoint({ ...head, size: 1 }, log));
    const grafted = formatNote({ ...next, signatures: [...next.signatures, cosignature!] });
    expect(() => verifyCheckpoint(grafted, keys)).toThrow(signatureInvalid);
  });

  test('a cosignature of a time above 2^63 or of another length is refused', () => {
    const { text, signatures } = parseNote(cosignCheckpoint(signCheckpoint(head, log), w1, 5));
    const [own, cosignature] = signatures;
    const huge = cosignature!.signature.slice().fill(0xff, 0, 8);
    for (const signature of [
      huge,
      cosignature!.signature.subarray(1),
      cosignature!.signature.subarray(8),
    ]) {
      const note = formatNote({ text, signatures: [own!, { ...cosignature!, signature }] });
      expect(() => verifyCheckpoint(note, keys)).toThrow(signatureInvalid);
    }
  });

  test('a checkpoint of another origin is refused, though the key is right', () => {
    const other = signCheckpoint({ ...head, origin: 'fieldproof/demo/ledger' }, log);
    expect(() => verifyCheckpoint(other, keys)).toThrow(noteMalformed);
  });

  test('a signed note that is no checkpoint is refused, and not cosigned', () => {
    const note = signNote('hello\n', [log]);
    expect(() => verifyCheckpoint(note, keys)).toThrow(noteMalformed);
    expect(() => cosignCheckpoint(note, w1, 5)).toThrow(noteMalformed);
  });

  test('keys of the wrong type are refused', () => {
    const signed = signCheckpoint(head, log);
    expect(() => cosignCheckpoint(signed, log, 5)).toThrow(argumentError);
    expect(() => signCheckpoint(head, w1)).toThrow(argumentError);
    expect(() => verifyCheckpoint(signed, { ...keys, log: w1.verifier })).toThrow(argumentError);
    expect(() => verifyCheckpoint(signed, { ...keys, witnesses: [log.verifier] })).toThrow(
      argumentError,
    );
  });

  test.each([-1, 1.5, 2 ** 53, Number.NaN])('%p is no time to cosign at', (timestamp) => {
    expect(() => cosignCheckpoint(signCheckpoint(head, log), w1, timestamp)).toThrow(argumentError);
  });
});

describe('the form of a checkpoint', () => {
  test.each<[string, string]>([
    ['nothing', ''],
    ['no newline at the end', SPEC_TEXT.slice(0, -1)],
    ['two lines', SPEC_TEXT.replace(/^.*\n/, '')],
    ['an empty origin', SPEC_TEXT.replace(/^.*\n/, '\n')],
    ['an empty line at the end', `${SPEC_TEXT}\n`],
    ['an empty extension line', `${SPEC_TEXT}\nextension\n`],
    ['a leading zero', SPEC_TEXT.replace('20852163', '020852163')],
    ['two zeros', SPEC_TEXT.replace('20852163', '00')],
    ['a sign', SPEC_TEXT.replace('20852163', '+20852163')],
    ['a negative size', SPEC_TEXT.replace('20852163', '-1')],
    ['no size', SPEC_TEXT.replace('20852163', '')],
    ['hexadecimal', SPEC_TEXT.replace('20852163', '0x10')],
    ['an exponent', SPEC_TEXT.replace('20852163', '2e7')],
    ['a space', SPEC_TEXT.replace('20852163', '20852163 ')],
    ['other digits', SPEC_TEXT.replace('20852163', '٢')],
    ['a size of 2^53', SPEC_TEXT.replace('20852163', String(2 ** 53))],
    ['a size of many digits', SPEC_TEXT.replace('20852163', '9'.repeat(1000))],
    ['a short root', SPEC_TEXT.replace('CsUY', '')],
    ['a long root', SPEC_TEXT.replace('CsUY', 'CsUYCsUY')],
    ['a root with unused bits', SPEC_TEXT.replace('q2I=', 'q2J=')],
    ['a root without padding', SPEC_TEXT.replace('q2I=', 'q2I')],
    ['a hexadecimal root', SPEC_TEXT.replace(/Cs.*=/, 'ab'.repeat(32))],
  ])('is refused with %s', (_, text) => {
    expect(() => parseCheckpoint(text)).toThrow(noteMalformed);
  });

  test('an origin may contain spaces, and sizes go to 2^53 - 1', () => {
    const checkpoint = { origin: 'go.sum database tree', size: 2 ** 53 - 1, root: emptyRoot() };
    expect(parseCheckpoint(encodeCheckpoint(checkpoint))).toEqual(checkpoint);
  });

  test.each<Checkpoint>([
    { ...head, origin: '' },
    { ...head, origin: 'a\nb' },
    { ...head, origin: '\ud800' },
    { ...head, size: -1 },
    { ...head, size: 2 ** 53 },
    { ...head, size: 0.5 },
    { ...head, root: new Uint8Array(31) },
    { ...head, extensions: [''] },
    { ...head, extensions: ['a\nb'] },
    { ...head, extensions: ['a\tb'] },
  ])('%p is not written', (checkpoint) => {
    expect(() => encodeCheckpoint(checkpoint)).toThrow(argumentError);
  });
});
