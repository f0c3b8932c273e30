/**
 * The page with a token: header, filter and cards, refreshed by polling.
 *
 * Polling rests while the tab is hidden, and slows down when answers take long; the charts on the
 * cards come from one query per metric, not per device.
 */
import { type Api, type ApiDevices, ApiFailure, type ApiLatest } from './api.ts';
import { type CardView, cardView } from './card-view.ts';
import { openDetail } from './detail.ts';
import { el, logo, setText } from './dom.ts';
import { formatAge, formatCount, formatLag } from './format.ts';
import { type Card, cardMatches, cardsOf } from './model.ts';
import { drawSparkline } from './sparkline.ts';

const LATEST_MS = 2000;
const DEVICES_MS = 5000;
const SPARK_MS = 15_000;
const SPARK_POINTS = 90;
/** Cards on the page at first and with each "Show more"; keeps a network of thousands usable. */
const PAGE = 120;

export interface Dashboard {
  stop(): void;
}

export interface DashboardOptions {
  readonly api: Api;
  /** The token is no good any more, or the person logs out (null). */
  readonly loggedOut: (failure: ApiFailure | null) => void;
}

/** Fills `host` and begins to poll. */
export function showDashboard(host: HTMLElement, { api, loggedOut }: DashboardOptions): Dashboard {
  const views = new Map<string, CardView>();
  let devices: ApiDevices | null = null;
  let latest: readonly ApiLatest[] = [];
  let cards: readonly Card[] = [];
  let limit = PAGE;
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** Server time minus ours: ages are right even where this machine's clock is not. */
  let skewMs = 0;
  let goodMs: number | null = null;
  let devicesDue = 0;
  let sparkDue = 0;

  const network = el('span', { class: 'network' });
  const live = el('span', { class: 'live', role: 'status' }, 'Connecting…');
  const logout = el('button', { type: 'button', class: 'button is-quiet' }, 'Log out');
  const banner = el('p', { class: 'banner', role: 'alert' });
  const notice = el('p', { class: 'banner is-note' });
  const figures = el('dl', { class: 'figures' });
  const filter = el('input', {
    ...{ type: 'search', placeholder: 'Filter by name, group, metric or id' },
    'aria-label': 'Filter devices',
  });
  const source = el('select', { 'aria-label': 'Source of the readings' });
  for (const [value, text] of [
    ['', 'All sources'],
    ['sensor', 'Sensors'],
    ['replay', 'Replay'],
    ['simulated', 'Simulated'],
  ]) {
    source.append(el('option', { value: value! }, text!));
  }
  const grid = el('div', { class: 'grid' });
  const empty = el('div', { class: 'empty' });
  const more = el('button', { type: 'button', class: 'button' });
  const tools = el('div', { class: 'tools' }, filter, source);
  banner.hidden = true;
  notice.hidden = true;
  empty.hidden = true;
  more.hidden = true;
  tools.hidden = true;
  host.replaceChildren(
    el(
      'header',
      { class: 'top' },
      el('div', { class: 'brand' }, logo(), el('h1', {}, 'Fieldproof'), network),
      el('div', { class: 'top-right' }, live, logout),
    ),
    el(
      'main',
      {},
      banner,
      notice,
      figures,
      el('h2', { class: 'visually-hidden' }, 'Devices'),
      tools,
      grid,
      empty,
      el('div', { class: 'more-row' }, more),
    ),
  );

  const now = (): number => Date.now() + skewMs;

  const render = (): void => {
    const text = filter.value.trim();
    const found = cards.filter((card) => cardMatches(card, text, source.value));
    const shown = found.slice(0, limit);
    const keep = new Set(shown.map((card) => card.device));
    for (const [device, view] of views) {
      if (!keep.has(device)) {
        view.root.remove();
        views.delete(device);
      }
    }
    shown.forEach((card, index) => {
      let view = views.get(card.device);
      if (view === undefined) {
        view = cardView(card, open);
        views.set(card.device, view);
        sparkDue = 0;
      } else view.update(card);
      view.tick(now());
      // Moving an element takes the focus from it, so only what is out of place is moved.
      if (grid.children[index] !== view.root)
        grid.insertBefore(view.root, grid.children[index] ?? null);
    });
    tools.hidden = cards.length === 0;
    more.hidden = found.length <= limit;
    setText(more, `Show more (${formatCount(found.length - limit)} hidden)`);
    renderEmpty(found.length, text);
  };

  const renderEmpty = (found: number, text: string): void => {
    empty.hidden = devices === null || found > 0;
    if (empty.hidden) return;
    if (cards.length > 0) {
      const what = text === '' ? 'No device of this source.' : `No device matches “${text}”.`;
      empty.replaceChildren(el('p', { class: 'empty-title' }, what));
      return;
    }
    empty.replaceChildren(
      logo(),
      el('p', { class: 'empty-title' }, 'No devices yet'),
      el(
        'p',
        {},
        'On a Raspberry Pi, paste the join line that npm start prints; or start an agent here. ',
        'A device shows here within seconds of its first recorded reading.',
      ),
    );
  };

  const open = (card: Card): void => {
    const metrics = devices?.devices.find((d) => d.device === card.device)?.metrics ?? [];
    const numbers = metrics.filter((metric) => metric.type === 'float');
    openDetail({ api, card, metrics: numbers, loggedOut: end });
  };

  const renderFigures = async (): Promise<void> => {
    const status = await api.status();
    setText(network, status.network ?? '');
    network.hidden = status.network === null;
    const list = devices?.devices ?? [];
    const online = list.filter((device) => device.online).length;
    const known = devices?.broker.ok === true;
    const kinds: Readonly<Record<string, string>> = { duckdb: 'DuckDB', influxdb: 'InfluxDB' };
    const rows: [string, string][] = [
      ['Devices', formatCount(list.length)],
      ['Online', known ? formatCount(online) : 'unknown'],
      [
        'Readings stored',
        status.counts.values === null ? 'unknown' : formatCount(status.counts.values),
      ],
      ['Store', kinds[status.store.kind] ?? status.store.kind],
    ];
    if (status.projection !== null) rows.push(['Lag', formatLag(status.projection.lagMs)]);
    figures.replaceChildren(
      ...rows.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))),
    );
    const storeDown = status.store.ok ? '' : 'The time-series store does not answer. ';
    const brokerDown = known ? '' : 'The broker does not answer: names and presence are unknown.';
    notice.hidden = storeDown + brokerDown === '';
    setText(notice, storeDown + brokerDown);
  };

  const drawSparklines = async (): Promise<void> => {
    const wanted = new Map<string, { profile: string; metric: string; devices: string[] }>();
    for (const card of cards) {
      if (card.primary?.type !== 'float' || !views.has(card.device)) continue;
      const { profile, metric } = card.primary;
      const key = `${profile}/${metric}`;
      const group = wanted.get(key) ?? { profile, metric, devices: [] };
      group.devices.push(card.device);
      wanted.set(key, group);
    }
    for (const { profile, metric, devices: ids } of wanted.values()) {
      const one = ids.length === 1 ? { device: ids[0]! } : {};
      const answer = await api.query({
        ...{ profile, metric, from: '-15m', points: String(SPARK_POINTS), limit: '500000', ...one },
      });
      const found = new Map(answer.series.map((series) => [series.device, series]));
      const { fromMs, toMs, bucketMs } = answer;
      for (const id of ids) {
        const view = views.get(id);
        if (view === undefined) continue;
        const range = { fromMs, toMs, bucketMs: bucketMs ?? 10_000 };
        drawSparkline(view.spark, found.get(id) ?? null, range);
      }
    }
  };

  const refresh = async (): Promise<void> => {
    clearTimeout(timer);
    const startMs = performance.now();
    try {
      if (startMs >= devicesDue) {
        devices = await api.devices();
        skewMs = devices.nowMs - Date.now();
      }
      latest = (await api.latest()).values;
      cards = cardsOf(devices?.devices ?? [], latest);
      render();
      if (startMs >= devicesDue) {
        await renderFigures();
        devicesDue = startMs + DEVICES_MS;
      }
      if (startMs >= sparkDue) {
        sparkDue = startMs + SPARK_MS;
        await drawSparklines();
      }
      goodMs = Date.now();
      banner.hidden = true;
    } catch (error) {
      if (stopped) return;
      if (error instanceof ApiFailure && error.kind === 'login') return end(error);
      const message = error instanceof ApiFailure ? error.message : 'This page failed.';
      if (!(error instanceof ApiFailure)) console.error(error);
      const old =
        goodMs === null ? '' : ` What you see is from ${new Date(goodMs).toLocaleTimeString()}.`;
      setText(banner, `${message}${old} Trying again…`);
      banner.hidden = false;
    }
    tick();
    const tookMs = performance.now() - startMs;
    const waitMs = Math.min(30_000, Math.max(LATEST_MS, 10 * tookMs));
    if (!stopped && !document.hidden) timer = setTimeout(refresh, waitMs);
  };

  const tick = (): void => {
    for (const view of views.values()) view.tick(now());
    const failing = !banner.hidden;
    live.className = `live ${failing ? 'is-down' : goodMs === null ? '' : 'is-live'}`;
    const age = goodMs === null ? '' : formatAge(Date.now() - goodMs);
    setText(live, failing ? 'Not connected' : goodMs === null ? 'Connecting…' : 'Live');
    live.title = age === '' ? '' : `Updated ${age}`;
  };

  const end = (failure: ApiFailure | null): void => {
    stop();
    loggedOut(failure);
  };
  const visible = (): void => {
    if (!document.hidden && !stopped) void refresh();
  };
  const ticker = setInterval(tick, 1000);
  const stop = (): void => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(ticker);
    document.removeEventListener('visibilitychange', visible);
  };

  filter.addEventListener('input', () => {
    limit = PAGE;
    render();
  });
  source.addEventListener('change', () => {
    limit = PAGE;
    render();
  });
  more.addEventListener('click', () => {
    limit += PAGE;
    render();
    void refresh();
  });
  logout.addEventListener('click', () => end(null));
  document.addEventListener('visibilitychange', visible);
  void refresh();
  return { stop };
}
