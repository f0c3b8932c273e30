import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DATA_VERSION, openDataFolder, releaseDataFolder } from '@fieldproof/stack/data-folder';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fieldproof-data-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('the data folder', () => {
  test('is made for its owner alone and states its version', () => {
    const folder = openDataFolder(join(root, 'new'));
    expect(statSync(folder.broker).mode & 0o777).toBe(0o700);
    expect(readFileSync(join(folder.root, 'VERSION'), 'utf8')).toBe(`${DATA_VERSION}\n`);
    releaseDataFolder(folder);
  });

  test('opens again after it was released', () => {
    releaseDataFolder(openDataFolder(root));
    expect(() => openDataFolder(root)).not.toThrow();
  });

  test('of another version is refused and left alone', () => {
    writeFileSync(join(root, 'VERSION'), '99\n');
    expect(() => openDataFolder(root)).toThrow(
      expect.objectContaining({ code: 'ERR_DATA_VERSION' }),
    );
    expect(readFileSync(join(root, 'VERSION'), 'utf8')).toBe('99\n');
  });

  test('in use by a living process is refused', () => {
    openDataFolder(root);
    writeFileSync(join(root, 'RUNNING'), '1\n');
    expect(() => openDataFolder(root)).toThrow(
      expect.objectContaining({ code: 'ERR_ALREADY_RUNNING' }),
    );
  });

  test('left behind by a killed process opens', () => {
    openDataFolder(root);
    writeFileSync(join(root, 'RUNNING'), '4194305\n');
    expect(() => openDataFolder(root)).not.toThrow();
  });

  test('left behind by a killed process opens when somebody else has its id now', () => {
    openDataFolder(root);
    writeFileSync(join(root, 'RUNNING'), `${process.ppid} 1 another-boot-of-the-machine\n`);
    expect(() => openDataFolder(root)).not.toThrow();
  });

  test('that is a file is refused with the path', () => {
    const path = join(root, 'file');
    writeFileSync(path, '');
    expect(() => openDataFolder(path)).toThrow(
      expect.objectContaining({ code: 'ERR_DATA_FOLDER', message: expect.stringContaining(path) }),
    );
  });
});
