import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MicroBatch } from '@fieldproof/analytics/projection/batcher';
import { decodeCursor } from '@fieldproof/analytics/projection/cursor-file';
import { httpLineSink } from '@fieldproof/analytics/projection/line-sink';
import { Projection, type ProjectionOptions } from '@fieldproof/analytics/projection/projection';
import { StoreWriter } from '@fieldproof/analytics/projection/store-writer';
import { entryHash } from '@fieldproof/analytics/projection/tail-client';
import { WindowService } from '@fieldproof/analytics/projection/window-service';
import { readFrame } from '@fieldproof/protocol/frame';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FakeLog, fakeDevice, NOON } from './evidence.ts';
import { FakeStore, TailServer, TOKEN, until } from './tail-server.ts';

let folder = '';
let log: FakeLog;
let server: TailServer;
let store: FakeStore;
let urls = { tail: '', store: '' };
const running: { stop(): Promise<void> }[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'projection-'));
  log = new FakeLog();
  server = new TailServer(log);
  store = new FakeStore();
  urls = { tail: await server.start(), store: await store.start() };
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
  await server.stop();
  await store.stop();
  rmSync(folder, { recursive: true });
});

function projection(options: Partial<ProjectionOptions> & Pick<ProjectionOptions, 'send'>) {
  const made = new Projection({
    url: urls.tail,
    token: async () => TOKEN,
    cursorPath: join(folder, 'a.cursor'),
    deadLetterPath: join(folder, 'a.frames'),
    ...options,
  });
  made.setConsumers(['store']);
  running.push(made);
  made.start();
  return made;
}

/** A projection into the fake store, as `store` does it. */
function storing(limits: ProjectionOptions['limits'] = {}, acknowledgements = Infinity) {
  let left = acknowledgements;
  const writer = new StoreWriter({
    sink: httpLineSink({ url: urls.store }),
    setAside: async () => {},
    sleep: async () => {},
  });
  running.push({ stop: () => writer.close() });
  const made: Projection = projection({
    limits,
    send: (batch) => {
      if (!made.take(batch.id, 'store')) return;
      writer.write(batch.tables).then(
        () => {
          if (left-- > 0) made.acknowledge(batch.id, 'store');
        },
        () => made.letGo(batch.id, 'store'),
      );
    },
  });
  return { made, writer };
}

function fill(batches: number, perBatch = 4): number {
  const devices = [0, 1, 2].map(fakeDevice);
  for (let b = 0; b < batches; b++) {
    const time = NOON / 1000 + log.size * 100;
    const points = Array.from({ length: perBatch }, (_, i) => [time + i, i] as const);
    log.telemetry(devices[b % 3]!, points);
  }
  return batches * perBatch;
}

test('readings arrive in the store, the cursor follows, and a new start repeats nothing', async () => {
  const expected = fill(50);
  const { made } = storing();
  await until(() => made.status.cursorIndex === log.size);
  await made.stop();
  expect(store.lines).toHaveLength(expected);
  fill(5);
  const again = storing().made;
  await until(() => again.status.cursorIndex === log.size);
  expect(store.lines).toHaveLength(expected + 20);
  expect(again.status).toMatchObject({ connected: true, unacknowledged: 0, readings: 20 });
});

test('killed between write and acknowledgement, the store holds each reading once in the end', async () => {
  const expected = fill(60);
  for (let round = 0; round < 4; round++) {
    const seen = store.bodies.length;
    // In every other round nothing is acknowledged, so that what was written is written again for certain.
    const { made, writer } = storing({ maxLines: 24 }, round % 2);
    await until(() => store.bodies.length > seen);
    // No time to say anything: what is on its way is lost, the cursor file is whatever it is.
    await writer.close();
    await made.stop();
  }
  const { made } = storing({ maxLines: 24 });
  await until(() => made.status.cursorIndex === log.size);
  expect(store.lines.length).toBeGreaterThan(expected);
  expect(store.points.size).toBe(expected);
});

test('entries that waited are stored before the cursor passes their anchor', async () => {
  const device = fakeDevice(1);
  for (let i = 0; i < 30; i++) log.telemetry(device, [[-1, i]], { bootMs: 10_000 + i * 1000 });
  const first = storing().made;
  await until(() => first.status.cursorIndex === log.size);
  expect(first.status.waiting).toBe(30);
  await first.stop();
  expect(store.lines).toEqual([]);
  log.anchor(device, NOON);
  const second = storing({ maxLines: 10 }).made;
  await until(() => second.status.cursorIndex === log.size);
  expect(store.points.size).toBe(30);
  expect(second.status.waiting).toBe(0);
});

test('the state in the file is that of the cursor, not of what was read ahead', async () => {
  const device = fakeDevice(1);
  log.telemetry(device, [[-1, 1]], { bootMs: 10_000 });
  log.telemetry(device, [[NOON / 1000, 1]]);
  log.anchor(device, NOON);
  // Nobody acknowledges: the anchor is read, its entry released and sent, and then all is lost.
  const sent: MicroBatch[] = [];
  const deaf = projection({ send: (batch) => sent.push(batch), limits: { maxLines: 1 } });
  await until(() => sent.length === 2);
  expect(deaf.status.waiting).toBe(0);
  await deaf.stop();
  const { made } = storing();
  await until(() => made.status.cursorIndex === log.size);
  expect(store.points.size).toBe(2);
});

test('a consumer that is slow stops the reading, and memory with it', async () => {
  fill(400);
  const sent: MicroBatch[] = [];
  const made = projection({ send: (batch) => sent.push(batch), limits: { maxLines: 4 } });
  await until(() => sent.length === 8);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(sent).toHaveLength(8);
  expect(made.status).toMatchObject({ unacknowledged: 8, cursorIndex: 0 });
  for (const { id } of sent.slice(0, 3)) made.acknowledge(id, 'store');
  await until(() => sent.length === 11);
});

test('what nobody acknowledges is set aside, whole, and can be projected again', async () => {
  fill(2);
  let now = 0;
  const sent: MicroBatch[] = [];
  const made = projection({ send: (batch) => sent.push(batch), clock: () => now, tickMs: 2 });
  await until(() => {
    now += 10;
    return sent.length === 1;
  });
  await until(() => {
    now += 31_000;
    return made.status.deadLetters === 1;
  });
  expect(sent).toHaveLength(5);
  const bytes = readFileSync(join(folder, 'a.frames'));
  const first = readFrame(bytes, 0);
  expect(first).toMatchObject({ kind: 'frame', frame: { index: 1 } });
  expect(bytes.equals(log.bytes(1))).toBe(true);
  await until(() => made.status.cursorIndex === 3);
});

test('a body that cannot be read is counted by its code and does not stop the others', async () => {
  log.batch(fakeDevice(1), { payload: Uint8Array.of(0xff) });
  const expected = fill(3);
  const { made } = storing();
  await until(() => made.status.cursorIndex === log.size);
  expect(store.lines).toHaveLength(expected);
  expect(made.status.unprojectable).toMatchObject({ ERR_CBOR_MALFORMED: 1 });
});

test('a cursor is not used on another log', async () => {
  fill(3);
  const first = storing().made;
  await until(() => first.status.cursorIndex === log.size);
  await first.stop();
  server.log = new FakeLog('another network');
  for (let i = 0; i < 9; i++) server.log.telemetry(fakeDevice(1), [[NOON / 1000, 1]]);
  const second = storing().made;
  await until(() => second.status.problem !== undefined);
  expect(second.status.problem).toMatchObject({ code: 'ERR_TAIL_OTHER_LOG' });
  expect(store.lines).toHaveLength(12);
});

describe('a log that has gone back', () => {
  const fork = (size: number, name: string) => {
    log.frames.length = size;
    const device = fakeDevice(3);
    for (let i = 0; i < 4; i++) log.telemetry(device, [[NOON / 1000 + 1e6 + i, name.length + i]]);
  };

  test('is read anew from entry 0, by a cursor that lies behind its end or among other entries', async () => {
    for (const grown of [0, 40]) {
      fill(20);
      const { made } = storing();
      await until(() => made.status.cursorIndex === log.size);
      await made.stop();
      fork(8, 'restored');
      fill(grown, 5);
      const problems: string[] = [];
      const before = store.lines.length;
      const again = projection({
        send: (batch) => {
          if (!again.take(batch.id, 'store')) return;
          store.lines.push(...batch.tables.map(() => ''));
          again.acknowledge(batch.id, 'store');
        },
        onProblem: (error) => problems.push((error as { code?: string }).code ?? error.message),
      });
      await until(() => again.status.cursorIndex === log.size);
      expect(problems).toEqual(['ERR_TAIL_FORKED']);
      expect(again.status).toMatchObject({ connected: true, problem: undefined });
      // Every entry with readings, those before the fork too.
      expect(store.lines.length - before).toBe(
        log.frames.filter(({ body }) => body.length > 0).length,
      );
      expect(again.generation).not.toBe(made.generation);
      await again.stop();
    }
  });

  test('while its broker was away for a moment is noticed at the reconnect', async () => {
    fill(20);
    const { made } = storing();
    await until(() => made.status.cursorIndex === log.size);
    server.cut();
    fork(8, 'restored');
    fill(60, 5);
    await until(() => made.status.cursorIndex === log.size && made.generation !== '');
    for (const { index } of log.frames.slice(9)) expect(index).toBeLessThan(log.size);
    const stored = new Set([...store.points.keys()].map((key) => key.split(' ')[2]));
    for (let i = 0; i < 4; i++) expect(stored).toContain(String((NOON / 1000 + 1e6 + i) * 1e6));
  });

  test.each([404, 416, 502])('is not what a proxy says with HTTP %d', async (status) => {
    fill(20);
    const { made } = storing();
    await until(() => made.status.cursorIndex === log.size);
    const { readings } = made.status;
    server.refusals.push(status);
    fill(4);
    server.cut();
    await until(() => made.status.cursorIndex === log.size);
    expect(server.refusals).toEqual([]);
    expect(made.generation).toBe('');
    expect(made.status.readings - readings).toBe(16);
  });

  test('is not forgotten by a cursor of before that is written late', async () => {
    fill(60);
    let isFrozen = false;
    const made = projection({
      limits: { maxLines: 1 },
      send: (batch) => {
        if (isFrozen || !made.take(batch.id, 'store')) return;
        setTimeout(() => made.acknowledge(batch.id, 'store'), 20 + ((batch.id * 37) % 200));
      },
    });
    await until(() => made.status.cursorIndex >= 12);
    fork(8, 'restored');
    fill(60, 5);
    server.cut();
    await until(() => made.generation !== '');
    // What comes of the log anew is not acknowledged; what was on its way before is.
    isFrozen = true;
    await new Promise((resolve) => setTimeout(resolve, 600));
    const cursor = decodeCursor(readFileSync(join(folder, 'a.cursor')));
    expect(cursor).toMatchObject({ generation: made.generation });
  });

  test('that only grew while the broker was away is not', async () => {
    fill(20);
    const { made } = storing();
    await until(() => made.status.cursorIndex === log.size);
    server.cut();
    fill(20);
    await until(() => made.status.cursorIndex === log.size);
    expect(made.generation).toBe('');
    await made.stop();
    const cursor = readFileSync(join(folder, 'a.cursor'));
    expect(decodeCursor(cursor).before).toBe(entryHash(log.frames[log.size - 1]!));
  });

  test('by one reader loses nothing of another one that was added since', async () => {
    fill(20);
    const windows = await WindowService.open({
      path: join(folder, 'w.state'),
      ...{ windowMs: 3_600_000, graceMs: 0, horizonMs: 7_200_000 },
      clock: () => NOON,
      log: () => {},
    });
    const reader = (name: string) => {
      const made = projection({
        cursorPath: join(folder, `${name}.cursor`),
        send: (batch) => {
          if (!made.take(batch.id, 'store')) return;
          const { logId: stream = '', generation } = made;
          void windows
            .apply({ ...batch, stream, generation })
            .then((isDurable) => isDurable && made.acknowledge(batch.id, 'store'));
        },
      });
      return made;
    };
    const old = reader('old');
    await until(() => old.status.cursorIndex === log.size);
    fork(8, 'restored');
    fill(40, 5);
    server.cut();
    await until(() => old.status.cursorIndex === log.size && old.generation !== '');
    await old.stop();
    const added = reader('added');
    await until(() => added.status.cursorIndex === log.size);
    const before = windows.openWindows;
    log.telemetry(fakeDevice(7), [[NOON / 1000, 1]]);
    server.push();
    await until(() => added.status.cursorIndex === log.size);
    expect(windows.openWindows).toBeGreaterThan(before);
    await added.stop();
    await windows.close();
  });
});
