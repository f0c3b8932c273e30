import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SupervisedProcess } from '@fieldproof/stack/child-process';
import { awaitOrphans, forgetChildren, noteChildren } from '@fieldproof/stack/orphans';
import { processIdentity } from '@fieldproof/stack/process-identity';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { until } from '../support/network.ts';
import { programArguments, programPath } from '../support/program.ts';
import { REPOSITORY } from '../support/repository.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-orphans-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('what a killed npm start left running', () => {
  let child: ChildProcess | null = null;
  afterEach(() => {
    child?.kill('SIGKILL');
  });

  const sleeper = async (code: string): Promise<number> => {
    const started = spawn(process.execPath, [
      '-e',
      `${code}; console.log(); setInterval(() => {}, 1e9)`,
    ]);
    child = started;
    await new Promise((done) => started.stdout.once('data', done));
    return started.pid!;
  };

  test('is nothing in a new folder', async () => {
    expect(await awaitOrphans(folder)).toBe(0);
  });

  test('is asked to end and waited for', async () => {
    noteChildren(folder, [processIdentity(await sleeper(''))]);
    expect(await awaitOrphans(folder)).toBe(1);
    expect(await awaitOrphans(folder)).toBe(0);
  });

  test('is ended when it does not', async () => {
    noteChildren(folder, [processIdentity(await sleeper(`process.on('SIGTERM', () => {})`))]);
    expect(await awaitOrphans(folder, { patienceMs: 300 })).toBe(1);
    expect(await awaitOrphans(folder)).toBe(0);
  });
});

describe('a process that is not proved to be ours', () => {
  let innocent: ChildProcess;
  beforeEach(() => {
    innocent = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e9)'], { stdio: 'ignore' });
  });
  afterEach(() => {
    innocent.kill('SIGKILL');
  });

  test.each([
    ['of which only the id is known', (pid: number) => String(pid)],
    [
      'that was started at another time',
      (pid: number) => `${pid} 1 ${processIdentity(pid).split(' ')[2]}`,
    ],
    [
      'of another boot of the machine',
      (pid: number) => `${pid} ${processIdentity(pid).split(' ')[1]} x`,
    ],
  ])('gets no signal: one %s', async (_what, identity) => {
    noteChildren(folder, [identity(innocent.pid!)]);
    expect(await awaitOrphans(folder, { patienceMs: 200 })).toBe(0);
    await new Promise((done) => setTimeout(done, 100));
    expect([innocent.exitCode, innocent.signalCode]).toEqual([null, null]);
  });

  test('is nobody after an orderly stop', async () => {
    noteChildren(folder, [processIdentity(innocent.pid!)]);
    forgetChildren(folder);
    expect(await awaitOrphans(folder)).toBe(0);
    expect(isAlive(innocent.pid!)).toBe(true);
  });
});

describe('what is noted of a supervised process', () => {
  test('is its identity from when it was made, and nothing while it is dead', async () => {
    const noted: (string | null)[] = [];
    const child: SupervisedProcess = new SupervisedProcess({
      ...{
        name: 'broker',
        entry: programPath('test/stack/fixtures/child.ts'),
        args: ['ready'],
      },
      ...{ logFile: join(folder, 'log'), maxPauseMs: 10, onEvent: () => {} },
      onSpawn: () => noted.push(child.identity),
      onGone: () => noted.push(child.identity),
    });
    try {
      const { pid } = await child.start();
      const first = processIdentity(pid as number);
      process.kill(pid as number, 'SIGKILL');
      await until('it is started again', () => noted.length === 3);
      await child.stop();
      expect(noted).toEqual([first, null, expect.not.stringMatching(first), null]);
      expect(noted[2]).not.toBeNull();
    } finally {
      await child.stop();
    }
  });
});

describe('a process of the network whose parent is killed while it loads', () => {
  test.each([
    'broker/src/broker-main.ts',
    'analytics/src/control-main.ts',
    'flows/src/flows-main.ts',
    'stack/src/agents-main.ts',
  ])('ends: %s', async (entry) => {
    const pid = await orphan(programArguments(entry));
    try {
      await until(`${entry} has ended`, () => !isAlive(pid));
    } finally {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    }
  });
});

/** Starts a process with an IPC channel from a parent that is killed at once. */
async function orphan(program: readonly string[]): Promise<number> {
  const code = `
    const child = require('node:child_process').spawn(process.execPath, ${JSON.stringify(program)}, {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'], detached: true,
    });
    console.log(child.pid);
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50);`;
  const parent = spawn(process.execPath, ['-e', code], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      FIELDPROOF_BROKER_DATA_DIR: join(folder, 'broker'),
      FIELDPROOF_BROKER_HTTP_PORT: '0',
      FIELDPROOF_BROKER_MQTT_PORT: '0',
      FIELDPROOF_CONTROL_DATA_DIR: join(folder, 'control'),
      FIELDPROOF_CONTROL_PORT: '0',
      FIELDPROOF_FLOWS_DATA_DIR: join(folder, 'flows'),
      FIELDPROOF_FLOWS_PORT: '0',
    },
  });
  let output = '';
  parent.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await new Promise((done) => parent.once('close', done));
  return Number(output);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
