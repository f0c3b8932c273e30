import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAccess, tokenFile } from '@fieldproof/broker/http/access';
import { afterEach, beforeEach, expect, test } from '@jest/globals';

const random = (bytes: number) => Uint8Array.from(randomBytes(bytes));

let folder: string;
let path: string;
let replaced: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-access-'));
  path = tokenFile(folder, 'admin');
  replaced = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A check of the tokens as they are on disk. */
function load(): (token: string) => boolean {
  const access = loadAccess(folder, random, (file) => replaced.push(file));
  return (token) => {
    try {
      access({ headers: { authorization: `Bearer ${token}` } } as never, 'admin');
      return true;
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
      return false;
    }
  };
}

const onDisk = () => readFileSync(path, 'utf8').trim();

test('tokens are made once, 32 random bytes each, for their owner only', () => {
  load();
  const token = onDisk();
  expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(load()(token)).toBe(true);
  expect([onDisk(), replaced]).toEqual([token, []]);
});

test.each([0, 1, 10, 42])(
  'a token file cut to %d characters gets a new token, which is said',
  (length) => {
    load();
    const token = onDisk();
    writeFileSync(path, token.slice(0, length));
    const allows = load();
    expect([allows(token.slice(0, length)), allows(token), allows(onDisk())]).toEqual([
      false,
      false,
      true,
    ]);
    expect(onDisk()).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(replaced).toEqual([path]);
  },
);

test.each([
  ['zeros', '\0'.repeat(44)],
  ['two lines', `${'a'.repeat(30)}\n${'b'.repeat(30)}\n`],
])('a token file with %s gets a new token', (_what, content) => {
  load();
  writeFileSync(path, content);
  expect(load()(onDisk())).toBe(true);
  expect(replaced).toEqual([path]);
});

test('a longer token of the operator is left alone', () => {
  load();
  const token = 'x'.repeat(64);
  writeFileSync(path, `${token}\n`);
  expect(load()(token)).toBe(true);
  expect(replaced).toEqual([]);
});
