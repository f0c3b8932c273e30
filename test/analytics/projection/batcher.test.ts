import {
  Batcher,
  type BatcherOptions,
  type MicroBatch,
  type SetAside,
} from '@fieldproof/analytics/projection/batcher';
import type { ReadingTable } from '@fieldproof/compute/readings';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const table = (lines: number): ReadingTable => ({
  profile: 'air',
  device: 'd',
  cell: '',
  group: '',
  source: 'sensor',
  timesMs: new Float64Array(lines),
  columns: [{ metric: 't', unit: '', type: 'float', values: new Float64Array(lines) }],
});

const item = (index: number, lines = 1) => ({
  frame: { index, entry: new Uint8Array(10), body: new Uint8Array(90) },
  tables: lines > 0 ? [table(lines)] : [],
  changes: [],
  nextIndex: index + 1,
  atMs: index,
  settled: true,
});

function batcher(options: Partial<BatcherOptions> = {}) {
  const sent: MicroBatch[] = [];
  const cursor: number[] = [];
  const aside: SetAside[] = [];
  const made = new Batcher(0, {
    maxLines: 10,
    send: (batch) => sent.push(batch),
    advance: (toIndex) => cursor.push(toIndex),
    setAside: async (letter) => {
      aside.push(letter);
    },
    ...options,
  });
  made.setConsumers(['store']);
  return { made, sent, cursor, aside };
}

describe('closing', () => {
  test('what a batch without readings settles is said by the next one', () => {
    const { made, sent } = batcher();
    for (let index = 0; index < 200; index += 2) {
      made.add(item(index, 0), index);
      made.flush(index);
      made.add(item(index + 1), index);
      made.flush(index);
    }
    expect(sent).toHaveLength(100);
    expect(sent.every(({ settled }) => settled.length === 1)).toBe(true);
    expect(sent[7]!.settled).toEqual([[14, 15]]);
  });

  test('a batch is closed at its lines, its bytes, a pause, or its age', () => {
    const { made, sent } = batcher({ maxBytes: 350 });
    made.add(item(0, 9), 0);
    made.add(item(1, 1), 0);
    expect(sent.map(({ fromIndex, toIndex }) => [fromIndex, toIndex])).toEqual([[0, 2]]);
    for (let i = 2; i < 6; i++) made.add(item(i), 0);
    expect(sent).toHaveLength(2);
    made.add(item(6), 100);
    made.tick(119);
    expect(sent).toHaveLength(2);
    made.tick(120);
    expect(sent).toHaveLength(3);
    for (let now = 1000; now < 1190; now += 15) {
      made.add(item(7, 0), now);
      made.tick(now);
    }
    expect(made.isOpen).toBe(true);
    made.tick(1200);
    expect(made.isOpen).toBe(false);
  });

  test('it says which entries it settles and which table is of which', () => {
    const { made, sent } = batcher();
    made.add(item(0, 0), 0);
    made.add({ ...item(1, 0), settled: false }, 0);
    made.add(item(2, 2), 0);
    made.add({ ...item(1, 1), nextIndex: 3 }, 0);
    made.add(item(3, 1), 0);
    made.flush(0);
    expect(sent[0]).toMatchObject({
      settled: [[0, 3]],
      entryIndexes: [2, 1, 3],
      fromIndex: 0,
      toIndex: 4,
      lines: 4,
      readings: 4,
      atMs: 3,
    });
  });
});

describe('acknowledging', () => {
  test('the cursor moves in order, and only when every consumer is done', () => {
    const { made, sent, cursor } = batcher();
    made.setConsumers(['store', 'window']);
    made.add(item(0, 10), 0);
    made.add(item(1, 10), 0);
    made.acknowledge(sent[1]!.id, 'store');
    made.acknowledge(sent[1]!.id, 'window');
    made.acknowledge(sent[0]!.id, 'window');
    expect(cursor).toEqual([]);
    made.acknowledge(sent[0]!.id, 'store');
    expect(cursor).toEqual([1, 2]);
  });

  test('entries without readings pass when what is before them has', () => {
    const { made, sent, cursor } = batcher();
    made.add(item(0, 10), 0);
    made.add(item(1, 0), 0);
    made.flush(0);
    expect(sent).toHaveLength(1);
    expect(cursor).toEqual([]);
    made.acknowledge(sent[0]!.id, 'store');
    expect(cursor).toEqual([1, 2]);
  });

  test('eight unacknowledged batches stop the reading', () => {
    const { made, sent } = batcher();
    for (let i = 0; i < 8; i++) {
      expect(made.isFull).toBe(false);
      made.add(item(i, 10), 0);
    }
    expect(made.isFull).toBe(true);
    made.acknowledge(sent[3]!.id, 'store');
    expect(made.isFull).toBe(false);
  });

  test('a consumer that is no longer wired is not waited for', () => {
    const { made, sent, cursor } = batcher();
    made.setConsumers(['store', 'window']);
    made.add(item(0, 10), 0);
    made.acknowledge(sent[0]!.id, 'store');
    made.setConsumers(['store']);
    expect(cursor).toEqual([1]);
  });

  test('a batch is taken once by each consumer', () => {
    const { made, sent } = batcher();
    made.add(item(0, 10), 0);
    const { id } = sent[0]!;
    expect(made.take(id, 'store')).toBe(true);
    expect(made.take(id, 'store')).toBe(false);
    expect(made.take(id, 'a stranger')).toBe(false);
    expect(made.take(99, 'store')).toBe(false);
  });
});

describe('what is lost on its way', () => {
  test('is sent again after 30 s, five times in all, then set aside; the cursor moves only then', async () => {
    let keep: () => void = () => {};
    const aside: SetAside[] = [];
    const { made, sent, cursor } = batcher({
      setAside: (letter) => {
        aside.push(letter);
        return new Promise((resolve) => {
          keep = resolve;
        });
      },
    });
    made.add(item(0, 10), 0);
    for (let now = 1000; now < 150_000; now += 1000) made.tick(now);
    expect(sent).toHaveLength(5);
    expect(aside).toEqual([]);
    made.tick(150_000);
    expect(aside).toMatchObject([{ missing: ['store'], tries: 5, frames: [{ index: 0 }] }]);
    expect(cursor).toEqual([]);
    keep();
    await Promise.resolve();
    expect(cursor).toEqual([1]);
    made.tick(500_000);
    expect(sent).toHaveLength(5);
  });

  test('is counted as ignored from when it is sent again until somebody has it', () => {
    const { made, sent } = batcher();
    made.setConsumers(['store', 'window']);
    made.add(item(0, 10), 0);
    made.take(sent[0]!.id, 'window');
    made.tick(29_999);
    expect(made.ignored).toBe(0);
    made.tick(30_000);
    expect(made.ignored).toBe(1);
    made.take(sent[0]!.id, 'store');
    expect(made.ignored).toBe(0);
    made.letGo(sent[0]!.id, 'store');
    expect(made.ignored).toBe(1);
    made.acknowledge(sent[0]!.id, 'window');
    made.acknowledge(sent[0]!.id, 'store');
    expect(made.ignored).toBe(0);
  });

  test('a dead letter that cannot be written is tried again', async () => {
    let tries = 0;
    const { made, cursor } = batcher({
      setAside: async () => {
        if (tries++ === 0) throw new Error('disk full');
      },
    });
    made.add(item(0, 10), 0);
    for (let now = 30_000; now <= 180_000; now += 30_000) {
      made.tick(now);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(tries).toBe(2);
    expect(cursor).toEqual([1]);
  });

  test('a store that is down for hours keeps its batch', () => {
    const { made, sent, aside } = batcher();
    made.add(item(0, 10), 0);
    made.take(sent[0]!.id, 'store');
    for (let now = 0; now < 7_200_000; now += 10_000) made.tick(now);
    expect(sent).toHaveLength(1);
    expect(aside).toEqual([]);
    made.letGo(sent[0]!.id, 'store');
    made.tick(7_300_000);
    expect(sent).toHaveLength(2);
  });

  test('what a consumer held when it ended is sent again at once', () => {
    const { made, sent } = batcher();
    made.add(item(0, 10), 0);
    made.add(item(1, 10), 0);
    made.take(sent[0]!.id, 'store');
    made.forgetConsumer('store', 5);
    expect(sent.map(({ fromIndex }) => fromIndex)).toEqual([0, 1, 0]);
    expect(made.take(sent[0]!.id, 'store')).toBe(true);
  });
});

test('whatever is acknowledged in whatever order, the cursor never passes what is not', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ lines: fc.integer({ min: 0, max: 12 }), ack: fc.nat(20) }), {
        maxLength: 60,
      }),
      (steps) => {
        const { made, sent, cursor } = batcher({ maxUnacknowledged: 100 });
        const acked = new Set<number>();
        for (const [i, { lines, ack }] of steps.entries()) {
          made.add(item(i, lines), 0);
          const batch = sent[ack];
          if (batch !== undefined) {
            made.acknowledge(batch.id, 'store');
            acked.add(batch.id);
          }
          const pending = sent.find(({ id }) => !acked.has(id));
          const at = cursor.at(-1) ?? 0;
          expect(at).toBeLessThanOrEqual(pending?.fromIndex ?? i + 1);
          expect(cursor).toEqual([...cursor].sort((a, b) => a - b));
        }
      },
    ),
  );
});
