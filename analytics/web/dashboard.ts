/**
 * The page with a token: header, filter and cards, refreshed by polling.
 *
 * Polling rests while the tab is hidden, and slows down when answers take long; the charts on the
 * cards come from one query per metric, not per device.
 */
import {
  type Api,
  type ApiDevices,
  ApiFailure,
  type ApiFailureKind,
  type ApiLatest,
  STORE_SILENT,
} from './api.ts';
import { type CardView, cardView } from './card-view.ts';
import { openDetail } from './detail.ts';
import { el, logo, setText } from './dom.ts';
import { formatAge, formatCount, formatLag } from './format.ts';
import { metricGroups } from './metric-groups.ts';
import { type Card, cardMatches, cardsOf } from './model.ts';
import { MAX_SPAN_MS, sparkSpan } from './spark-paths.ts';
import { drawSparkline } from './sparkline.ts';

const LATEST_MS = 2000;
const DEVICES_MS = 5000;
const SPARK_MS = 15_000;
const SPARK_POINTS = 90;
/** Cards on the page at first and with each "Show more"; keeps a network of thousands usable. */
const PAGE = 120;

/** What the header says of the failure that the banner names. */
const TROUBLES: Readonly<Record<ApiFailureKind, string>> = {
  login: 'Logged out',
  unreachable: 'Not connected',
  store: 'Store down',
  down: 'API failing',
  refused: 'API failing',
};

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
  /** What the header says instead of "Live": the failure of the banner, or else what the note names. */
  let trouble: string | null = null;
  let partial: string | null = null;
  /** When the readings of each profile and metric begin, as far as it is within the sparklines' time. */
  const begins = new Map<string, number>();
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
    const device = devices?.devices.find((d) => d.device === card.device);
    const groups = metricGroups(device?.metrics ?? [], device?.profiles ?? null);
    openDetail({ api, card, groups, loggedOut: end });
  };

  const renderFigures = async (): Promise<void> => {
    const status = await api.status();
    setText(network, status.network ?? '');
    network.hidden = status.network === null;
    const list = devices?.devices ?? [];
    const online = list.filter((device) => device.online).length;
    const known = devices?.broker.ok === true;
    const kinds: Readonly<Record<string, string>> = { duckdb: 'DuckDB', influxdb: 'InfluxDB' };
    const rows: [string, string, string?][] = [
      ['Devices', formatCount(list.length)],
      ['Online', known ? formatCount(online) : 'unknown'],
      [
        'Values stored',
        status.counts.values === null ? 'unknown' : formatCount(status.counts.values),
        'readings and windows',
      ],
      ['Store', kinds[status.store.kind] ?? status.store.kind],
    ];
    if (status.projection !== null) rows.push(['Lag', formatLag(status.projection.lagMs)]);
    figures.replaceChildren(
      ...rows.map(([name, value, noted]) => {
        const note = noted === undefined ? null : el('span', { class: 'figure-note' }, noted);
        return el('div', {}, el('dt', {}, name), el('dd', {}, value, note));
      }),
    );
    const storeDown = status.store.ok ? '' : STORE_SILENT;
    const brokerDown = known ? '' : 'The broker does not answer: names and presence are unknown.';
    const text = [storeDown, brokerDown].filter((part) => part !== '').join(' ');
    notice.hidden = text === '';
    setText(notice, text);
    partial = text === '' ? null : storeDown === '' ? 'Broker down' : TROUBLES.store;
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
    for (const [key, { profile, metric, devices: ids }] of wanted) {
      const one = ids.length === 1 ? { device: ids[0]! } : {};
      const ask = () => {
        const span = sparkSpan(begins.get(key) ?? 0, now());
        const from = String(Math.round(now() - span));
        return api.query({
          ...{ profile, metric, from, points: String(SPARK_POINTS), limit: '500000', ...one },
        });
      };
      let answer = await ask();
      if (!begins.has(key)) {
        const first = Math.min(...answer.series.map((series) => series.timesMs[0] ?? now()));
        if (Number.isFinite(first)) begins.set(key, first);
        // Young data is asked for again in finer buckets, once.
        if (answer.toMs - first < MAX_SPAN_MS / 2) answer = await ask();
      }
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
      trouble = null;
      banner.hidden = true;
    } catch (error) {
      if (stopped) return;
      if (error instanceof ApiFailure && error.kind === 'login') return end(error);
      const message = error instanceof ApiFailure ? error.message : 'This page failed.';
      if (!(error instanceof ApiFailure)) console.error(error);
      const old =
        goodMs === null ? '' : ` What you see is from ${new Date(goodMs).toLocaleTimeString()}.`;
      trouble = TROUBLES[error instanceof ApiFailure ? error.kind : 'down'];
      // What the note says of broker and store is from before; the banner has the news.
      notice.hidden = true;
      devicesDue = 0;
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
    const state = trouble !== null ? 'is-down' : partial !== null ? 'is-partial' : 'is-live';
    live.className = `live ${trouble === null && goodMs === null ? '' : state}`;
    const age = goodMs === null ? '' : formatAge(Date.now() - goodMs);
    setText(live, trouble ?? (goodMs === null ? 'Connecting…' : (partial ?? 'Live')));
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
