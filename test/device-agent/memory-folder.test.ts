import { chmod, cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@fieldproof/device-agent/log';
import { memoryFolderOf, openMemoryFolder } from '@fieldproof/device-agent/memory-folder';
import { afterEach, beforeEach, expect, test } from '@jest/globals';

let folder: string;
let next = 0;
const random = (length: number) => new Uint8Array(length).fill(next++);
const opened = (state: string, parent: string | undefined = join(folder, 'run')) =>
  openMemoryFolder({ parent, state: join(folder, state), random, log: silentLog });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-memory-'));
  await mkdir(join(folder, 'state'));
});
afterEach(() => rm(folder, { recursive: true }));

test('an agent finds its folder again, and removes it when nothing in it is needed', async () => {
  const first = (await opened('state'))!;
  expect(await memoryFolderOf(join(folder, 'state'))).toBe(first.path);
  await first.close(true);
  const again = (await opened('state'))!;
  expect(again.path).toBe(first.path);
  await again.close(false);
  expect(await readdir(join(folder, 'run'))).toEqual([]);
});

test('an agent on a copy of the state makes its own while the first one runs', async () => {
  const first = (await opened('state'))!;
  await cp(join(folder, 'state'), join(folder, 'copy'), { recursive: true });
  const second = (await opened('copy'))!;
  expect(second.path).not.toBe(first.path);
  for (const each of [first, second]) await each.close(false);
});

test('a folder that others can write to is not used, and without one there is none', async () => {
  const first = (await opened('state'))!;
  await first.close(true);
  await chmod(first.path, 0o777);
  const second = (await opened('state'))!;
  expect(second.path).not.toBe(first.path);
  await second.close(false);
  expect(await openMemoryFolder({ parent: undefined, state: folder, random, log: silentLog })).toBe(
    undefined,
  );
  await writeFile(join(folder, 'file'), '');
  expect(await opened('state', join(folder, 'file'))).toBeUndefined();
});
