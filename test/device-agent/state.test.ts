import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beginBoot, lastBootCounter } from '@fieldproof/device-agent/boot';
import { takeStateLock } from '@fieldproof/device-agent/state-lock';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-state-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('the state lock', () => {
  test('keeps a second agent out until it is released', async () => {
    const lock = await takeStateLock(folder);
    await expect(takeStateLock(folder)).rejects.toMatchObject({ code: 'ERR_AGENT_LOCKED' });
    await lock.release();
    await (await takeStateLock(folder)).release();
  });

  test('of a process that is gone does not hold', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'exit');
    await writeFile(join(folder, 'lock'), `${child.pid} somewhere/1 00\n`);
    await (await takeStateLock(folder)).release();
  });

  test('of a process id that was given to another process does not hold', async () => {
    await writeFile(join(folder, 'lock'), `${process.pid} another-boot/1 00\n`);
    await (await takeStateLock(folder)).release();
  });

  test('is taken by one of many at once', async () => {
    await writeFile(join(folder, 'lock'), 'rubbish');
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => takeStateLock(folder)));
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});

describe('a boot', () => {
  const random = (length: number) => new Uint8Array(length).fill(5);

  test('counts up with every start and is on disk before anything is sent', async () => {
    expect(await beginBoot({ folder, atLeast: 0, random })).toEqual({
      counter: 1,
      seed: random(4),
      hasLeapt: false,
      wasDamaged: false,
    });
    expect(await beginBoot({ folder, atLeast: 0, random })).toMatchObject({ counter: 2 });
    expect(JSON.parse(await readFile(join(folder, 'boot.json'), 'utf8'))).toEqual({
      counter: 2,
      seed: '05050505',
    });
  });

  test('is newer than any in the outbox', async () => {
    expect(await beginBoot({ folder, atLeast: 41, random })).toMatchObject({ counter: 42 });
  });

  test.each(['boot.json', 'boot-copy.json'])(
    'goes on where %s is damaged or lost',
    async (name) => {
      for (let start = 1; start <= 3; start += 1) await beginBoot({ folder, atLeast: 0, random });
      await writeFile(join(folder, name), '{"counter":-1}');
      expect(await beginBoot({ folder, atLeast: 0, random })).toMatchObject({
        counter: 4,
        hasLeapt: false,
      });
      await rm(join(folder, name));
      expect(await beginBoot({ folder, atLeast: 0, random })).toMatchObject({ counter: 5 });
      expect(await lastBootCounter(folder)).toBe(5);
    },
  );

  test('whose count is lost begins well above all that is known, so that no counter comes twice', async () => {
    await writeFile(join(folder, 'boot.json'), 'rubbish');
    await writeFile(join(folder, 'boot-copy.json'), '');
    const leapt = await beginBoot({ folder, atLeast: 17, random });
    expect(leapt).toMatchObject({ counter: 1017, hasLeapt: true });
    for (const name of ['boot.json', 'boot-copy.json']) await rm(join(folder, name));
    expect(await beginBoot({ folder, atLeast: 17, wasHere: true, random })).toMatchObject({
      counter: 1017,
      hasLeapt: true,
    });
  });
});
