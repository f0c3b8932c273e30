import {
  decodeFrame,
  encodeFrame,
  type Frame,
  FrameReader,
  frameSize,
  MAX_FRAME_LENGTH,
  readFrame,
  writeFrame,
} from '@fieldproof/protocol/frame';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const entry = Uint8Array.of(0x82, 7, 0);
const body = Uint8Array.of(1, 2, 3, 4, 5);
const good = encodeFrame({ index: 2 ** 32 + 5, entry, body });

const frames = fc
  .array(fc.tuple(fc.uint8Array({ maxLength: 60 }), fc.uint8Array({ maxLength: 200 })), {
    maxLength: 12,
  })
  .map((parts) => parts.map(([entry, body], i): Frame => ({ index: 7 + i, entry, body })));

describe('one frame', () => {
  test('has the layout of the specification', () => {
    expect(Buffer.from(good).toString('hex')).toBe(
      // length, crc32c, index, entryLength, entry, body
      `00000014${Buffer.from(good.subarray(4, 8)).toString('hex')}0000000100000005` +
        '00000003' +
        '820700' +
        '0102030405',
    );
    expect(good.length).toBe(frameSize(3, 5));
  });

  test('comes back as it was', () => {
    expect(decodeFrame(good)).toEqual({ index: 2 ** 32 + 5, entry, body });
  });

  test('every single flipped bit is found', () => {
    for (let bit = 0; bit < good.length * 8; bit += 1) {
      const bad = good.slice();
      bad[bit >> 3]! ^= 1 << (bit & 7);
      const result = readFrame(bad, 0);
      // A longer length is torn until the bytes are there; then the crc fails.
      expect(result.kind).toBe(bit < 32 && result.kind === 'torn' ? 'torn' : 'corrupt');
      expect(() => decodeFrame(bad)).toThrow(/frame: /);
    }
  });

  test('every cut is torn, and says how much it takes to go on', () => {
    for (let cut = 0; cut < good.length; cut += 1) {
      const result = readFrame(good.subarray(0, cut), 0);
      expect(result).toEqual({ kind: 'torn', needed: cut < 4 ? 20 : good.length });
    }
    expect(() => decodeFrame(good.subarray(0, 9))).toThrow('expected 28 bytes, got 9');
  });

  test('bytes after it are refused', () => {
    expect(() => decodeFrame(Buffer.concat([good, Buffer.of(0)]))).toThrow(
      expect.objectContaining({ code: 'ERR_FRAME_CORRUPT' }),
    );
  });

  test.each([11, 0, MAX_FRAME_LENGTH + 1, 0xffffffff])('a length of %i is corrupt at once', (n) => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(n);
    expect(readFrame(head, 0).kind).toBe('corrupt');
  });

  test('what does not fit is not written', () => {
    const target = new Uint8Array(good.length - 1);
    expect(() => writeFrame(target, 0, { index: 1, entry, body })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
    const huge = new Uint8Array(MAX_FRAME_LENGTH);
    expect(() => encodeFrame({ index: 1, entry, body: huge })).toThrow('frame: expected at most');
    expect(() => encodeFrame({ index: -1, entry, body })).toThrow('frame index');
    expect(() => encodeFrame({ index: 2 ** 53, entry, body })).toThrow('frame index');
  });
});

describe('a stream of frames', () => {
  test('is taken apart alike however it is cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(400)), (list, cuts) => {
        const bytes = Buffer.concat(list.map(encodeFrame));
        const reader = new FrameReader(7);
        const got: Frame[] = [];
        let from = 0;
        for (const cut of [...cuts, bytes.length]) {
          const to = Math.min(from + cut, bytes.length);
          reader.push(Uint8Array.from(bytes.subarray(from, to)));
          from = to;
          for (let frame = reader.next(); frame; frame = reader.next()) got.push(frame);
        }
        reader.end();
        expect(got).toEqual(list);
        expect(reader.nextIndex === 7 + list.length).toBe(true);
      }),
    );
  });

  test('byte by byte gives the frame with its last byte', () => {
    const reader = new FrameReader();
    for (const [at, byte] of good.entries()) {
      reader.push(Uint8Array.of(byte));
      expect(reader.next() !== undefined).toBe(at === good.length - 1);
    }
    expect(reader.pendingBytes).toBe(0);
  });

  test('frames before a corrupt one are given, then it throws, again and again', () => {
    const bad = encodeFrame({ index: 1, entry, body });
    bad[25]! ^= 1;
    const reader = new FrameReader(0);
    reader.push(Buffer.concat([encodeFrame({ index: 0, entry, body }), bad]));
    expect(reader.next()?.index).toBe(0);
    for (let i = 0; i < 2; i += 1) {
      expect(() => reader.next()).toThrow(expect.objectContaining({ code: 'ERR_FRAME_CORRUPT' }));
    }
  });

  test('an index that is skipped or repeated is corrupt', () => {
    for (const second of [0, 2]) {
      const reader = new FrameReader(0);
      reader.push(encodeFrame({ index: 0, entry, body }));
      reader.push(encodeFrame({ index: second, entry, body }));
      reader.next();
      expect(() => reader.next()).toThrow(`index: expected 1, got ${second}`);
    }
  });

  test('an end inside a frame is torn', () => {
    const reader = new FrameReader();
    reader.push(good.subarray(0, 10));
    expect(reader.next()).toBeUndefined();
    expect(() => reader.end()).toThrow(expect.objectContaining({ code: 'ERR_FRAME_TORN' }));
  });
});
