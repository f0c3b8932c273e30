import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChildEvent, type Ready, SupervisedProcess } from '@fieldproof/stack/child-process';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { until } from '../support/network.ts';
import { programPath } from '../support/program.ts';
import { REPOSITORY } from '../support/repository.ts';

const FIXTURE = 'test/stack/fixtures/child.ts';
let folder: string;
let child: SupervisedProcess | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-child-'));
});
afterEach(async () => {
  await child?.stop();
  child = null;
  rmSync(folder, { recursive: true, force: true });
});

function supervise(
  mode: string,
  onEvent: (event: ChildEvent) => void = () => {},
  entry = programPath(FIXTURE),
): SupervisedProcess {
  child = new SupervisedProcess({
    name: 'broker',
    entry,
    args: [mode],
    logFile: join(folder, 'broker.log'),
    onEvent,
  });
  return child;
}

describe('a supervised process', () => {
  test('is awaited until it says that it is ready, and stopped', async () => {
    // From source and compiled, as it runs in the repository and from packages.
    for (const entry of [join(REPOSITORY, FIXTURE), programPath(FIXTURE)]) {
      const started = supervise('ready', () => {}, entry);
      const ready = await started.start();
      expect(ready.pid).toBe(started.pid);
      await started.stop();
      expect(() => process.kill(ready.pid as number, 0)).toThrow();
    }
  });

  test('that fails to start gives the line that it wrote for people', async () => {
    await expect(supervise('fail').start()).rejects.toMatchObject({
      code: 'ERR_PROCESS_FAILED',
      message: expect.stringContaining('error ERR_PORT_TAKEN: port 1 is taken'),
    });
  });

  test('that ends without a word is reported with its exit code', async () => {
    await expect(supervise('silent-exit').start()).rejects.toMatchObject({
      message: expect.stringContaining('exit code 4'),
    });
  });

  test('that is killed is started again, and both are told', async () => {
    const events: ChildEvent[] = [];
    const restarted = new Promise<void>((done) => {
      supervise('ready', (event) => {
        events.push(event);
        if (event.type === 'restarted') done();
      });
    });
    const ready = await child!.start();
    process.kill(ready.pid as number, 'SIGKILL');
    await restarted;
    expect(events.map((event) => event.type)).toEqual(['exited', 'restarted']);
    expect(child!.pid).not.toBe(ready.pid);
  });

  test('that is killed before it is ready is started again', async () => {
    const events: ChildEvent[] = [];
    child = new SupervisedProcess({
      ...{
        name: 'broker',
        entry: programPath(FIXTURE),
        args: ['killed-once', join(folder, 'killed')],
        maxPauseMs: 10,
      },
      logFile: join(folder, 'broker.log'),
      onEvent: (event) => events.push(event),
    });
    expect((await child.start()).mode).toBe('killed-once');
    expect(events).toEqual([{ type: 'exited', name: 'broker', how: 'SIGKILL', nextMs: 10 }]);
  });

  test('keeps the port that it was given at first', async () => {
    let restarted: (ready: Ready) => void = () => {};
    const again = new Promise<Ready>((done) => {
      restarted = done;
    });
    child = new SupervisedProcess({
      ...{
        name: 'broker',
        entry: programPath(FIXTURE),
        args: ['ready'],
        env: { PORT: '0' },
        maxPauseMs: 10,
      },
      envAgain: ({ port }) => ({ PORT: `${port}1234` }),
      logFile: join(folder, 'broker.log'),
      onEvent: (event) => {
        if (event.type === 'restarted') restarted(event.ready);
      },
    });
    const first = await child.start();
    process.kill(first.pid as number, 'SIGKILL');
    expect([first.port, (await again).port]).toEqual(['0', '01234']);
  });

  test('whose port another program keeps is given up with code and reason, after a while of tries', async () => {
    const { events, taken } = await withTakenPort(200);
    const lost = await untilEvent(events, 'lost');
    expect(lost).toMatchObject({
      name: 'broker',
      error: { code: 'ERR_PORT_LOST', message: expect.stringContaining('port 1 is taken') },
    });
    const failed = events.filter(({ type }) => type === 'failed');
    expect(failed[0]).toMatchObject({ why: expect.stringContaining('error ERR_PORT_TAKEN') });
    rmSync(taken);
    await new Promise((done) => setTimeout(done, 200));
    expect(events.at(-1)).toBe(lost);
  });

  test('whose port is free again in time goes on', async () => {
    const { events, taken } = await withTakenPort(60_000);
    await untilEvent(events, 'failed');
    rmSync(taken);
    await untilEvent(events, 'restarted');
  });

  test('that fails is not blamed for what an earlier run wrote', async () => {
    writeFileSync(join(folder, 'broker.log'), 'error ERR_PORT_TAKEN: long ago\n');
    await expect(supervise('silent-exit').start()).rejects.toMatchObject({
      message: expect.stringContaining('exit code 4'),
    });
  });

  test('whose log cannot be written does not take the supervisor along', async () => {
    child = new SupervisedProcess({
      ...{
        name: 'broker',
        entry: programPath(FIXTURE),
        args: ['ready'],
        logFile: join(folder, 'no/such/folder.log'),
      },
      onEvent: () => {},
    });
    await expect(child.start()).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

/** A process that is killed when it is ready, and finds its port taken from then on. */
async function withTakenPort(portPatienceMs: number) {
  const taken = join(folder, 'taken');
  const events: ChildEvent[] = [];
  child = new SupervisedProcess({
    ...{
      name: 'broker',
      entry: programPath(FIXTURE),
      args: ['fail-if', taken],
      maxPauseMs: 10,
      portPatienceMs,
    },
    logFile: join(folder, 'broker.log'),
    onEvent: (event) => events.push(event),
  });
  const { pid } = await child.start();
  writeFileSync(taken, '');
  process.kill(pid as number, 'SIGKILL');
  return { events, taken };
}

function untilEvent(events: readonly ChildEvent[], type: ChildEvent['type']) {
  return until(`an event ${type}`, () => events.find((event) => event.type === type));
}
