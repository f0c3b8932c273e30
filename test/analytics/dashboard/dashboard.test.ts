import { join } from 'node:path';
import type { DeviceConfigService } from '@fieldproof/analytics/device-config/device-config';
import { AnalyticsError } from '@fieldproof/analytics/errors';
import { buildDashboard } from '@fieldproof/analytics/server/dashboard-assets';
import type { DirectoryEntry } from '@fieldproof/analytics/server/providers';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { ARTIFACTS, launchChromium } from '../../support/chromium.ts';
import { describeWith } from '../../support/services.ts';
import { PATIENCE_MS } from '../../support/until.ts';
import { controlUnderTest } from '../server/control-under-test.ts';
import type { Point } from '../server/memory-store.ts';

interface Sample {
  readonly device: string;
  readonly name: string;
  readonly source: 'sensor' | 'replay' | 'simulated';
  readonly metrics: Readonly<Record<string, { readonly unit: string; readonly around: number }>>;
}

const WEATHER = {
  temperature: { unit: 'Cel', around: 21 },
  humidity: { unit: '%RH', around: 48 },
  pressure: { unit: 'hPa', around: 1013 },
  light: { unit: 'lx', around: 320 },
};

const id = (index: number): string =>
  `z6Mk${index.toString(36).padStart(4, 'q')}XgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGt`.slice(0, 48);

const SAMPLES: readonly Sample[] = [
  { device: id(1), name: 'roof-east', source: 'sensor', metrics: WEATHER },
  { device: id(2), name: 'Greenhouse 2', source: 'sensor', metrics: WEATHER },
  {
    ...{ device: id(3), name: 'turbine-hall', source: 'replay' },
    metrics: { power: { unit: 'kW', around: 1840 }, wind_speed: { unit: 'm/s', around: 9 } },
  },
  {
    ...{ device: id(4), name: 'cpu of this machine', source: 'sensor' },
    metrics: { cpu_load: { unit: '/', around: 0.42 } },
  },
  {
    device: id(5),
    name: 'a device with a really long name <b>and markup</b> that nobody should have given to it',
    ...{ source: 'simulated', metrics: WEATHER },
  },
  { device: id(6), name: 'street lamp 114', source: 'simulated', metrics: WEATHER },
];

/** Readings every 10 s over `hours`, ending now. */
function pointsOf(samples: readonly Sample[], nowMs: number, hours = 1): Point[] {
  const points: Point[] = [];
  samples.forEach(({ device, source, metrics }, d) => {
    for (let timeMs = nowMs - hours * 3_600_000; timeMs <= nowMs; timeMs += 10_000) {
      Object.entries(metrics).forEach(([metric, { around }], m) => {
        const slow = Math.sin(timeMs / 400_000 + d + m) * 0.06;
        const fast = Math.sin(timeMs / 21_000 + d * 7) * 0.008 + Math.sin(timeMs / 3_700) * 0.004;
        const value = Number((around * (1 + slow + fast)).toFixed(3));
        points.push({
          ...{ device, profile: 'environment', metric, timeMs, value },
          tags: { source, group: d % 2 === 0 ? 'weather' : 'industry' },
        });
      });
    }
  });
  return points;
}

const directoryOf = (samples: readonly Sample[]) => {
  const value = samples.map(({ device, name, metrics }, index): DirectoryEntry => {
    const declared = Object.entries(metrics).map(([metric, { unit }]) => ({ metric, unit }));
    return {
      ...{
        device,
        name,
        owner: `did:key:${id(900)}`,
        online: index !== 3,
        cell: '871f1d489ffffff',
      },
      ...{ group: index % 2 === 0 ? 'weather' : 'industry', profiles: { environment: declared } },
    };
  });
  return { devices: async () => ({ ok: true, value }) as const };
};

describeWith(['chromium'], 'the dashboard in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchChromium();
  });
  afterAll(() => browser.close());

  async function opened(
    samples: readonly Sample[],
    {
      context = {},
      hours = 1,
      edited = (points) => points,
      deviceConfig,
      ...options
    }: {
      context?: BrowserContextOptions;
      hours?: number;
      withToken?: boolean;
      deviceConfig?: DeviceConfigService;
      edited?: (points: Point[], nowMs: number) => Point[];
    } = {},
  ) {
    const nowMs = Date.now();
    const under = await controlUnderTest(edited(pointsOf(samples, nowMs, hours), nowMs), {
      dashboard: await buildDashboard(),
      ...{ directory: directoryOf(samples), deviceConfig },
      network: () => 'k3x7q2ab',
      projection: () => ({ nextIndex: 10, evidenceSize: 10, lagMs: 140 }),
    });
    under.time.nowMs = nowMs;
    const session = await browser.newContext({
      viewport: { width: 1280, height: 860 },
      ...context,
    });
    session.setDefaultTimeout(PATIENCE_MS);
    const page = await session.newPage();
    const problems: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(String(error)));
    const outside: string[] = [];
    page.on('request', (request) => {
      if (!request.url().startsWith(under.url) && !request.url().startsWith('blob:')) {
        outside.push(request.url());
      }
    });
    const fragment = options.withToken === false ? '' : `#token=${under.tokenText.read}`;
    await page.goto(`${under.url}/${fragment}`);
    return { ...under, page, session, problems, outside };
  }

  const shot = (page: Page, name: string) =>
    page.screenshot({ path: join(ARTIFACTS, `dashboard-${name}.png`) });

  const drawn = (page: Page) => page.locator('.spark-line[d^="M"]').first().waitFor();

  test('shows devices with values, units, source and age; the token leaves the address', async () => {
    const { page, session, problems, outside, url } = await opened(SAMPLES);
    const card = page.locator('.card', { hasText: 'roof-east' });
    await card.waitFor();
    await drawn(page);
    expect(page.url()).toBe(`${url}/`);
    const text = await card.innerText();
    for (const part of ['sensor', 'weather', 'Temperature', '°C', 'Humidity', '% RH', 'hPa']) {
      expect(text).toContain(part);
    }
    expect(await card.locator('.card-age').innerText()).toMatch(/^(now|\d+ s ago)$/);
    expect(await page.locator('.card').count()).toBe(6);
    expect(await page.locator('.network').innerText()).toBe('k3x7q2ab');
    expect(await page.locator('.figures').innerText()).toMatch(/Devices\s+6\s+Online\s+5/);
    expect(await page.locator('.card b').count()).toBe(0);
    await shot(page, 'light');
    await page.reload();
    await page.locator('.card').first().waitFor();
    expect([problems, outside]).toEqual([[], []]);
    await session.close();
  });

  test('a card opens a chart with metrics, ranges and a file, by keyboard alone', async () => {
    const { page, session, problems } = await opened(SAMPLES.slice(0, 1), { hours: 24 });
    const card = page.locator('.card', { hasText: 'roof-east' });
    await card.focus();
    await page.keyboard.press('Enter');
    const dialog = page.locator('dialog[open]');
    await dialog.locator('.uplot canvas').waitFor();
    expect(await dialog.locator('h2').innerText()).toBe('roof-east');
    expect(await dialog.locator('option').allInnerTexts()).toEqual([
      ...['Humidity (% RH)', 'Light (lx)', 'Pressure (hPa)', 'Temperature (°C)'],
    ]);
    await dialog.locator('.uplot .u-over').hover();
    expect(await dialog.locator('.readout').innerText()).toContain('°C');
    await shot(page, 'detail-light');
    await dialog.getByLabel('24 h').check({ force: true });
    await dialog.locator('.chart[aria-label*="24 h"]').waitFor();
    await shot(page, 'detail-24h');
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      dialog.getByRole('button', { name: 'Download CSV' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('roof-east-temperature.csv');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    const focused = 'document.activeElement.dataset.device';
    expect(await page.evaluate(focused)).toBe(id(1));
    expect(problems).toEqual([]);
    await session.close();
  });

  test('windows stay off the cards, come last in the detail view, and gaps are gaps', async () => {
    const sample: Sample = {
      ...{ device: id(7), name: 'this-machine', source: 'sensor' },
      metrics: {
        disk_free: { unit: 'B', around: 83.9e9 },
        memory_used: { unit: '/', around: 0.229 },
        net_sent: { unit: 'B/s', around: 1200 },
      },
    };
    const edited = (points: Point[], nowMs: number): Point[] => {
      // Three minutes without a reading.
      const kept = points.filter((p) => Math.abs(nowMs - 360_000 - p.timeMs) > 90_000);
      const windows = kept.flatMap((p): Point[] => {
        const into = p.timeMs % 60_000;
        const window = { ...p, profile: 'environment_1m', timeMs: p.timeMs - into };
        const count = { ...window, metric: `${p.metric}_count`, value: 6 };
        return into < 10_000 ? [count, { ...window, metric: `${p.metric}_mean` }] : [];
      });
      return [...kept, ...windows];
    };
    const { page, session, problems } = await opened([sample], { hours: 0.2, edited });
    const card = page.locator('.card');
    await card.waitFor();
    await drawn(page);
    // A line before the gap and one after it.
    const line = await card.locator('.spark-line').getAttribute('d');
    expect(line?.match(/M/g)).toHaveLength(2);
    const text = await card.innerText();
    expect(text).toMatch(/\d+(\.\d+)? GB/);
    expect(text).toMatch(/2\d(\.\d+)?\s*%/);
    expect(text).toMatch(/1(\.\d+)? kB\/s/);
    expect(text).not.toMatch(/count|mean|more/);
    await shot(page, 'windows-card');
    await card.click();
    const dialog = page.locator('dialog[open]');
    await dialog.locator('.uplot canvas').waitFor();
    const headings = 'Array.from(document.querySelectorAll("optgroup"), (group) => group.label)';
    expect(await page.evaluate(headings)).toEqual(['environment', 'Windows · 1 min']);
    await shot(page, 'detail-gap');
    await dialog.locator('select').selectOption({ label: 'Disk free · mean (B)' });
    await dialog.locator('.chart[aria-label^="Disk free · mean"]').waitFor();
    expect(await dialog.locator('.stats').innerText()).toMatch(/Newest\s+\d+(\.\d+)? GB/);
    await shot(page, 'detail-window');
    expect(problems).toEqual([]);
    await session.close();
  });

  test('without a token it asks for one, and says why one is refused', async () => {
    const { page, session, tokenText } = await opened(SAMPLES, { withToken: false });
    const submit = page.getByRole('button', { name: 'Open the dashboard' });
    await submit.waitFor();
    await shot(page, 'login');
    await page.getByLabel('Access token').fill('fpt_wrong');
    await submit.click();
    await page.getByRole('alert').filter({ hasText: 'not known here' }).waitFor();
    await page.getByLabel('Access token').fill(tokenText.write);
    await submit.click();
    await page.getByRole('alert').filter({ hasText: 'may not read' }).waitFor();
    await shot(page, 'login-refused');
    await page.getByLabel('Access token').fill(tokenText.read);
    await page.keyboard.press('Enter');
    await page.locator('.card').first().waitFor();
    await session.close();
  });

  test('a token that expires while the page is open leads back to the login', async () => {
    const { page, session, time } = await opened(SAMPLES);
    await page.locator('.card').first().waitFor();
    time.nowMs += 91 * 86_400_000;
    await page.getByRole('alert').filter({ hasText: 'has expired' }).waitFor();
    await session.close();
  });

  test('says that the store fails, that the API is gone, and recovers', async () => {
    const { page, session, store } = await opened(SAMPLES);
    await page.locator('.card').first().waitFor();
    const live = page.getByRole('status').first();
    store.failure = new AnalyticsError('ERR_STORE_UNAVAILABLE', 'store: no answer');
    await page.getByRole('alert').filter({ hasText: 'store does not answer' }).waitFor();
    expect(await live.innerText()).toBe('Store down');
    await shot(page, 'store-down');
    store.failure = new Error('gone');
    const banner = page.getByRole('alert').filter({ hasText: 'The API failed.' });
    await banner.waitFor();
    expect(await live.innerText()).toBe('API failing');
    await shot(page, 'error');
    expect(await page.locator('.card').count()).toBe(6);
    store.failure = null;
    await banner.waitFor({ state: 'hidden' });
    expect(await live.innerText()).toBe('Live');
    await page.route('**/v1/**', (route) => route.abort());
    await page.getByRole('alert').filter({ hasText: 'The API does not answer' }).waitFor();
    expect(await live.innerText()).toBe('Not connected');
    await session.close();
  });

  test('an empty network says what to do', async () => {
    const { page, session } = await opened([]);
    await page.getByText('No devices yet').waitFor();
    await shot(page, 'empty');
    await session.close();
  });

  test('many devices: a page of cards, a filter, and more on demand', async () => {
    const many = Array.from({ length: 300 }, (_, i): Sample => {
      const source = (['sensor', 'replay', 'simulated'] as const)[i % 3]!;
      return { ...SAMPLES[i % 4]!, device: id(1000 + i), name: `node-${i}`, source };
    });
    const { page, session } = await opened(many, { hours: 0.05 });
    await page.locator('.card').first().waitFor();
    await drawn(page);
    expect(await page.locator('.card').count()).toBe(120);
    await shot(page, 'many');
    await page.getByRole('button', { name: 'Show more' }).click();
    expect(await page.locator('.card').count()).toBe(240);
    await page.getByLabel('Filter devices').fill('node-29');
    expect(await page.locator('.card').count()).toBe(11);
    await page.getByLabel('Filter devices').fill('nothing like that');
    await page.getByText('No device matches “nothing like that”.').waitFor();
    await session.close();
  });

  test('what a device is set to from afar is in its dialog, with the reasons of a refusal', async () => {
    const report = { type: 'reported', device: id(1), version: 4, digest: '', atMs: 0, entry: 812 };
    const state = {
      ...{ version: 4, id: '', digest: '', payload: '', atMs: 0, by: 'operations' },
      ...{ expiresMs: Date.parse('2027-01-31T12:00:00Z'), standing: 'refused' },
      wishes: {
        ...{ wanted: ['environment'], intervals: { environment: 30_000 } },
        edge: { 'environment/temperature': 'window 1m mean | deadband 0.2' },
      },
      reports: [
        {
          ...report,
          ...{ outcome: 'refused', code: 'ERR_CONFIG_INVALID', more: 0, inForce: 3 },
          reasons: ['intervals.<b>attic</b>: expected a profile of this device: environment'],
        },
      ],
    };
    const delivery = { attempts: 1, lastMs: 0, connected: true, problem: null };
    const desk = { of: (device: string) => ({ device, states: [state], inForce: 3, delivery }) };
    const { page, session, problems } = await opened(SAMPLES.slice(0, 1), {
      deviceConfig: { desk } as unknown as DeviceConfigService,
    });
    await page.locator('.card').first().click();
    const panel = page.locator('dialog .settings');
    await panel.getByText('refused by the device').waitFor();
    await page.locator('dialog .uplot canvas').waitFor();
    const text = await panel.innerText();
    for (const part of ['version 4 by operations', 'entry 812', 'In force: version 3', '30 s']) {
      expect(text).toContain(part);
    }
    expect(await panel.locator('b').count()).toBe(0);
    await shot(page, 'settings');
    expect(problems).toEqual([]);
    await session.close();
  });

  test('dark, and on a phone of 360 pixels without sideways scrolling', async () => {
    const dark = await opened(SAMPLES, { context: { colorScheme: 'dark' } });
    await drawn(dark.page);
    await shot(dark.page, 'dark');
    await dark.page.locator('.card').first().click();
    await dark.page.locator('dialog .uplot canvas').waitFor();
    await shot(dark.page, 'detail-dark');
    await dark.session.close();

    const viewport = { width: 360, height: 740 };
    const phone = await opened(SAMPLES, { context: { viewport, hasTouch: true } });
    await drawn(phone.page);
    await shot(phone.page, 'phone');
    expect(await phone.page.evaluate('document.documentElement.scrollWidth')).toBe(360);
    await phone.page.locator('.card', { hasText: 'markup' }).click();
    await phone.page.locator('dialog .uplot canvas').waitFor();
    await shot(phone.page, 'detail-phone');
    const overflow = 'document.querySelector("dialog").scrollWidth';
    expect(Number(await phone.page.evaluate(overflow))).toBeLessThanOrEqual(360);
    await phone.session.close();
  });
});
