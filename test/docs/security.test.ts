import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { CONFIG_DEFAULTS } from '@fieldproof/broker/config';
import { describe, expect, test } from '@jest/globals';
import { REPOSITORY } from '../support/repository.ts';

const PAGES = ['SECURITY.md', 'docs/guides/on-the-internet.md'];

describe.each(PAGES)('%s', (page) => {
  const text = readFileSync(resolve(REPOSITORY, page), 'utf8');
  const matches = (pattern: RegExp): string[] =>
    [...text.matchAll(pattern)].map(([, match]) => match as string);

  test('names tests that exist', () => {
    const files = matches(/`(test\/[^`]+)`/g);
    expect(files.filter((file) => !existsSync(resolve(REPOSITORY, file)))).toEqual([]);
  });

  test('names settings that exist', () => {
    const settings = matches(/`([a-z]+(?:[A-Z][a-z]+)+)`/g);
    expect(settings.filter((name) => !Object.hasOwn(CONFIG_DEFAULTS, name))).toEqual([]);
    expect(settings.length).toBeGreaterThan(0);
  });

  test('links to files that exist', () => {
    const folder = dirname(resolve(REPOSITORY, page));
    const links = matches(/\]\(([^)#]+)(?:#[^)]*)?\)/g);
    expect(links.filter((link) => !existsSync(resolve(folder, link)))).toEqual([]);
  });
});

test('every provision and every risk has a row', () => {
  const text = readFileSync(resolve(REPOSITORY, 'SECURITY.md'), 'utf8');
  for (let n = 1; n <= 13; n += 1) expect(text).toContain(`| 5.${n} `);
  expect(text).toContain('| 6 Data protection');
  for (let n = 1; n <= 10; n += 1) expect(text).toContain(`| I${n} `);
});
