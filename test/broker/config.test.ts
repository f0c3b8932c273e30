import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CONFIG_DEFAULTS, readEnvironment, resolveConfig } from '@fieldproof/broker/config';
import { openDataFolder } from '@fieldproof/broker/data-folder';
import { loadKeys } from '@fieldproof/broker/keys';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { REPOSITORY } from '../support/services.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-config-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('settings', () => {
  test('later layers win, absent ones do not', () => {
    const config = resolveConfig({ httpPort: 1 }, { httpPort: 2, lan: undefined }, {});
    expect(config).toEqual({ ...CONFIG_DEFAULTS, httpPort: 2 });
  });

  test('all problems are told at once', () => {
    const wrong = { htpPort: 1, mqttPort: -1, lan: 'yes', names: 'x', verifierThreads: 1.5 };
    expect(() => resolveConfig(wrong)).toThrow(
      /htpPort: no such setting; mqttPort: .*; lan: .*; names: .*; verifierThreads: /,
    );
  });

  test('the environment says the same', () => {
    const settings = readEnvironment({
      FIELDPROOF_BROKER_HTTP_PORT: '0',
      FIELDPROOF_BROKER_LAN: 'true',
      FIELDPROOF_BROKER_NAMES: 'a, b',
      DATABASE_URL: 'postgres://x',
    });
    expect(settings).toEqual({
      httpPort: 0,
      lan: true,
      names: ['a', 'b'],
      databaseUrl: 'postgres://x',
    });
    expect(() => resolveConfig(readEnvironment({ FIELDPROOF_BROKER_HTTP_PORT: '' }))).toThrow(
      'httpPort',
    );
  });

  test('the manual has every setting', () => {
    const manual = readFileSync(join(REPOSITORY, 'broker/README.md'), 'utf8');
    for (const key of Object.keys(CONFIG_DEFAULTS)) expect(manual).toContain(`\`${key}\``);
  });
});

describe('the data folder', () => {
  test('is for one at a time, and free again after', async () => {
    const first = await openDataFolder(folder);
    await expect(openDataFolder(folder)).rejects.toMatchObject({ code: 'ERR_DATA_LOCKED' });
    await first.close();
    await (await openDataFolder(folder)).close();
  });

  test('one that a newer version wrote is refused, and left unlocked', async () => {
    writeFileSync(join(folder, 'version'), '2\n');
    for (let i = 0; i < 2; i++) {
      await expect(openDataFolder(folder)).rejects.toMatchObject({ code: 'ERR_DATA_NEWER' });
    }
  });
});

describe('keys', () => {
  const random = (length: number) => Uint8Array.from(randomBytes(length));

  test('are made once; the network id comes from the root key', () => {
    const keys = loadKeys(folder, random);
    expect(loadKeys(folder, random).network).toBe(keys.network);
    const hash = createHash('sha256').update(keys.rootKey).digest();
    let bits = '';
    for (const byte of hash.subarray(0, 5)) bits += byte.toString(2).padStart(8, '0');
    const id = bits
      .match(/.{5}/g)!
      .map((five) => 'abcdefghijklmnopqrstuvwxyz234567'[Number.parseInt(five, 2)]);
    expect(keys.network).toBe(id.join(''));
    expect(readdirSync(join(folder, 'keys')).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('a missing or damaged role key stops the start', () => {
    loadKeys(folder, random);
    writeFileSync(join(folder, 'keys/log.key'), 'AA\n');
    expect(() => loadKeys(folder, random)).toThrow('expected 32 bytes');
    rmSync(join(folder, 'keys/log.key'));
    expect(() => loadKeys(folder, random)).toThrow('missing');
  });
});
