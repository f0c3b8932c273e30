/**
 * An operator in the editor, in a real browser: every node's dialog and help, and the first thing that the default flow
 * asks to try: another window length, deployed, seen in the store. Screenshots go to data/test-artifacts.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSecret } from '@fieldproof/stack/network';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { ARTIFACTS, launchChromium, openPage } from '../support/chromium.ts';
import { startNetwork, type TestNetwork, until } from '../support/network.ts';
import { describeWith } from '../support/services.ts';

describeWith(['chromium'], 'the editor of flows', () => {
  let folder: string;
  let network: TestNetwork;
  let browser: Browser;
  let page: Page;
  const failures: string[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-editor-'));
    [network, browser] = await Promise.all([
      startNetwork({ dataDir: join(folder, 'data'), args: ['--no-demo'] }),
      launchChromium(),
    ]);
    page = await openPage(browser, { viewport: { width: 1400, height: 900 } });
    page.on('pageerror', (error) => failures.push(error.message));
    await page.goto(network.info.flows.url);
    await page.fill('#node-dialog-login-username', 'admin');
    await page.fill('#node-dialog-login-password', readSecret(network.info.flows.passwordFile));
    await page.click('#node-dialog-login-submit');
    await page
      .getByText(/lines stored/)
      .first()
      .waitFor();
  });

  afterAll(async () => {
    await browser?.close();
    await network?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const shot = (name: string) => page.screenshot({ path: join(ARTIFACTS, `editor-${name}.png`) });
  const openDialog = async (label: string) => {
    await page
      .locator('#red-ui-workspace-chart .red-ui-flow-node-group', {
        hasText: label,
        hasNotText: 'Try first',
      })
      .dblclick();
    await page.locator('#node-dialog-ok').waitFor();
    // The tray slides in.
    await page.waitForTimeout(500);
  };
  const closeDialog = async (button: string) => {
    await page.click(button);
    await page.locator(button).waitFor({ state: 'detached' });
  };
  const profiles = async (): Promise<string[]> => {
    const response = await fetch(`${network.info.control.url}/v1/latest`, {
      headers: { authorization: `Bearer ${readSecret(network.info.control.tokenFile)}` },
    });
    return [...(await response.text()).matchAll(/"profile":"(\w+)"/g)].map((match) => match[1]!);
  };

  test.each([
    ['all readings', 'fieldproof-telemetry', ['Network', 'Output']],
    ['window 60 s', 'fieldproof-window', ['Size, s', 'Grace, s', 'Horizon, s']],
    ['store readings', 'fieldproof-store', ['Network']],
  ])('%s shows its dialog and its help', async (label, type, rows) => {
    await openDialog(label);
    for (const row of rows) expect(await page.locator('.red-ui-tray').innerText()).toContain(row);
    await page.evaluate(`RED.sidebar.help.show('${type}')`);
    const help = page.locator('.red-ui-help');
    await help.getByText('Details').first().waitFor();
    await shot(type);
    await closeDialog('#node-dialog-cancel');
  });

  test('the network has its dialog and its help', async () => {
    await openDialog('store readings');
    await page.click('#node-input-lookup-network, #node-input-btn-network-edit');
    await page.locator('#node-config-dialog-ok').waitFor();
    await page.evaluate("RED.sidebar.help.show('fieldproof-network')");
    await page.waitForTimeout(500);
    await shot('fieldproof-network');
    await closeDialog('#node-config-dialog-cancel');
    await closeDialog('#node-dialog-cancel');
  });

  test('a window changed to 10 s and deployed is in the store soon', async () => {
    await openDialog('window 60 s');
    await page.fill('#node-input-size', '10');
    await closeDialog('#node-dialog-ok');
    await page.click('#red-ui-header-button-deploy');
    await page.getByText('Successfully deployed').first().waitFor();
    await until('10-second windows are in the store', async () =>
      (await profiles()).includes('system_10s'),
    );
    await page
      .getByText(/\d+ windows open/)
      .first()
      .waitFor();
    await shot('deployed');
    const saved = readFileSync(join(folder, 'data/flows/node-red/flows.json'), 'utf8');
    expect(saved).toMatch(/"size": "?10"?,/);
    expect(failures).toEqual([]);
  });
});
