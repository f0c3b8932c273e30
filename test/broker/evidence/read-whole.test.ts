import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readWhole } from '@fieldproof/broker/evidence/read-whole';
import { afterAll, expect, test } from '@jest/globals';

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-read-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([0, 1, 8192, 16_383, 16_384, 16_385, 65_536, 300_001])(
  'a file of %i bytes is read whole, and nothing besides',
  async (length) => {
    const path = join(folder, String(length));
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7) % 251);
    writeFileSync(path, bytes);
    const got = await readWhole(path);
    expect(got.length).toBe(length);
    expect(Buffer.compare(got, bytes)).toBe(0);
  },
);

test('a file that is missing, and a folder, reject with the error of the system', async () => {
  await expect(readWhole(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(readWhole(folder)).rejects.toMatchObject({ code: 'EISDIR' });
});
