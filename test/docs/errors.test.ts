import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { ERROR_TABLES, errorsPage } from '../../docs/errors-page.ts';
import { REPOSITORY } from '../support/services.ts';

describe('docs/errors.md', () => {
  test('has a row for every code of every package, as the tables say', () => {
    const page = readFileSync(resolve(REPOSITORY, 'docs/errors.md'), 'utf8');
    expect(page).toBe(errorsPage());
  });

  test.each(Object.entries(ERROR_TABLES))(
    '%s: every row has a sentence and a remedy',
    (_n, table) => {
      for (const [code, { what, remedy }] of Object.entries(table)) {
        expect(code).toMatch(/^ERR_[A-Z0-9_]+$/);
        expect(what).toMatch(/^[\p{Lu}<`“"].*[.)]$/su);
        expect(remedy.length).toBeGreaterThan(5);
      }
    },
  );

  test('knows every code that a specification document names', () => {
    const known = new Set(Object.values(ERROR_TABLES).flatMap((table) => Object.keys(table)));
    const folder = resolve(REPOSITORY, 'docs/spec');
    const named = readdirSync(folder).flatMap((file) =>
      [...readFileSync(join(folder, file), 'utf8').matchAll(/`(ERR_[A-Z0-9_]+)`/g)].map(
        ([, code]) => code as string,
      ),
    );
    expect([...new Set(named)].filter((code) => !known.has(code))).toEqual([]);
  });

  test('knows every code that source files raise', () => {
    const known = new Set(Object.values(ERROR_TABLES).flatMap((table) => Object.keys(table)));
    const folders = [
      'protocol',
      'compute',
      'device-agent',
      'broker',
      'analytics',
      'flows',
      'stack',
    ];
    const unknown = folders.flatMap((name) =>
      sources(resolve(REPOSITORY, name, 'src')).flatMap((path) =>
        [...readFileSync(path, 'utf8').matchAll(/Error\(\s*'(ERR_[A-Z0-9_]+)'/g)]
          .map(([, code]) => code as string)
          .filter((code) => !known.has(code))
          .map((code) => `${path}: ${code}`),
      ),
    );
    expect(unknown).toEqual([]);
  });
});

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}
