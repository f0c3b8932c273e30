import { AnalyticsError } from '@fieldproof/analytics/errors';
import {
  httpLineSink,
  type LineSink,
  writeError,
} from '@fieldproof/analytics/projection/line-sink';
import {
  StoreWriter,
  type StoreWriterOptions,
} from '@fieldproof/analytics/projection/store-writer';
import type { ReadingTable } from '@fieldproof/compute/readings';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FakeStore } from './tail-server.ts';

let store: FakeStore;
let url = '';
const writers: StoreWriter[] = [];
beforeEach(async () => {
  store = new FakeStore();
  url = await store.start();
});
afterEach(async () => {
  for (const writer of writers.splice(0)) await writer.close();
  await store.stop();
});

function table(lines: number, device = 'd', value = 1): ReadingTable {
  return {
    profile: 'air',
    device,
    cell: '',
    group: '',
    source: 'sensor',
    timesMs: Float64Array.from({ length: lines }, (_, i) => i),
    columns: [
      { metric: 't', unit: '', type: 'float', values: new Float64Array(lines).fill(value) },
    ],
  };
}

function writer(options: Partial<StoreWriterOptions> = {}) {
  const aside: { lines: string; code: string }[] = [];
  const attempts: (string | undefined)[] = [];
  const made = new StoreWriter({
    sink: httpLineSink({ url, token: async () => 'secret\n' }),
    setAside: async (lines, error) => {
      aside.push({ lines: Buffer.from(lines).toString(), code: error.code });
    },
    onAttempt: (error) => attempts.push(error?.code),
    sleep: async () => {},
    ...options,
  });
  writers.push(made);
  return { made, aside, attempts };
}

test('lines arrive with database, µs and token; the promise resolves after the answer', async () => {
  const { made } = writer();
  expect(await made.write([table(2)])).toEqual({ lines: 2, refused: 0 });
  expect(store.lines).toEqual([
    'air,device=d,source=sensor t=1 0',
    'air,device=d,source=sensor t=1 1000',
  ]);
  expect(store.headers[0]).toMatchObject({ authorization: 'Bearer secret' });
});

test('bodies are bounded by lines, and small writes share one while another is on its way', async () => {
  const { made } = writer({ maxLines: 10 });
  await Promise.all([
    made.write([table(25)]),
    ...Array.from({ length: 7 }, () => made.write([table(1)])),
  ]);
  const sizes = store.bodies.map((body) => body.split('\n').length - 1);
  expect(Math.max(...sizes)).toBe(10);
  expect(sizes.length).toBeLessThan(7);
  expect(store.lines).toHaveLength(32);
});

test('gzip and user:password of the address', async () => {
  const sink = httpLineSink({ url: url.replace('//', '//me:p%40ss@'), gzip: true });
  const { made } = writer({ sink });
  await made.write([table(3)]);
  expect(store.lines).toHaveLength(3);
  expect(store.headers[0]!.authorization).toBe(
    `Basic ${Buffer.from('me:p@ss').toString('base64')}`,
  );
});

test('what fails for now is sent until it works', async () => {
  const answers = [503, 500, 429, 401, 404];
  store.respond = () => {
    const status = answers.shift();
    return status === undefined ? undefined : { status, text: 'not now' };
  };
  const { made, attempts, aside } = writer();
  await made.write([table(1)]);
  expect(store.lines).toHaveLength(1);
  expect(aside).toEqual([]);
  expect(attempts).toEqual([
    'ERR_STORE_UNAVAILABLE',
    'ERR_STORE_UNAVAILABLE',
    'ERR_STORE_UNAVAILABLE',
    'ERR_STORE_AUTH',
    'ERR_STORE_UNAVAILABLE',
    undefined,
  ]);
});

test('a missing database is made', async () => {
  let made = false;
  store.respond = (body) => {
    if (body.startsWith('q=')) {
      expect(body).toBe('q=CREATE+DATABASE+%22fieldproof%22');
      made = true;
      return { status: 200, text: '{}' };
    }
    return made
      ? undefined
      : { status: 404, text: '{"error":"database not found: \\"fieldproof\\""}' };
  };
  await writer().made.write([table(1)]);
  expect(store.lines).toHaveLength(1);
});

describe('lines that are refused for good', () => {
  const conflict =
    '{"error":"partial write: field type conflict: input field \\"t\\" … dropped=2"}';
  /** Like InfluxDB: stores the good lines and answers 400 when there is a bad one. */
  const refuse = (bad: (line: string) => boolean) => {
    store.respond = (body) => {
      const lines = body.split('\n').filter((line) => line !== '');
      if (!lines.some(bad)) return undefined;
      store.lines.push(...lines.filter((line) => !bad(line)));
      return { status: 400, text: conflict };
    };
  };

  test('are found, set aside with their reason, and all others are stored', async () => {
    refuse((line) => line.includes('device=bad') || line.endsWith(' 7000'));
    const { made, aside } = writer();
    const result = await made.write([table(6), table(2, 'bad'), table(30, 'e')]);
    expect(result).toMatchObject({
      lines: 38,
      refused: 3,
      error: { code: 'ERR_STORE_FIELD_TYPE' },
    });
    expect(aside.map(({ lines }) => lines).join('')).toBe(
      'air,device=bad,source=sensor t=1 0\nair,device=bad,source=sensor t=1 1000\nair,device=e,source=sensor t=1 7000\n',
    );
    expect(store.points.size).toBe(35);
    expect(made.stats).toMatchObject({ lines: 35, refused: 3 });
  });

  test('a text that holds a newline and a line of its own never becomes one', async () => {
    const forged = 'x\nair,device=victim,source=sensor t=99 5000\ny';
    const texts: ReadingTable = {
      ...table(1, 'evil'),
      columns: [{ metric: 'note', unit: '', type: 'string', values: [forged] }],
    };
    const sent: string[] = [];
    const sink: LineSink = async (body) => {
      const text = Buffer.from(body).toString();
      sent.push(text);
      if (text.includes('device=bad')) throw new AnalyticsError('ERR_STORE_LINES_REFUSED', 'no');
    };
    const { made, aside } = writer({ sink });
    const result = await made.write([texts, table(1, 'bad'), texts, texts, table(1, 'bad')]);
    expect(result).toMatchObject({ lines: 5, refused: 2 });
    for (const body of sent) expect(body).toMatch(/^air,device=(evil|bad),source=sensor /);
    expect(aside.map(({ lines }) => lines)).toEqual(
      Array(2).fill('air,device=bad,source=sensor t=1 0\n'),
    );
  });

  test('a metric that changed its type takes no other metric of its instant along', async () => {
    refuse((line) => line.includes('s="'));
    const { made, aside } = writer();
    const wide: ReadingTable = {
      ...table(2),
      columns: [
        ...table(2).columns,
        { metric: 's', unit: '', type: 'string', values: ['a "b", c=1 \\', undefined] },
        { metric: 'ok', unit: '', type: 'boolean', values: [true, false] },
      ],
    };
    const result = await made.write([wide]);
    expect(result).toMatchObject({ lines: 2, refused: 1 });
    expect([...store.points.keys()].sort()).toEqual([
      'air,device=d,source=sensor ok 0',
      'air,device=d,source=sensor ok 1000',
      'air,device=d,source=sensor t 0',
      'air,device=d,source=sensor t 1000',
    ]);
    expect(aside.map(({ lines }) => lines)).toEqual([
      'air,device=d,source=sensor s="a \\"b\\", c=1 \\\\" 0\n',
    ]);
  });

  test('a server that refuses everything costs a bounded number of requests, and nothing is lost', async () => {
    refuse(() => true);
    const { made, aside } = writer();
    await made.write([table(10_000)]);
    expect(made.stats.requests).toBeLessThan(900);
    expect(
      aside
        .map(({ lines }) => lines)
        .join('')
        .split('\n').length - 1,
    ).toBe(10_000);
  });

  test('a number that line protocol cannot hold keeps only its table back', async () => {
    const { made, aside } = writer();
    const result = await made.write([table(2, 'x', Number.POSITIVE_INFINITY), table(1)]);
    expect(result).toMatchObject({ refused: 2, error: { code: 'ERR_LINE_ENCODE' } });
    expect(aside).toMatchObject([{ code: 'ERR_LINE_ENCODE' }]);
    expect(store.lines).toHaveLength(1);
  });

  test('codes of the control process are kept', () => {
    const text = JSON.stringify({
      status: 400,
      code: 'ERR_STORE_SERIES_BUDGET',
      detail: 'too many',
    });
    expect(writeError(400, text)).toMatchObject({ code: 'ERR_STORE_SERIES_BUDGET' });
    expect(writeError(413, '')).toMatchObject({ code: 'ERR_STORE_BODY_TOO_LARGE' });
    expect(writeError(400, '{"error":"timeout"}')).toMatchObject({ transient: true });
  });
});

test('closing gives up what is not stored, with an error', async () => {
  store.respond = () => 'hang';
  const { made } = writer();
  const writes = [made.write([table(1)]), made.write([table(1)])].map((write) =>
    write.catch((error: AnalyticsError) => error.code),
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  await made.close();
  expect(await Promise.all(writes)).toEqual(['ERR_STORE_CLOSED', 'ERR_STORE_CLOSED']);
});

test('one request is in flight at a time', async () => {
  let inFlight = 0;
  let most = 0;
  const sink: LineSink = async () => {
    most = Math.max(most, ++inFlight);
    await new Promise((resolve) => setImmediate(resolve));
    inFlight--;
  };
  const { made } = writer({ sink, maxLines: 5 });
  await Promise.all(Array.from({ length: 20 }, (_, i) => made.write([table(i)])));
  expect(most).toBe(1);
  expect(made.stats.lines).toBe(190);
  expect(new AnalyticsError('ERR_STORE_CLOSED', 'x').transient).toBe(false);
});
