import { DeviceBoots } from '@fieldproof/broker/evidence/device-boots';
import {
  Boot,
  MAX_OPEN_BOOTS,
  MAX_REJECTED_IN_ALL,
  seedBytes,
  seedNumber,
} from '@fieldproof/broker/evidence/settlement';
import { MAX_ENVELOPE_BYTES } from '@fieldproof/protocol/envelope';
import { encodeReceipt } from '@fieldproof/protocol/settlement-messages';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const boot = () => new Boot({ counter: 1, seed: 2 });

describe('a boot', () => {
  test('is settled through what is recorded, rejected or dropped without a hole', () => {
    const b = boot();
    b.record(0, 100);
    b.reject(1, 'ERR_TIME_FUTURE');
    b.drop(2, 4);
    b.record(6, 101);
    expect(b.receipt()).toEqual({
      bootCounter: 1,
      bootSeed: Uint8Array.of(0, 0, 0, 2),
      settledThrough: 4,
      ranges: [[6, 6]],
      rejected: [[1, 'ERR_TIME_FUTURE']],
    });
  });

  test('of which seq 0 is missing is settled through -1', () => {
    const b = boot();
    b.record(5, 0);
    expect(b.receipt()).toMatchObject({ settledThrough: -1, ranges: [[5, 5]] });
  });

  test('lists a reject until it is acknowledged, and stays settled', () => {
    const b = boot();
    b.reject(0, 'ERR_X');
    b.acknowledge(0);
    expect(b.receipt()).toMatchObject({ settledThrough: 0, rejected: [] });
  });

  test('what is recorded cannot be rejected, and what was rejected can be recorded', () => {
    const b = boot();
    b.record(0, 0);
    b.reject(0, 'ERR_X');
    b.reject(1, 'ERR_X');
    b.record(1, 1);
    expect(b.receipt()).toMatchObject({ settledThrough: 1, rejected: [] });
  });

  test('a gap does not undo what is recorded', () => {
    const b = boot();
    b.record(1, 0);
    b.drop(0, 3);
    expect([b.recorded.ranges(), b.settled.ranges()]).toEqual([[[1, 1]], [[0, 3]]]);
  });

  test('lists 32 ranges and leaves the others unsettled', () => {
    const b = boot();
    for (let seq = 1; seq < 200; seq += 2) b.record(seq, seq);
    const { ranges } = b.receipt();
    expect(ranges).toHaveLength(32);
    expect(ranges.at(-1)).toEqual([63, 63]);
  });

  test('calls nothing settled that is rejected and does not fit into the list', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(600), fc.boolean()), { minLength: 250, maxLength: 700 }),
        (events) => {
          const b = boot();
          for (const [seq, isRecorded] of events) {
            if (isRecorded) b.record(seq, seq);
            else b.reject(seq, 'ERR_X');
          }
          const { settledThrough, ranges, rejected } = b.receipt();
          expect(rejected.length).toBe(Math.min(b.rejected.size, 256));
          const listed = new Set(rejected.map(([seq]) => seq));
          for (let seq = 0; seq <= 600; seq += 1) {
            const isSettled =
              seq <= settledThrough || ranges.some(([from, to]) => seq >= from && seq <= to);
            if (isSettled) expect(b.settled.has(seq)).toBe(true);
            if (isSettled && b.rejected.has(seq)) expect(listed.has(seq)).toBe(true);
          }
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('the boots of a device', () => {
  test('are open in the order of their counters, the newest 32', () => {
    const boots = new DeviceBoots();
    for (let n = 0; n < 40; n += 1) {
      // Out of order: 7 has no common factor with 40.
      boots.at((n * 7) % 40, n).record(0, n);
    }
    expect(boots.open().map(({ counter }) => counter)).toEqual(
      Array.from({ length: MAX_OPEN_BOOTS }, (_, i) => i + 8),
    );
    expect(boots.all()).toHaveLength(40);
  });

  test('fit into one envelope, however much was rejected, and call nothing of it recorded', () => {
    const boots = new DeviceBoots();
    for (let n = 0; n < MAX_OPEN_BOOTS; n += 1) {
      const boot = boots.at(2 ** 32 - 1 - n, n);
      for (let i = 0; i < 300; i += 1) boot.reject(2 ** 52 + 2 * i, 'ERR_CBOR_NOT_DETERMINISTIC');
    }
    const receipt = boots.receipt();
    const listed = receipt.flatMap(({ rejected }) => rejected);
    expect(listed).toHaveLength(MAX_REJECTED_IN_ALL);
    for (const { ranges, rejected } of receipt) {
      const seqs = new Set(rejected.map(([seq]) => seq));
      expect(ranges.every(([from, to]) => from === to && seqs.has(from))).toBe(true);
    }
    const payload = encodeReceipt({
      at: Number.MAX_SAFE_INTEGER,
      boots: receipt.map((b) => [
        b.bootCounter,
        b.bootSeed,
        b.settledThrough,
        b.ranges,
        b.rejected,
      ]) as never,
      entry: [2 ** 52, new Uint8Array(32)],
      heads: [[0, 2 ** 52, new Uint8Array(32)]],
      checkpoint: 'c'.repeat(4096),
    });
    expect(payload.length).toBeLessThan(MAX_ENVELOPE_BYTES - 256);
  });

  test('of one counter are told apart by their seed', () => {
    const boots = new DeviceBoots();
    boots.at(5, 1).record(0, 0);
    boots.at(5, 2).record(7, 1);
    expect(boots.find(5, 1)?.recorded.ranges()).toEqual([[0, 0]]);
    expect(boots.find(5, 2)?.recorded.ranges()).toEqual([[7, 7]]);
    expect(boots.find(5, 3)).toBeUndefined();
    expect(boots.find(4, 1)).toBeUndefined();
  });

  test('of which nothing is settled are not open', () => {
    const boots = new DeviceBoots();
    boots.at(1, 1);
    expect([boots.open(), boots.all()]).toEqual([[], []]);
  });

  test('a boot without holes stays open when a newer one begins: its backlog may still come', () => {
    const boots = new DeviceBoots();
    boots.at(1, 1).record(0, 0);
    boots.at(2, 1).record(0, 1);
    expect(boots.open().map(({ counter }) => counter)).toEqual([1, 2]);
  });
});

test('seeds are big-endian numbers', () => {
  expect(seedNumber(Uint8Array.of(0xff, 0, 0, 1))).toBe(0xff000001);
  expect(seedBytes(0xff000001)).toEqual(Uint8Array.of(0xff, 0, 0, 1));
});
