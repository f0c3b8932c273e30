/**
 * The two screens of a running network in a real browser: the first page, and the default flow in the editor.
 * Screenshots go to data/test-artifacts for people to look at.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { ARTIFACTS, launchChromium, openPage } from '../support/chromium.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';
import { describeWith } from '../support/services.ts';

describeWith(['chromium'], 'a running network in a browser', () => {
  let folder: string;
  let network: TestNetwork;
  let browser: Browser;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-screens-'));
    [network, browser] = await Promise.all([
      startNetwork({ dataDir: join(folder, 'data') }),
      launchChromium(),
    ]);
  });

  afterAll(async () => {
    await browser?.close();
    await network?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('the first page shows nine live devices with names, values and units', async () => {
    const page = await openPage(browser, { viewport: { width: 1280, height: 900 } });
    const failures: string[] = [];
    page.on('pageerror', (error) => failures.push(error.message));
    page.on('requestfailed', (request) => failures.push(request.url()));
    const token = readFileSync(network.info.control.tokenFile, 'utf8').trim();
    await page.goto(`${network.info.control.url}/#token=${token}`);
    for (const name of ['this-machine', 'roadside-june', 'machine-temperature', 'traffic-speed']) {
      await page.getByText(name, { exact: true }).first().waitFor();
    }
    await page.getByText('°C').first().waitFor();
    expect(page.url()).not.toContain('fpt_');
    await page.screenshot({ path: join(ARTIFACTS, 'system-dashboard.png'), fullPage: true });
    await page.setViewportSize({ width: 360, height: 740 });
    await page.screenshot({ path: join(ARTIFACTS, 'system-dashboard-phone.png') });
    const overflow = await page.evaluate('document.documentElement.scrollWidth > innerWidth');
    expect(overflow).toBe(false);
    expect(failures).toEqual([]);
    await page.close();
  });

  test('the editor asks for its password and shows the default flow', async () => {
    const page = await openPage(browser, { viewport: { width: 1400, height: 900 } });
    await page.goto(network.info.flows.url);
    await page.fill('#node-dialog-login-username', 'admin');
    await page.fill(
      '#node-dialog-login-password',
      readFileSync(network.info.flows.passwordFile, 'utf8').trim(),
    );
    await page.click('#node-dialog-login-submit');
    const nodes = page.locator('#red-ui-workspace-chart .red-ui-flow-node-group');
    await nodes.nth(3).waitFor();
    await page
      .getByText(/lines stored/)
      .first()
      .waitFor();
    expect(await page.getByText(/unknown:/).count()).toBe(0);
    const labels = await page.locator('#red-ui-workspace-chart').innerText();
    for (const label of ['all readings', 'store readings', 'window 60 s', 'store windows']) {
      expect(labels).toContain(label);
    }
    await page.screenshot({ path: join(ARTIFACTS, 'system-editor.png') });
    await page.close();
  });
});
