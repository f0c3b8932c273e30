/** Headless Chromium for tests of pages, with the flags that it needs in containers and without a network. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { findService, REPOSITORY } from './services.ts';
import { PATIENCE_MS } from './until.ts';

/** Where tests leave screenshots for people to look at; not in version control. */
export const ARTIFACTS = join(REPOSITORY, 'data', 'test-artifacts');

const FLAGS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  ...['--disable-component-update', '--disable-sync'],
];

/** A running browser; the caller closes it. Only where `describeWith(['chromium'], …)` has found one. */
export async function launchChromium(): Promise<Browser> {
  await mkdir(ARTIFACTS, { recursive: true });
  const executablePath = findService('chromium');
  if (executablePath === null) throw new Error('chromium: not on this machine');
  return chromium.launch({ executablePath, headless: true, args: FLAGS });
}

/** A page in a context of its own, which ends with it or with the browser. */
export async function openPage(browser: Browser, options: BrowserContextOptions): Promise<Page> {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(PATIENCE_MS);
  return page;
}
