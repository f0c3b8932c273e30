import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFiles } from '@fieldproof/broker/evidence/file-layer';
import { acquireLock } from '@fieldproof/broker/evidence/file-lock';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { programArguments } from '../../support/program.ts';
import { device, envelope, openLog, put } from './open-log.ts';

const PROGRAM = programArguments('test/broker/evidence/append-forever.ts');
const KILLS = 20;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fieldproof-test-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** Starts the process, kills it after it has printed some lines, and gives the greatest index that it printed. */
async function runAndKill(lines: number): Promise<number> {
  const child = spawn(process.execPath, [...PROGRAM, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (text.split('\n').length > lines) child.kill('SIGKILL');
  });
  await new Promise((resolve) => child.once('close', resolve));
  // The last line may be cut off.
  const whole = text.split('\n').slice(0, -1);
  expect(whole[0]).toMatch(/^ready /);
  return Math.max(-1, ...whole.slice(1).map(Number));
}

describe('kill -9', () => {
  test(`leaves everything that was told durable, ${KILLS} times over`, async () => {
    let durable = -1;
    for (let kill = 0; kill < KILLS; kill += 1) {
      durable = Math.max(durable, await runAndKill(10 + kill * 37));
      const log = await openLog(nodeFiles, {}, folder);
      expect(log.size).toBeGreaterThan(durable);
      expect(log.receiptFor(device(0)).boots[0]?.settledThrough).toBe(log.size - 1);
      for (const seq of [0, durable >> 1, durable]) {
        expect(await put(log, envelope(seq, { bytes: 300 }))).toEqual({ kind: 'duplicate' });
        expect((await log.readFrame(seq)).body).toEqual(envelope(seq, { bytes: 300 }).body);
      }
      await log.close();
    }
    expect(durable).toBeGreaterThan(1000);
  });

  test('leaves a lock that the next one takes over, and a live one keeps others out', async () => {
    await runAndKill(3);
    const log = await openLog(nodeFiles, {}, folder);
    await expect(openLog(nodeFiles, {}, folder)).rejects.toMatchObject({ code: 'ERR_DATA_LOCKED' });
    const child = spawn(process.execPath, [...PROGRAM, folder], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(1);
    expect(errors).toContain(`held by process ${process.pid}`);
    await log.close();
    await (await openLog(nodeFiles, {}, folder)).close();
  });
});

describe('a lock file', () => {
  test.each(['', 'nonsense', '999999999 1 x', `${process.pid} 1 another-boot`, '-1'])(
    'that says %p is stale',
    async (content) => {
      const path = join(folder, 'lock');
      const { writeFile, readFile } = await import('node:fs/promises');
      await writeFile(path, content);
      const release = await acquireLock(path);
      expect(await readFile(path, 'utf8')).toMatch(new RegExp(`^${process.pid}\\b`));
      await release();
      await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
    },
  );
});
