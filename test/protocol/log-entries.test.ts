import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import {
  type BatchEntry,
  decodeEvidenceEntry,
  decodeLedgerEntry,
  type EvidenceEntry,
  encodeEvidenceEntry,
  encodeLedgerEntry,
  type LedgerEntry,
} from '@fieldproof/protocol/log-entries';
import { UP_KINDS, type UpKind } from '@fieldproof/protocol/topics';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

const key = new Uint8Array(32).fill(1);
const hash = new Uint8Array(32).fill(2);
const seed = Uint8Array.of(1, 2, 3, 4);
const blob = Uint8Array.of(0xd2, 0x84);
const at = 1_790_000_000_000;

const batch: BatchEntry = {
  type: 'batch',
  device: key,
  bootCounter: 70_000,
  bootSeed: seed,
  seq: 24,
  kind: 'telemetry',
  gateway: null,
  at,
  size: 700,
  digest: hash,
};

/** Each entry beside the array that the specification asks for. */
const evidence: [EvidenceEntry, CborValue[]][] = [
  [batch, [1, key, 70_000, seed, 24, 2, null, at, 700, hash]],
  [
    { type: 'registry', at, action: 'enrol', subject: 'z6Mk', statement: blob },
    [2, at, 'enrol', 'z6Mk', blob],
  ],
  [
    {
      type: 'time-anchor',
      device: key,
      bootCounter: 0,
      bootSeed: seed,
      offsetMs: -5,
      boundMs: 40,
      at,
    },
    [3, key, 0, seed, -5, 40, at],
  ],
  [
    { type: 'reject-tally', fromMs: 1, toMs: 1, counts: [['ERR_QOS', 3]] },
    [4, 1, 1, [['ERR_QOS', 3]]],
  ],
  [{ type: 'tombstone', at, index: 9, digest: hash, reason: 'asked' }, [5, at, 9, hash, 'asked']],
  [
    { type: 'generation', at, generation: 2, size: 10, root: hash, reason: 'restored' },
    [6, at, 2, 10, hash, 'restored'],
  ],
  [{ type: 'network', at, descriptor: blob }, [7, at, blob]],
];

const details = new Map<string, CborValue>([['votes', 3]]);
const big = 2n ** 60n;
const ledger: [LedgerEntry, CborValue[]][] = [
  [{ type: 'policy', at, version: 1, hash, policy: blob }, [1, at, 1, hash, blob]],
  [{ type: 'data-grant', at, owner: key, grant: blob }, [2, at, key, blob]],
  [{ type: 'job', at, jobId: hash, job: blob }, [3, at, hash, blob]],
  [
    { type: 'decision', at, taskId: hash, verdict: 'valid', digest: null, detail: details },
    [4, at, hash, 'valid', null, details],
  ],
  [
    {
      type: 'account',
      at,
      reference: 'r',
      movements: [
        ['a', 5n],
        ['b', -5n],
      ],
    },
    [
      5,
      at,
      'r',
      [
        ['a', 5],
        ['b', -5],
      ],
    ],
  ],
  [{ type: 'secret', at, epoch: 1, commitment: hash, reveal: null }, [6, at, 1, hash, null]],
  [
    {
      type: 'header',
      at,
      epoch: 1,
      evidenceSize: 2,
      evidenceRoot: hash,
      policyHash: hash,
      pool: big,
      status: 'final',
      rows: 1,
      rewardRoot: hash,
    },
    [7, at, 1, 2, hash, hash, big, 'final', 1, hash],
  ],
  [
    { type: 'row', epoch: 1, device: null, microCredits: 7n, reasons: new Map() },
    [8, 1, null, 7, new Map()],
  ],
];

interface Log<E> {
  readonly log: string;
  readonly cases: readonly [E, CborValue[]][];
  readonly encodeEntry: (entry: E) => Uint8Array;
  readonly read: (bytes: Uint8Array) => E;
}

// One list of both, so each suite sees entries by what they share.
const logs = [
  { log: 'evidence', cases: evidence, encodeEntry: encodeEvidenceEntry, read: decodeEvidenceEntry },
  { log: 'ledger', cases: ledger, encodeEntry: encodeLedgerEntry, read: decodeLedgerEntry },
] as unknown as Log<{ readonly type: string }>[];

const malformed = expect.objectContaining({ code: 'ERR_ENTRY_MALFORMED' });

for (const { log, cases, encodeEntry, read } of logs) {
  describe(`${log} entries`, () => {
    test.each(cases.map(([entry, items]) => ({ type: entry.type, entry, items })))(
      '$type is the array of the specification, and comes back',
      ({ entry, items }) => {
        const bytes = encodeEntry(entry);
        expect(bytes).toEqual(encode(items));
        expect(read(bytes)).toEqual(entry);
      },
    );

    test.each(cases.map(([entry, items]) => ({ type: entry.type, items })))(
      '$type with any item missing, added or of another type is refused',
      ({ items }) => {
        for (const bad of misshapen(items)) {
          expect(() => read(encode(bad))).toThrow(malformed);
        }
      },
    );

    test.each(cases.map(([entry, items]) => ({ type: entry.type, items })))(
      '$type that is cut or followed by bytes is refused',
      ({ items }) => {
        const bytes = encode(items);
        for (let cut = 0; cut < bytes.length; cut += 1) {
          expect(() => read(bytes.subarray(0, cut))).toThrow(malformed);
        }
        expect(() => read(Uint8Array.of(...bytes, 0))).toThrow(malformed);
      },
    );

    test.each(cases.map(([entry]) => ({ type: entry.type, entry })))(
      '$type with a field out of range is not written',
      ({ entry }) => {
        for (const name of Object.keys(entry)) {
          for (const value of [undefined, -0.5, 'x'.repeat(70_000), new Uint8Array(3)]) {
            const bad = { ...entry, [name]: value } as typeof entry;
            if (isAllowedAnyway(name, value)) continue;
            expect(() => encodeEntry(bad)).toThrow(malformed);
          }
        }
      },
    );

    test('other types, maps and empty arrays are refused', () => {
      for (const bad of [[], [0], [9, 1], ['batch'], new Map(), 5, [[1]], [1n << 63n]]) {
        expect(() => read(encode(bad as CborValue))).toThrow(malformed);
      }
    });
  });
}

describe('batch entries', () => {
  const fields = fc.record<BatchEntry>({
    type: fc.constant('batch'),
    device: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    bootCounter: fc.nat(0xffff_ffff),
    bootSeed: fc.uint8Array({ minLength: 4, maxLength: 4 }),
    seq: fc.maxSafeNat(),
    kind: fc.constantFrom(...(Object.keys(UP_KINDS) as UpKind[])),
    gateway: fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 })),
    at: fc.maxSafeNat(),
    size: fc.integer({ min: 1, max: 60_000 }),
    digest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  });

  test('the dedicated writer gives what the general encoder gives', () => {
    fc.assert(
      fc.property(fields, (entry) => {
        const { device, bootCounter, bootSeed, seq, gateway, digest } = entry;
        const kind = UP_KINDS[entry.kind];
        const head = [1, device, bootCounter, bootSeed, seq, kind];
        const bytes = encodeEvidenceEntry(entry);
        expect(bytes).toEqual(encode([...head, gateway, entry.at, entry.size, digest]));
        expect(decodeEvidenceEntry(bytes)).toEqual(entry);
      }),
    );
  });

  test.each([23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1])(
    'seq %i is written in its shortest form',
    (seq) => {
      expect(decode(encodeEvidenceEntry({ ...batch, seq }))).toHaveLength(10);
      expect(decodeEvidenceEntry(encodeEvidenceEntry({ ...batch, seq }))).toEqual({
        ...batch,
        seq,
      });
    },
  );

  test('longer forms of a number are refused', () => {
    const good = encodeEvidenceEntry({ ...batch, seq: 5 });
    const at = good.indexOf(5, 40);
    const bad = Uint8Array.of(...good.subarray(0, at), 0x18, 5, ...good.subarray(at + 1));
    expect(() => decodeEvidenceEntry(bad)).toThrow(malformed);
  });

  test.each([
    ['a kind above 6', [1, key, 0, seed, 0, 7, null, at, 1, hash]],
    ['kind 0', [1, key, 0, seed, 0, 0, null, at, 1, hash]],
    ['an empty envelope', [1, key, 0, seed, 0, 1, null, at, 0, hash]],
    ['an envelope above 60,000 bytes', [1, key, 0, seed, 0, 1, null, at, 60_001, hash]],
    ['a boot counter above 2^32 - 1', [1, key, 2 ** 32, seed, 0, 1, null, at, 1, hash]],
    ['a seq above 2^53 - 1', [1, key, 0, seed, 2n ** 53n, 1, null, at, 1, hash]],
  ] as [string, CborValue[]][])('%s is refused', (_name, items) => {
    expect(() => decodeEvidenceEntry(encode(items))).toThrow(malformed);
  });
});

describe('rules across fields', () => {
  test('a tally that ends before it begins, is empty, counts none or repeats a code is refused', () => {
    for (const items of [
      [4, 2, 1, [['A', 1]]],
      [4, 1, 2, []],
      [4, 1, 2, [['A', 0]]],
      [4, 1, 2, [['A', 1], ['A', 2]]], // biome-ignore format: one case a line
    ]) {
      expect(() => decodeEvidenceEntry(encode(items))).toThrow(malformed);
    }
  });

  test('account movements that do not sum to 0 are refused', () => {
    expect(() => decodeLedgerEntry(encode([5, at, 'r', [['a', 1]]]))).toThrow('a sum of 0');
  });

  test('amounts beyond 2^63 - 1 are refused', () => {
    const header = [7, at, 1, 2, hash, hash, 2n ** 63n, 'final', 1, hash];
    expect(() => decodeLedgerEntry(encode(header))).toThrow(malformed);
  });
});

function misshapen(items: CborValue[]): CborValue[][] {
  const bad: CborValue[][] = [items.slice(0, -1), [...items, 0]];
  for (const at of items.keys()) {
    for (const wrong of [true, 1.5, [], new Uint8Array(0), '']) bad.push(items.with(at, wrong));
  }
  return bad;
}

/** Some fields take any text or any bytes. */
function isAllowedAnyway(name: string, value: unknown): boolean {
  return (
    value instanceof Uint8Array &&
    ['statement', 'descriptor', 'policy', 'grant', 'job'].includes(name)
  );
}
