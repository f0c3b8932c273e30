import { BatchIndex } from '@fieldproof/broker/evidence/batch-index';
import { DeviceBoots } from '@fieldproof/broker/evidence/device-boots';
import {
  Boot,
  type BootReceipt,
  compareBoots,
  MAX_OPEN_BOOTS,
  MAX_REJECTED,
  MAX_REJECTED_IN_ALL,
} from '@fieldproof/broker/evidence/settlement';
import { decodeSnapshot, encodeSnapshot } from '@fieldproof/broker/evidence/snapshot';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const DEVICE = new Uint8Array(32).fill(7);

/** The rules without any economy: every boot is kept as it is, for ever. */
class EveryBoot {
  readonly boots: Boot[] = [];

  find(counter: number, seed: number): Boot | undefined {
    return this.boots.find((boot) => boot.counter === counter && boot.seed === seed);
  }

  at(counter: number, seed: number): Boot {
    const known = this.find(counter, seed);
    if (known) return known;
    const made = new Boot({ counter, seed });
    this.boots.push(made);
    this.boots.sort(compareBoots);
    return made;
  }

  receipt(): readonly BootReceipt[] {
    let room = MAX_REJECTED_IN_ALL;
    const open = this.boots.filter((boot) => boot.settled.size > 0).slice(-MAX_OPEN_BOOTS);
    return open.map((boot) => {
      const receipt = boot.receipt(Math.min(MAX_REJECTED, room));
      room -= receipt.rejected.length;
      return receipt;
    });
  }
}

type Event =
  | { readonly type: 'record' | 'reject' | 'acknowledge' | 'ask'; readonly of: BootAndSeq }
  | { readonly type: 'drop'; readonly of: BootAndSeq; readonly length: number }
  | { readonly type: 'fill'; readonly of: BootAndSeq }
  | { readonly type: 'restart' };
interface BootAndSeq {
  readonly counter: number;
  readonly seed: number;
  readonly seq: number;
}

const of = fc.record({
  counter: fc.oneof(fc.nat(3), fc.nat(80), fc.constant(0xffff_ffff)),
  seed: fc.constantFrom(1, 1, 1, 0xffff_ffff),
  seq: fc.oneof(fc.nat(3), fc.nat(12), fc.constant(2 ** 52)),
});
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: fc.constant('fill' as const), of }) },
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constantFrom('record' as const, 'reject' as const),
      of,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constantFrom('acknowledge' as const, 'ask' as const),
      of,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant('drop' as const), of, length: fc.nat(5) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('restart' as const) }) },
);

function restarted(boots: DeviceBoots): DeviceBoots {
  const index = new BatchIndex();
  index.restore(DEVICE, boots, null);
  const bytes = encodeSnapshot({
    size: 0,
    tree: { range: new Uint8Array(0), columns: [], entries: [] } as never,
    closed: [],
    segment: 0,
    rejects: 0,
    index,
  });
  return decodeSnapshot(bytes)!.index.find(DEVICE)?.boots ?? new DeviceBoots();
}

/** What anyone can learn of a boot: what is recorded of it, and between which entries. */
function knownOf(boot: Boot | undefined): unknown {
  if (boot === undefined || boot.recorded.size === 0) return null;
  return [boot.counter, boot.seed, boot.firstIndex, boot.lastIndex, boot.recorded.ranges()];
}

describe('boots at rest', () => {
  test('give the same answers as boots that are kept whole, to any sequence of events', () => {
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 300 }), (events) => {
        let boots = new DeviceBoots();
        const model = new EveryBoot();
        for (const [index, happens] of events.entries()) {
          if (happens.type === 'restart') {
            boots = restarted(boots);
            continue;
          }
          const { counter, seed, seq } = happens.of;
          if (happens.type === 'ask') {
            expect(knownOf(boots.find(counter, seed))).toEqual(knownOf(model.find(counter, seed)));
          } else if (happens.type === 'acknowledge') {
            boots.acknowledge({ counter, seed }, seq);
            model.find(counter, seed)?.acknowledge(seq);
          } else if (happens.type === 'drop') {
            boots.drop({ counter, seed }, seq, seq + happens.length);
            model.at(counter, seed).drop(seq, seq + happens.length);
          } else {
            for (const boot of [boots.at(counter, seed), model.at(counter, seed)]) {
              if (happens.type === 'record') boot.record(seq, index);
              else if (happens.type === 'reject') boot.reject(seq, `ERR_${index % 3}`);
              else for (let each = 0; each < 4; each += 1) boot.record(each, index);
            }
          }
          if (index % 7 === 0) expect(boots.receipt()).toEqual(model.receipt());
        }
        expect(boots.receipt()).toEqual(model.receipt());
        expect(boots.open().map((boot) => boot.receipt())).toEqual(
          model.boots
            .filter((boot) => boot.settled.size > 0)
            .slice(-MAX_OPEN_BOOTS)
            .map((boot) => boot.receipt()),
        );
        expect(boots.all().map(knownOf).filter(Boolean)).toEqual(
          model.boots.map(knownOf).filter(Boolean),
        );
      }),
      { numRuns: 300 },
    );
  });

  test('a boot with an envelope in flight stays the same object, whatever else comes', () => {
    const boots = new DeviceBoots();
    const held = boots.at(1, 1);
    held.inFlight = 1;
    for (let counter = 2; counter < 100; counter += 1) boots.at(counter, 1).record(0, counter);
    expect(boots.find(1, 1)).toBe(held);
  });

  test('boots that are only named, by gaps or rejects, are forgotten when they are closed', () => {
    const boots = new DeviceBoots();
    for (let counter = 0; counter < 5000; counter += 1) {
      boots.drop({ counter, seed: counter }, 0, 3);
      boots.at(counter, 0).reject(0, 'ERR_X');
    }
    // Below all open ones: not even taken in.
    boots.drop({ counter: 0, seed: 9 }, 0, 3);
    expect(boots.all().length).toBeLessThan(200);
    expect(boots.receipt()).toHaveLength(MAX_OPEN_BOOTS);
    expect(boots.unacknowledged).toBeLessThanOrEqual(MAX_OPEN_BOOTS);
  });

  test('a snapshot keeps a boot at rest in 32 bytes', () => {
    const boots = new DeviceBoots();
    for (let counter = 0; counter < 1000; counter += 1) {
      for (let seq = 0; seq < 10; seq += 1) boots.at(counter, counter).record(seq, counter);
    }
    const { live, rows } = boots.stored();
    expect(live.length).toBeLessThanOrEqual(2);
    expect(rows!.rows.length).toBeLessThanOrEqual(32 * 1000);
    expect(rows!.lists).toEqual([]);
  });
});
