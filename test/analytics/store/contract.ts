/**
 * What every time-series store must do; run against each of them by its own test file.
 */
import type { AnalyticsErrorCode } from '@fieldproof/analytics/errors';
import type {
  RangeQuery,
  Series,
  TimeSeriesStore,
} from '@fieldproof/analytics/store/time-series-store';
import { LineBuffer, TABLE_PRECISION } from '@fieldproof/analytics/table-lines';
import type { ReadingTable } from '@fieldproof/compute/readings';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

export interface StoreUnderTest {
  /** An open, empty store; `maxSeries` when the test needs few. */
  create(options?: { readonly maxSeries?: number }): Promise<TimeSeriesStore>;
  /** Closes and opens it again over the same data. */
  reopen(store: TimeSeriesStore): Promise<TimeSeriesStore>;
}

export function storeContract(name: string, under: StoreUnderTest): void {
  describe(`${name}: the store contract`, () => {
    let store: TimeSeriesStore;
    let profiles = 0;
    /** A profile of its own for each test, so that they share one store. */
    const freshProfile = (): string => `p${profiles++}`;
    const write = (text: string, precision: 'ms' | 'u' | 'ns' = 'ms'): Promise<void> =>
      store.writeLines(Buffer.from(text), { precision });
    const writeTable = async (
      table: Partial<ReadingTable> & { profile: string },
    ): Promise<void> => {
      const buffer = new LineBuffer();
      const defaults = { device: 'd', cell: '', group: '', source: 'sensor' as const };
      buffer.append({ ...defaults, timesMs: Float64Array.of(), columns: [], ...table });
      await store.writeLines(buffer.take(), { precision: TABLE_PRECISION });
    };
    const range = (query: Partial<RangeQuery> & { profile: string }): Promise<readonly Series[]> =>
      store.range({ metric: 'v', fromMs: -1e12, toMs: 1e13, ...query });
    const points = async (query: Partial<RangeQuery> & { profile: string }) => {
      const [series] = await range(query);
      return series === undefined ? [] : series.timesMs.map((time, i) => [time, series.values[i]]);
    };
    const refusal = (code: AnalyticsErrorCode) => expect.objectContaining({ code });

    beforeAll(async () => {
      store = await under.create();
    });
    afterAll(() => store.close());

    test('says that it is there and which version it is', async () => {
      expect(await store.ping()).toEqual({ ok: true, version: expect.stringMatching(/\d/) });
    });

    test('an integer after a float is another number, not a dropped point', async () => {
      const profile = freshProfile();
      const values = Float64Array.of(21.5, 21, -0.25, 1e-7, 1e21, 123456789.125);
      const timesMs = Float64Array.from(values, (_, i) => i);
      const columns = [{ metric: 'v', unit: 'Cel', type: 'float' as const, values }];
      await writeTable({ profile, timesMs, columns });
      expect(await points({ profile })).toEqual([...values].map((value, i) => [i, value]));
    });

    test('microseconds survive, and times before 1970', async () => {
      const profile = freshProfile();
      const timesMs = Float64Array.of(1732174540123.457, -86400000.001, 0);
      const values = Float64Array.of(1, 2, 3);
      await writeTable({
        profile,
        timesMs,
        columns: [{ metric: 'v', unit: '', type: 'float', values }],
      });
      expect(await points({ profile })).toEqual([
        [-86400000.001, 2],
        [0, 3],
        [1732174540123.457, 1],
      ]);
    });

    test('the same lines twice are the same points', async () => {
      const profile = freshProfile();
      const lines = Array.from({ length: 50 }, (_, i) => `${profile},device=d v=${i} ${i}`);
      await write(lines.join('\n'));
      await write(lines.join('\n'));
      await write(lines.toReversed().join('\n'));
      expect(await points({ profile })).toEqual(lines.map((_, i) => [i, i]));
      expect((await store.devices()).find(({ device }) => device === 'd')).toBeDefined();
    });

    test('fields at one instant are united, the later value wins', async () => {
      const profile = freshProfile();
      await write(`${profile},device=d v=1,w=2 5\n${profile},device=d w=3 5`);
      await write(`${profile},device=d v=4,x="t" 5\n${profile},device=d v=9 6`);
      await write(`${profile},device=d y=true 5`);
      expect(await points({ profile })).toEqual([
        [5, 4],
        [6, 9],
      ]);
      expect(await points({ profile, metric: 'w' })).toEqual([[5, 3]]);
      expect(await points({ profile, metric: 'x' })).toEqual([[5, 't']]);
      expect(await points({ profile, metric: 'y' })).toEqual([[5, true]]);
    });

    test('late points take their place', async () => {
      const profile = freshProfile();
      for (const time of [5, 1, 9, 3, 7]) await write(`${profile},device=d v=${time} ${time}`);
      expect(await points({ profile })).toEqual([1, 3, 5, 7, 9].map((time) => [time, time]));
    });

    test('a range holds its start and not its end', async () => {
      const profile = freshProfile();
      await write([0, 10, 20].map((time) => `${profile},device=d v=1 ${time}`).join('\n'));
      const times = async (fromMs: number, toMs: number) =>
        (await points({ profile, fromMs, toMs })).map(([time]) => time);
      expect(await times(0, 20)).toEqual([0, 10]);
      expect(await times(0.001, 20.001)).toEqual([10, 20]);
      expect(await times(10, 10)).toEqual([]);
      expect(await times(-5, 0)).toEqual([]);
    });

    const buckets = [
      [
        'mean',
        [
          [-20, -15],
          [-10, -5],
          [0, 2],
          [30, 31],
        ],
      ],
      [
        'sum',
        [
          [-20, -15],
          [-10, -5],
          [0, 6],
          [30, 31],
        ],
      ],
      [
        'min',
        [
          [-20, -15],
          [-10, -5],
          [0, 0],
          [30, 31],
        ],
      ],
      [
        'max',
        [
          [-20, -15],
          [-10, -5],
          [0, 5],
          [30, 31],
        ],
      ],
      [
        'count',
        [
          [-20, 1],
          [-10, 1],
          [0, 3],
          [30, 1],
        ],
      ],
      [
        'first',
        [
          [-20, -15],
          [-10, -5],
          [0, 5],
          [30, 31],
        ],
      ],
      [
        'last',
        [
          [-20, -15],
          [-10, -5],
          [0, 0],
          [30, 31],
        ],
      ],
    ] as const;
    test.each(buckets)(
      '%s by bucket: aligned to 1970, empty ones left out',
      async (aggregate, expected) => {
        const profile = freshProfile();
        const given = [
          [-15, -15],
          [-5, -5],
          [0, 5],
          [4, 1],
          [9, 0],
          [31, 31],
          [40, 99],
        ];
        await write(
          given.map(([time, value]) => `${profile},device=d v=${value} ${time}`).join('\n'),
        );
        const query = { profile, fromMs: -20, toMs: 40, bucketMs: 10, aggregate };
        expect(await points(query)).toEqual(expected.map((point) => [...point]));
        expect(await points({ ...query, limit: 4 })).toHaveLength(4);
        await expect(range({ ...query, limit: 3 })).rejects.toEqual(refusal('ERR_STORE_LIMIT'));
      },
    );

    test('a bucket that the range cuts counts only what is inside', async () => {
      const profile = freshProfile();
      await write([1, 5, 9].map((time) => `${profile},device=d v=${time} ${time}`).join('\n'));
      const query = { profile, fromMs: 2, toMs: 9, bucketMs: 10, aggregate: 'sum' as const };
      expect(await points(query)).toEqual([[0, 5]]);
    });

    test('devices apart or together', async () => {
      const profile = freshProfile();
      await write(
        ['b v=3 1', 'a v=1 1', 'a v=2 2', 'c w=1 1']
          .map((line) => `${profile},device=${line}`)
          .join('\n'),
      );
      const base = { profile, metric: 'v' };
      expect(await range({ profile, groupByDevice: true })).toEqual([
        { ...base, device: 'a', timesMs: [1, 2], values: [1, 2] },
        { ...base, device: 'b', timesMs: [1], values: [3] },
      ]);
      expect(await range({ profile })).toEqual([
        { ...base, timesMs: [1, 1, 2], values: [1, 3, 2] },
      ]);
      expect(await range({ profile, device: 'b' })).toEqual([
        { ...base, device: 'b', timesMs: [1], values: [3] },
      ]);
      const bucket = { profile, bucketMs: 10 };
      expect(await range(bucket)).toEqual([{ ...base, timesMs: [0], values: [2] }]);
      expect(await range({ ...bucket, groupByDevice: true })).toEqual([
        { ...base, device: 'a', timesMs: [0], values: [1.5] },
        { ...base, device: 'b', timesMs: [0], values: [3] },
      ]);
    });

    test('strings and booleans come back as they were, with count, first and last', async () => {
      const profile = freshProfile();
      const texts = ['', 'a "quoted" one', 'back\\slash', 'two\nlines', "it's", 'naïve ☃ 😀', ','];
      await writeTable({
        profile,
        timesMs: Float64Array.from(texts, (_, i) => i),
        columns: [
          { metric: 'v', unit: '', type: 'string', values: texts },
          { metric: 'ok', unit: '', type: 'boolean', values: texts.map((_, i) => i % 2 === 0) },
        ],
      });
      expect(await points({ profile })).toEqual(texts.map((text, i) => [i, text]));
      const ok = { profile, metric: 'ok' };
      expect(await points(ok)).toEqual(texts.map((_, i) => [i, i % 2 === 0]));
      const bucketMs = 100;
      expect(await points({ profile, bucketMs, aggregate: 'first' })).toEqual([[0, '']]);
      expect(await points({ ...ok, bucketMs, aggregate: 'last' })).toEqual([[0, true]]);
      expect(await points({ ...ok, bucketMs, aggregate: 'count' })).toEqual([[0, 7]]);
      for (const aggregate of ['mean', 'min', 'max', 'sum'] as const) {
        await expect(range({ ...ok, bucketMs, aggregate })).rejects.toEqual(
          refusal('ERR_STORE_QUERY'),
        );
        await expect(range({ profile, bucketMs, aggregate })).rejects.toEqual(
          refusal('ERR_STORE_QUERY'),
        );
      }
    });

    test('latest gives the newest value of each metric with all its tags', async () => {
      const profile = freshProfile();
      await write(`${profile},cell=c1,device=${profile}a,group=g v=1,w="x" 1`);
      await write(`${profile},cell=c2,device=${profile}a,group=g v=2 2`);
      await write(`${profile},cell=c1,device=${profile}b v=3 9`);
      const [a, b] = [`${profile}a`, `${profile}b`];
      const va = { device: a, profile, metric: 'v', timeMs: 2, value: 2 };
      const wa = { device: a, profile, metric: 'w', timeMs: 1, value: 'x' };
      const vb = { device: b, profile, metric: 'v', timeMs: 9, value: 3 };
      const withTags = [
        { ...va, tags: { cell: 'c2', device: a, group: 'g' } },
        { ...wa, tags: { cell: 'c1', device: a, group: 'g' } },
        { ...vb, tags: { cell: 'c1', device: b } },
      ];
      expect(await store.latest({ profile })).toEqual(withTags);
      expect(await store.latest({ device: a })).toEqual(withTags.slice(0, 2));
      expect(await store.latest({ device: a, metric: 'w' })).toEqual([withTags[1]]);
      expect((await store.latest({})).filter((one) => one.profile === profile)).toEqual(withTags);
    });

    test('of two values at the newest instant the greater one is the latest', async () => {
      const profile = freshProfile();
      await write(
        ['c1 v=5 7', 'c2 v=8 7', 'c3 v=6 7']
          .map((line) => `${profile},device=d,cell=${line}`)
          .join('\n'),
      );
      const tags = { cell: 'c2', device: 'd' };
      expect(await store.latest({ profile })).toEqual([
        { device: 'd', profile, metric: 'v', timeMs: 7, value: 8, tags },
      ]);
      const bucket = { profile, bucketMs: 10 };
      expect(await points({ ...bucket, aggregate: 'last' })).toEqual([[0, 8]]);
      expect(await points({ ...bucket, aggregate: 'first' })).toEqual([[0, 8]]);
      expect(await points({ profile })).toEqual([
        [7, 5],
        [7, 6],
        [7, 8],
      ]);
    });

    test('devices lists what each one sent', async () => {
      const device = 'summary';
      const [first, second] = [freshProfile(), freshProfile()];
      await write(`${second},device=${device} b=1,a="x" 30\n${first},device=${device} v=true -10`);
      await write(`${second},device=${device} b=2 20`);
      expect((await store.devices()).filter((one) => one.device === device)).toEqual([
        {
          device,
          profiles: [first, second].sort(),
          metrics: [
            { profile: first, metric: 'v', type: 'boolean' },
            { profile: second, metric: 'a', type: 'string' },
            { profile: second, metric: 'b', type: 'float' },
          ].sort((a, b) => (a.profile + a.metric < b.profile + b.metric ? -1 : 1)),
          firstMs: -10,
          lastMs: 30,
          count: 4,
        },
      ]);
    });

    test('names that nothing has give an empty list', async () => {
      const profile = freshProfile();
      await write(`${profile},device=d v=1 1`);
      const unknown = ['nothing', '', 'x\ny', 'x\\', '"', "'", '\0', 'V', '日本'];
      for (const name of unknown) {
        expect(await range({ profile: name })).toEqual([]);
        expect(await range({ profile, metric: name })).toEqual([]);
        expect(await range({ profile, device: name })).toEqual([]);
        expect(await range({ profile: name, bucketMs: 10 })).toEqual([]);
        expect(await store.latest({ profile: name })).toEqual([]);
        expect(await store.latest({ profile, device: name })).toEqual([]);
        expect(await store.latest({ profile, metric: name })).toEqual([]);
      }
    });

    test('a name that tries to be a statement is a name', async () => {
      const profile = freshProfile();
      await write(`${profile},device=d v=1 1`);
      const attacks = [
        '"; DROP DATABASE "fieldproof',
        `"; DROP MEASUREMENT "${profile}"; SELECT "v`,
        `'; DROP TABLE points.${profile}; --`,
        `x" OR 1=1; DROP SCHEMA points CASCADE; --`,
        `d' OR '1'='1`,
        `d"; DROP DATABASE fieldproof --`,
        `\\"; DROP DATABASE fieldproof; --`,
        `v") FROM "${profile}"; DROP DATABASE "fieldproof"; SELECT last("v`,
      ];
      for (const attack of attacks) {
        expect(await range({ profile: attack })).toEqual([]);
        expect(await range({ profile, metric: attack })).toEqual([]);
        expect(await range({ profile, device: attack, bucketMs: 1, aggregate: 'last' })).toEqual(
          [],
        );
        expect(await store.latest({ profile: attack, device: attack, metric: attack })).toEqual([]);
        expect(await store.latest({ device: attack })).toEqual([]);
      }
      // Backslash-quote in a profile or metric is refused by the table encoder.
      const writable = attacks.filter((attack) => !attack.includes('\\"'));
      expect(writable).toHaveLength(attacks.length - 1);
      for (const [i, attack] of writable.entries()) {
        const values = Float64Array.of(i);
        await writeTable({
          profile: attack,
          device: attack,
          group: attack,
          timesMs: Float64Array.of(i),
          columns: [{ metric: attack, unit: '', type: 'float', values }],
        });
        const query = { profile: attack, metric: attack, device: attack };
        expect(await points(query)).toEqual([[i, i]]);
        expect(await store.latest({ device: attack })).toEqual([
          {
            device: attack,
            profile: attack,
            metric: attack,
            timeMs: i,
            value: i,
            tags: { device: attack, group: attack, source: 'sensor' },
          },
        ]);
      }
      expect(await points({ profile })).toEqual([[1, 1]]);
    });

    test('metrics keep their own names, however close', async () => {
      const profile = freshProfile();
      const names = [
        'time',
        '_time',
        'Time',
        'TIME',
        'device',
        'Device',
        'cell',
        'group',
        'source',
        'series',
        'rowid',
        'temp',
        'Temp',
        'TEMP',
        'temp~2',
        '_x',
        '__x',
        'value',
        'select',
        'a b',
        'a,b',
        'a=b',
        'a"b',
        "a'b",
        'a\\b',
        'a.b',
        'a;b',
        '#a',
        'é',
        'É',
        '温度',
        '😀',
        'n'.repeat(100),
        'i',
        '0',
        'null',
        'NaN',
        'true',
      ];
      const columns = names.map((metric, i) => ({
        metric,
        unit: '',
        type: 'float' as const,
        values: Float64Array.of(i),
      }));
      await writeTable({ profile, device: 'names', timesMs: Float64Array.of(1), columns });
      for (const [i, metric] of names.entries()) {
        expect([metric, await points({ profile, metric, device: 'names' })]).toEqual([
          metric,
          [[1, i]],
        ]);
        expect(await points({ profile, metric, bucketMs: 10, groupByDevice: true })).toEqual([
          [0, i],
        ]);
      }
      const latest = await store.latest({ profile });
      expect(latest.map(({ metric }) => metric)).toEqual([...names].sort());
      const summary = (await store.devices()).find(({ device }) => device === 'names')!;
      expect(summary.metrics.map(({ metric }) => metric)).toEqual([...names].sort());
    });

    test('profiles keep their own names, however close', async () => {
      const names = [
        'Case',
        'case',
        'CASE',
        'a b',
        'a,b=c',
        'q"q',
        "q'q",
        'table',
        'é',
        'm'.repeat(100),
        'a.b',
        'main',
        '_internal',
        'points',
        'fieldproof',
      ];
      for (const [i, profile] of names.entries()) {
        await writeTable({
          profile,
          timesMs: Float64Array.of(1),
          columns: [{ metric: 'v', unit: '', type: 'float', values: Float64Array.of(i) }],
        });
      }
      for (const [i, profile] of names.entries()) {
        expect([profile, await points({ profile })]).toEqual([profile, [[1, i]]]);
      }
    });

    test('tags hold anything a line can', async () => {
      const profile = freshProfile();
      const tags = [
        'a b',
        'a,b',
        'a=b',
        'a"b',
        "a'b",
        'a\\b',
        '\\',
        'é',
        '😀',
        '日本',
        'x'.repeat(100),
        ' ',
        '#',
      ];
      const device = (tag: string) => `dev-${tag}.`;
      for (const tag of tags) {
        await writeTable({
          profile,
          device: device(tag),
          group: `${tag}.`,
          timesMs: Float64Array.of(1),
          columns: [{ metric: 'v', unit: '', type: 'float', values: Float64Array.of(1) }],
        });
      }
      for (const tag of tags) {
        const [one, ...others] = await store.latest({ profile, device: device(tag) });
        expect(one?.tags).toEqual({ device: device(tag), group: `${tag}.`, source: 'sensor' });
        expect(others).toEqual([]);
      }
      const all = (await range({ profile, groupByDevice: true })).map((series) => series.device);
      expect(all).toEqual(tags.map(device).sort());
    });

    test('a metric that changes its type is refused by name, the other points are stored', async () => {
      const profile = freshProfile();
      await write(`${profile},device=d v=1 1`);
      const body = [
        `${profile},device=d v=2 2`,
        `${profile},device=odd v="warm" 3`,
        `${profile},device=d v=4 4`,
        `${profile},device=d w="fine" 5`,
      ].join('\n');
      const error = await write(body).catch((reason) => reason);
      expect(error).toMatchObject({ code: 'ERR_STORE_FIELD_TYPE', transient: false });
      expect(error.message).toContain(`${profile},device=odd`);
      expect(error.message).toContain('"v"');
      expect(await points({ profile })).toEqual([
        [1, 1],
        [2, 2],
        [4, 4],
      ]);
      expect(await points({ profile, metric: 'w' })).toEqual([[5, 'fine']]);
    });

    test('a line that is none is refused, the others are stored', async () => {
      const profile = freshProfile();
      const body = `${profile},device=d v=1 1\nnonsense\n${profile},device=d v= 2\n${profile},device=d v=3 3\n`;
      await expect(write(body)).rejects.toMatchObject({
        code: 'ERR_STORE_LINES_REFUSED',
        transient: false,
      });
      expect(await points({ profile })).toEqual([
        [1, 1],
        [3, 3],
      ]);
    });

    test('a refused line never lends its series or its time to the next one', async () => {
      const profile = freshProfile();
      const line = (device: string, rest: string) => `${profile},device=${device} ${rest}`;
      const body = [
        line('a', 'v=1 1000000'),
        line('b', 'v= 2000000'),
        line('b', 'v=3 3000000'),
        line('c', 'v=4 9223372036854775807'),
        line('c', 'v=5 5000000'),
        line('c', 'v="x" 6000000'),
        line('c', 'v=7 7000000'),
        `${profile},device=e,device=e v=8 8000000`,
        `${profile},device=e v=9 9000000`,
        `${profile},device=a v=10`.repeat(2),
        line('a', 'v=11 11000000'),
      ];
      await expect(write(body.join('\n'), 'ns')).rejects.toMatchObject({ transient: false });
      const series = await range({ profile, groupByDevice: true });
      expect(series.map(({ device, timesMs, values }) => [device, timesMs, values])).toEqual([
        ['a', [1, 11], [1, 11]],
        ['b', [3], [3]],
        ['c', [5, 7], [5, 7]],
        ['e', [9], [9]],
      ]);
    });

    test('twenty thousand lines at once', async () => {
      const profile = freshProfile();
      const buffer = new LineBuffer({ maxLines: 20_000, maxBytes: 16 << 20 });
      for (let d = 0; d < 20; d++) {
        const timesMs = Float64Array.from({ length: 1000 }, (_, i) => 1.7e12 + i * 1000);
        const columns = ['v', 'w', 'x'].map((metric, m) => ({
          metric,
          unit: '',
          type: 'float' as const,
          values: Float64Array.from(timesMs, (_, i) => d * 1000 + i + m / 4),
        }));
        const names = {
          profile,
          device: `bulk${d}`,
          cell: '',
          group: '',
          source: 'sensor' as const,
        };
        expect(buffer.append({ ...names, timesMs, columns })).toBe(1000);
      }
      expect(buffer.lines).toBe(20_000);
      const body = buffer.take();
      await store.writeLines(body, { precision: TABLE_PRECISION });
      await store.writeLines(body, { precision: TABLE_PRECISION });
      const series = await range({ profile, metric: 'w', groupByDevice: true });
      expect(series.map(({ values }) => values.length)).toEqual(Array(20).fill(1000));
      expect(series.find(({ device }) => device === 'bulk7')!.values[999]).toBe(7999.25);
      await expect(range({ profile, limit: 19_999 })).rejects.toEqual(refusal('ERR_STORE_LIMIT'));
      const count = { profile, bucketMs: 1e6, aggregate: 'count' as const };
      expect((await points(count)).reduce((sum, [, n]) => sum + Number(n), 0)).toBe(20_000);
    });

    test('a body beyond the limit is refused whole', async () => {
      const huge = Buffer.alloc((16 << 20) + 1, 32);
      await expect(store.writeLines(huge, { precision: 'ms' })).rejects.toEqual(
        refusal('ERR_STORE_BODY_TOO_LARGE'),
      );
    });

    test('writes at the same time all arrive', async () => {
      const profile = freshProfile();
      await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          write(`${profile},device=d${i % 3} v=${i},f${i}=1 ${i}`),
        ),
      );
      expect(await points({ profile })).toHaveLength(20);
    });

    test.each<[string, Partial<RangeQuery>]>([
      ['an end before its start', { fromMs: 2, toMs: 1 }],
      ['a start that is no number', { fromMs: Number.NaN }],
      ['an endless end', { toMs: Number.POSITIVE_INFINITY }],
      ['a bucket of nothing', { bucketMs: 0 }],
      ['a bucket of half a millisecond', { bucketMs: 0.5 }],
      ['an aggregate without buckets', { aggregate: 'sum' }],
      ['an unknown aggregate', { bucketMs: 1, aggregate: 'median") FROM x; DROP' as 'mean' }],
      ['a limit of nothing', { limit: 0 }],
      ['a limit beyond the limit', { limit: 1e9 }],
      ['a metric that is no text', { metric: 5 as unknown as string }],
    ])('a query with %s is refused', async (_, query) => {
      await expect(range({ profile: 'p0', ...query })).rejects.toEqual(refusal('ERR_STORE_QUERY'));
    });

    test('a series too many is refused, known ones go on, also after a restart', async () => {
      let small = await under.create({ maxSeries: 2 });
      const put = (text: string) => small.writeLines(Buffer.from(text), { precision: 'ms' });
      const seen = async () => (await small.latest({})).map(({ device, value }) => [device, value]);
      await put('p,device=a v=1 1\np,device=b v=1 1');
      await expect(put('p,device=a v=2 2\np,device=c v=2 2\np,device=b v=2 2')).rejects.toEqual(
        refusal('ERR_STORE_SERIES_BUDGET'),
      );
      expect(await seen()).toEqual([
        ['a', 2],
        ['b', 2],
      ]);
      small = await under.reopen(small);
      await expect(put('p,device=c s="x\ny" 3\np,device=b v=3 3')).rejects.toEqual(
        refusal('ERR_STORE_SERIES_BUDGET'),
      );
      expect(await seen()).toEqual([
        ['a', 2],
        ['b', 3],
      ]);
      await small.close();
    });

    test('everything is there after closing and opening', async () => {
      const profile = freshProfile();
      await write(`${profile},device=d v=1,Time=2,s="x" 1`);
      const before = [await store.latest({}), await store.devices()];
      store = await under.reopen(store);
      expect([await store.latest({}), await store.devices()]).toEqual(before);
      await write(`${profile},device=d v=5 1\n${profile},device=d v=6,new=1 2`);
      expect(await points({ profile })).toEqual([
        [1, 5],
        [2, 6],
      ]);
    });

    test('a closed store says so', async () => {
      const other = await under.create();
      await other.close();
      await other.close();
      await expect(
        (async () => other.writeLines(Buffer.from('p v=1 1'), { precision: 'ms' }))(),
      ).rejects.toEqual(refusal('ERR_STORE_CLOSED'));
      await expect((async () => other.latest({}))()).rejects.toEqual(refusal('ERR_STORE_CLOSED'));
    });
  });
}
