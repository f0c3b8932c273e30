import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type ChildEvent, SupervisedProcess } from '@fieldproof/stack/child-process';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

const entry = resolve(import.meta.dirname, 'fixtures/child.ts');
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
    const started = supervise('ready');
    const ready = await started.start();
    expect(ready.pid).toBe(started.pid);
    await started.stop();
    expect(() => process.kill(ready.pid as number, 0)).toThrow();
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
});
