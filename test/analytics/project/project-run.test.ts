import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@fieldproof/analytics/cli/program';
import { ProjectRun, type ProjectRunOptions } from '@fieldproof/analytics/project/project-run';
import { httpLineSink } from '@fieldproof/analytics/projection/line-sink';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FakeLog, fakeDevice, NOON } from '../projection/evidence.ts';
import { FakeStore, TailServer, TOKEN, until } from '../projection/tail-server.ts';

let folder = '';
let log: FakeLog;
let server: TailServer;
let store: FakeStore;
let urls = { tail: '', store: '' };
const running: ProjectRun[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'project-'));
  log = new FakeLog();
  server = new TailServer(log);
  store = new FakeStore();
  urls = { tail: await server.start(), store: await store.start() };
});
afterEach(async () => {
  for (const run of running.splice(0)) await run.stop();
  await server.stop();
  await store.stop();
  rmSync(folder, { recursive: true });
});

async function start(options: Partial<ProjectRunOptions> = {}): Promise<ProjectRun> {
  const run = await ProjectRun.start({
    name: 'project',
    folder,
    tail: { url: urls.tail, token: async () => TOKEN },
    sink: httpLineSink({ url: urls.store }),
    // An hour after the readings: all their windows are due.
    clock: () => NOON + 3_600_000 + performance.now(),
    ...options,
  });
  running.push(run);
  return run;
}

/** Minutes of readings of three devices, one each second, an entry for ten of them. */
function fill(minutes: number, fromMinute = 0): void {
  for (let at = fromMinute * 60; at < (fromMinute + minutes) * 60; at += 10) {
    const points = Array.from({ length: 10 }, (_, i) => [NOON / 1000 + at + i, at + i] as const);
    for (const n of [0, 1, 2]) log.telemetry(fakeDevice(n), points);
  }
}

describe('a run of the projector without Node-RED', () => {
  test('with once it ends at the end of the log, with every reading and every window stored', async () => {
    fill(3);
    const run = await start({ once: true, windowsMs: [60_000] });
    await run.ended;
    await run.stop();
    const raw = store.lines.filter((line) => line.startsWith('air,'));
    expect(raw).toHaveLength(3 * 180);
    const windows = store.lines.filter((line) => line.startsWith('air_1m,'));
    const [first] = windows.filter((line) => line.endsWith(` ${NOON}000`));
    expect(first).toContain('temp_mean=29.5,temp_min=0,temp_max=59,temp_count=60');
    expect(new Set(windows.map((line) => line.split(' ')[2])).size).toBe(3);
    expect(run.status.projection).toMatchObject({ cursorIndex: log.size, isAtEnd: true });
  });

  test('another run goes on where the last one stopped, and repeats no window', async () => {
    fill(2);
    const first = await start({ once: true, windowsMs: [60_000] });
    await first.ended;
    await first.stop();
    const before = store.lines.length;
    fill(1, 2);
    const second = await start({ once: true, windowsMs: [60_000] });
    await second.ended;
    expect(store.lines.length - before).toBe(180 + 3);
  });

  test('killed at any request, the store holds each reading once and each window whole', async () => {
    fill(4);
    for (let round = 0; round < 6; round++) {
      const seen = store.bodies.length;
      const run = await start({ windowsMs: [60_000] });
      await until(() => store.bodies.length > seen);
      await run.stop();
      fill(1, 4 + round);
    }
    const last = await start({ once: true, windowsMs: [60_000] });
    await last.ended;
    const values = [...store.points].filter(([key]) => key.startsWith('air,'));
    expect(values).toHaveLength(10 * 180);
    const counts = [...store.points].filter(([key]) => key.includes(' temp_count '));
    expect(counts).toHaveLength(30);
    expect(new Set(counts.map(([, count]) => count))).toEqual(new Set(['60']));
  });

  test('a store that is away holds the cursor, and everything arrives when it is back', async () => {
    fill(1);
    store.respond = () => ({ status: 503, text: '' });
    const problems: string[] = [];
    const run = await start({ onProblem: (error) => problems.push(error.message) });
    await until(() => problems.length > 0);
    const { cursorIndex, oldestUnstoredMs } = run.status.projection;
    expect(cursorIndex).toBe(0);
    expect(oldestUnstoredMs).toBe(NOON);
    store.respond = () => undefined;
    await until(() => run.status.projection.cursorIndex === log.size);
    expect(store.points.size).toBe(180);
    expect(run.status.projection.oldestUnstoredMs).toBeUndefined();
  });

  test('a token that is refused ends the run with its code', async () => {
    const run = await start({ tail: { url: urls.tail, token: async () => 'other' } });
    await expect(run.ended).rejects.toMatchObject({ code: 'ERR_TAIL_AUTH' });
  });
});

describe('a window state that was damaged', () => {
  const path = () => join(folder, 'project.window-1m.state');
  const flip = (file: string, at: number) => {
    const bytes = readFileSync(file);
    bytes[at]! ^= 0x20;
    writeFileSync(file, bytes);
  };
  const run = async (clock: () => number) => {
    const problems: string[] = [];
    const onProblem = (error: Error) => problems.push((error as Error & { code: string }).code);
    const one = await start({ once: true, windowsMs: [60_000], clock, onProblem });
    await one.ended;
    await one.stop();
    return problems;
  };
  /** No window is due, so that each run leaves one state with the entries of it, and the one before. */
  const early = () => NOON - 3_600_000 + performance.now();
  const late = () => NOON + 3_600_000 + performance.now();

  test('at any byte, cut anywhere or gone: every window has every reading once', async () => {
    fill(2);
    await run(early);
    fill(1, 2);
    await run(early);
    const { size } = statSync(path());
    const saved = mkdtempSync(join(tmpdir(), 'project-saved-'));
    cpSync(folder, saved, { recursive: true });
    fill(1, 3);
    const before = store.lines.length;
    await run(late);
    const expected = [...store.points].filter(([key]) => key.startsWith('air_1m')).sort();
    expect(expected.filter(([key]) => key.includes(' temp_count '))).toHaveLength(4 * 3);

    const sampled = [0, 4, size >> 1, size - 1];
    for (let i = 0; i < (process.env.SOAK === '1' ? 500 : 1); i++) {
      sampled.push((i * 7919 + 101) % size);
    }
    const accidents: Record<string, () => void> = {
      missing: () => rmSync(path()),
      empty: () => writeFileSync(path(), ''),
      'cut in half': () => truncateSync(path(), size >> 1),
    };
    for (const at of sampled) accidents[`flipped at ${at}`] = () => flip(path(), at);
    const journal = readdirSync(saved).find((name) => name.includes('.journal-'))!;
    const journalPath = join(folder, journal);
    const journalSize = statSync(join(saved, journal)).size;
    for (const at of [0, 5, journalSize >> 1, journalSize - 1]) {
      accidents[`journal flipped at ${at}`] = () => flip(journalPath, at);
    }
    for (const [what, damage] of Object.entries(accidents)) {
      rmSync(folder, { recursive: true });
      cpSync(saved, folder, { recursive: true });
      store.lines.splice(before);
      damage();
      const problems = await run(late);
      if (what !== 'missing') expect([what, problems[0]]).toEqual([what, 'ERR_WINDOW_STATE']);
      const found = [...store.points].filter(([key]) => key.startsWith('air_1m')).sort();
      expect([what, found]).toEqual([what, expected]);
    }
    rmSync(saved, { recursive: true });
  });

  test('is made whole although the first attempts were killed, and although nothing new comes', async () => {
    fill(2);
    await run(early);
    fill(1, 2);
    await run(early);
    flip(path(), 50);
    for (let round = 0; round < 4; round++) {
      const one = await start({ windowsMs: [60_000], clock: late });
      const seen = store.bodies.length;
      if (round > 0) await until(() => store.bodies.length > seen || one.status.projection.isAtEnd);
      await one.stop();
    }
    await run(late);
    const counts = [...store.points].filter(([key]) => key.includes(' temp_count '));
    expect(counts.map(([, count]) => count)).toEqual(Array(9).fill('60'));
  });
});

describe('fieldproof project', () => {
  const run = async (args: readonly string[], env: Record<string, string> = {}) => {
    const out: string[] = [];
    const err: string[] = [];
    const abort = new AbortController();
    const code = runCli(['project', '--data', folder, ...args], {
      ...{ env, cwd: folder, fetch },
      out: (text) => void out.push(text),
      err: (text) => void err.push(text),
      interrupted: () => abort.signal,
    });
    return { code, abort, out, err };
  };
  const tail = async () => {
    const { writeFileSync } = await import('node:fs');
    const file = join(folder, 'token');
    writeFileSync(file, TOKEN);
    return ['--broker-url', urls.tail, '--tail-token-file', file];
  };

  test('--once writes to INFLUX_URL and prints what it did', async () => {
    fill(1);
    const env = { INFLUX_URL: urls.store };
    const { code, out } = await run([...(await tail()), '--once', '--json'], env);
    expect(await code).toBe(0);
    expect(JSON.parse(out.join(''))).toMatchObject({ nextIndex: log.size, readings: 180 });
    expect(store.lines).toHaveLength(180);
  });

  test('Ctrl-C ends it cleanly, with the cursor behind what is stored', async () => {
    fill(1);
    const env = { INFLUX_URL: urls.store };
    const { code, abort, err } = await run([...(await tail()), '--json'], env);
    await until(() => store.lines.length === 180);
    abort.abort();
    expect(await code).toBe(0);
    expect(err.join('')).toContain('entries');
  });

  test('says what is wrong with its arguments', async () => {
    const bad = await run([...(await tail()), '--window', '7'], { INFLUX_URL: urls.store });
    expect(await bad.code).toBe(2);
    const none = await run(await tail());
    expect(await none.code).toBe(4);
    expect(none.err.join('')).toContain('ERR_TOKEN_MISSING');
  });
});
