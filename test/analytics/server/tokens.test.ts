import { mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openTokenStore } from '@fieldproof/analytics/server/tokens';
import { describe, expect, test } from '@jest/globals';

const DAY_MS = 86_400_000;

async function setUp() {
  const directory = await mkdtemp(join(tmpdir(), 'fieldproof-tokens-'));
  const time = { nowMs: 1_000 };
  const open = () => openTokenStore({ directory, clock: () => time.nowMs });
  return { directory, time, open, store: await open() };
}

const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'no error';
};

describe('tokens', () => {
  test('a made token is known by its text and keeps its scopes over a restart', async () => {
    const { store, open } = await setUp();
    const { token } = await store.create({ name: 'chart', scopes: ['read'], days: 1 });
    expect(token).toMatch(/^fpt_[A-Za-z0-9_-]{43}$/);
    const again = await open();
    expect(again.verify(token)).toEqual({
      ...{ name: 'chart', scopes: ['read'], createdMs: 1000, expiresMs: 1000 + DAY_MS },
    });
  });

  test('the file holds no token text and only its owner may read it', async () => {
    const { store, directory } = await setUp();
    const { token } = await store.create({ name: 'chart', scopes: ['read'] });
    const path = join(directory, 'tokens.json');
    expect(await readFile(path, 'utf8')).not.toContain(token.slice(4));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['tokens.json']);
  });

  test('every changed character makes a token unknown', async () => {
    const { store } = await setUp();
    const { token } = await store.create({ name: 'chart', scopes: ['read'] });
    for (let i = 0; i < token.length; i++) {
      const other = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1);
      expect(await codeOf(() => store.verify(other))).toBe('ERR_TOKEN_UNKNOWN');
    }
    expect(await codeOf(() => store.verify(''))).toBe('ERR_TOKEN_UNKNOWN');
    expect(await codeOf(() => store.verify(`${token} `))).toBe('ERR_TOKEN_UNKNOWN');
  });

  test('a token ends at its expiry, and its name may then be used again', async () => {
    const { store, time } = await setUp();
    const { token, expiresMs } = await store.create({ name: 'chart', scopes: ['read'], days: 1 });
    expect(await codeOf(() => store.create({ name: 'chart', scopes: ['read'] }))).toBe(
      'ERR_TOKEN_NAME',
    );
    time.nowMs = expiresMs - 1;
    expect(store.verify(token).name).toBe('chart');
    time.nowMs = expiresMs;
    expect(await codeOf(() => store.verify(token))).toBe('ERR_TOKEN_EXPIRED');
    await store.create({ name: 'chart', scopes: ['write'] });
    expect(store.list().map((t) => t.scopes)).toEqual([['write']]);
  });

  test('a revoked token is unknown at once', async () => {
    const { store } = await setUp();
    const { token } = await store.create({ name: 'chart', scopes: ['read'] });
    await store.revoke('chart');
    expect(await codeOf(() => store.verify(token))).toBe('ERR_TOKEN_UNKNOWN');
    expect(await codeOf(() => store.revoke('chart'))).toBe('ERR_TOKEN_NAME');
  });

  test('tokens made at the same time are all kept', async () => {
    const { store, open } = await setUp();
    const names = Array.from({ length: 20 }, (_, i) => `t${String(i).padStart(2, '0')}`);
    await Promise.all(names.map((name) => store.create({ name, scopes: ['read'] })));
    expect((await open()).list().map((token) => token.name)).toEqual(names);
  });

  test('ensure writes a token file once and renews it before it expires', async () => {
    const { store, open, time } = await setUp();
    const first = await store.ensure('admin', ['admin']);
    expect(first.created).toBe(true);
    expect((await stat(first.path)).mode & 0o777).toBe(0o600);
    const text = await readFile(first.path, 'utf8');
    const again = await open();
    expect(await again.ensure('admin', ['admin'])).toEqual({ path: first.path, created: false });
    expect(again.verify(text.trim()).scopes).toEqual(['admin']);
    time.nowMs += 340 * DAY_MS;
    expect((await again.ensure('admin', ['admin'])).created).toBe(true);
    expect(await readFile(first.path, 'utf8')).not.toBe(text);
    expect(await codeOf(() => again.verify(text.trim()))).toBe('ERR_TOKEN_UNKNOWN');
  });

  test('ensure replaces a token file whose scopes are others or whose text is none', async () => {
    const { store } = await setUp();
    const { path } = await store.ensure('flows', ['write']);
    expect((await store.ensure('flows', ['write', 'read'])).created).toBe(true);
    await writeFile(path, 'nonsense');
    expect((await store.ensure('flows', ['write', 'read'])).created).toBe(true);
  });

  test.each(['', '{', 'null', '[]', '{"version":2,"tokens":[]}', '{"version":1,"tokens":[{}]}'])(
    'a token file that is %j stops the start',
    async (text) => {
      const { directory, open } = await setUp();
      await writeFile(join(directory, 'tokens.json'), text);
      expect(await codeOf(open)).toBe('ERR_TOKEN_FILE');
    },
  );
});
