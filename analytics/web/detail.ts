/** The dialog of one device: what it is, one metric over a range, and the data as a file. */
import { readingLine } from '../src/reading-text.ts';
import type { Api, ApiFailure, ApiMetric, ApiQuery, ApiSeries } from './api.ts';
import { type Chart, chart } from './chart.ts';
import { el, setText } from './dom.ts';
import type { MetricGroup } from './metric-groups.ts';
import type { Card } from './model.ts';
import { settingsPanel } from './settings-panel.ts';

const RANGES = [
  { label: '15 min', from: '-15m', refreshMs: 5000 },
  { label: '1 h', from: '-1h', refreshMs: 15_000 },
  { label: '24 h', from: '-24h', refreshMs: 60_000 },
] as const;

/** Significant digits: one more than on a card. */
const DIGITS = 5;

export interface DetailOptions {
  readonly api: Api;
  readonly card: Card;
  /** Numeric metrics of the device, as `metricGroups` has them. */
  readonly groups: readonly MetricGroup[];
  /** A failure that ends the session. */
  readonly loggedOut: (failure: ApiFailure) => void;
}

/** Opens the dialog; it removes itself when it is closed (Escape, the button, a click outside). */
export function openDetail({ api, card, groups, loggedOut }: DetailOptions): void {
  let range: (typeof RANGES)[number] = RANGES[0];
  const choices = groups.flatMap((group) => group.choices);
  let choice = choices.find(({ metric }) => isMetric(metric, card.primary)) ?? choices[0];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked = 0;
  let plot: Chart | null = null;
  let shown: { readonly mean: ApiSeries; readonly min: number[]; readonly max: number[] } | null =
    null;

  const select = el('select', { id: 'detail-metric' });
  for (const { heading, choices: own } of groups) {
    const options = own.map((item) => {
      const option = el('option', { value: String(choices.indexOf(item)) }, item.label);
      option.selected = item === choice;
      return option;
    });
    if (heading === null) select.append(...options);
    else select.append(el('optgroup', { label: heading }, ...options));
  }
  const settings = settingsPanel(api, card.device);
  const host = el('div', { class: 'chart', role: 'img' });
  const note = el('p', { class: 'chart-note', role: 'status' });
  const readout = el('p', { class: 'readout', 'aria-hidden': 'true' });
  const stats = el('dl', { class: 'stats' });
  const download = el('button', { type: 'button', class: 'button' }, 'Download CSV');
  const close = el('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close' }, '×');
  const controls = el(
    'div',
    { class: 'controls' },
    el('label', { class: 'field', for: 'detail-metric' }, el('span', {}, 'Metric'), select),
    rangePicker((picked) => {
      range = picked;
      void refresh();
    }),
    download,
  );
  const dialog = el(
    'dialog',
    { class: 'detail', 'aria-labelledby': 'detail-title' },
    el('header', { class: 'detail-head' }, el('h2', { id: 'detail-title' }, card.title), close),
    facts(card),
    settings.element,
    ...(choice === undefined
      ? [
          el(
            'p',
            { class: 'empty-note' },
            'This device has sent no numbers yet, so there is no chart.',
          ),
        ]
      : [controls, el('div', { class: 'chart-box' }, host, note), readout, stats]),
  );

  const query = (aggregate: string): Record<string, string> => ({
    ...{ profile: choice!.metric.profile, metric: choice!.metric.metric, device: card.device },
    ...{ from: range.from, aggregate, points: String(pointsFor(host)) },
  });

  const refresh = async (): Promise<void> => {
    clearTimeout(timer);
    if (choice === undefined) return;
    const mine = ++asked;
    dialog.setAttribute('aria-busy', 'true');
    try {
      const answers = await Promise.all(
        ['mean', 'min', 'max'].map((kind) => api.query(query(kind))),
      );
      if (mine !== asked || !dialog.open) return;
      show(answers as [ApiQuery, ApiQuery, ApiQuery]);
    } catch (error) {
      if (mine !== asked || !dialog.open) return;
      const failure = error as ApiFailure;
      if (failure.kind === 'login') {
        dialog.close();
        return loggedOut(failure);
      }
      note.classList.add('is-error');
      setText(note, `${failure.message} Trying again…`);
    } finally {
      if (mine === asked) {
        dialog.removeAttribute('aria-busy');
        if (dialog.open) timer = setTimeout(refresh, range.refreshMs);
      }
    }
  };

  const show = ([mean, min, max]: [ApiQuery, ApiQuery, ApiQuery]): void => {
    const series = mean.series[0];
    note.classList.remove('is-error');
    if (series === undefined || series.timesMs.length === 0) {
      plot?.destroy();
      plot = null;
      shown = null;
      setText(note, `No readings of “${choice!.label}” in the last ${range.label}.`);
      stats.replaceChildren();
      readNothing();
      return;
    }
    setText(note, '');
    // The three answers are moments apart: the newest bucket may be in one and not in another.
    const lows = byTime(min.series[0]);
    const highs = byTime(max.series[0]);
    const lowest = series.timesMs.map((t, i) => lows.get(t) ?? series.values[i]!);
    const highest = series.timesMs.map((t, i) => highs.get(t) ?? series.values[i]!);
    shown = { mean: series, min: lowest, max: highest };
    const { unit } = choice!.metric;
    plot ??= chart(host, point);
    plot.draw({
      ...{ timesMs: series.timesMs, mean: series.values, min: lowest, max: highest },
      ...{ fromMs: mean.fromMs, toMs: mean.toMs, bucketMs: mean.bucketMs ?? 1000, unit },
    });
    const average = series.values.reduce((a, b) => a + b, 0) / series.values.length;
    const figures = [
      ['Newest', series.values.at(-1)!],
      ['Lowest', lowest.reduce((a, b) => Math.min(a, b))],
      ['Average', average],
      ['Highest', highest.reduce((a, b) => Math.max(a, b))],
    ] as const;
    const texts = figures.map(([name, value]) => [
      name,
      readingLine(value, unit, { digits: DIGITS }),
    ]);
    stats.replaceChildren(
      ...texts.map(([name, text]) => el('div', {}, el('dt', {}, name!), el('dd', {}, text!))),
    );
    const summary = texts.map(([name, text]) => `${name} ${text}`).join(', ');
    host.setAttribute('aria-label', `${choice!.label}, last ${range.label}: ${summary}`);
    readNothing();
  };

  const readNothing = (): void => {
    setText(readout, shown === null ? '' : 'Point at the chart to read a value.');
  };
  const point = (index: number | null): void => {
    const time = index === null ? undefined : shown?.mean.timesMs[index];
    if (index === null || time === undefined || shown === null) {
      readNothing();
      return;
    }
    const { unit } = choice!.metric;
    const text = (value: number | undefined) =>
      readingLine(value ?? Number.NaN, unit, { digits: DIGITS });
    const when = new Date(time).toLocaleString([], {
      ...{ dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' },
    });
    const [low, high] = [text(shown.min[index]), text(shown.max[index])];
    const spread = low === high ? '' : `  (${low} to ${high})`;
    setText(readout, `${when}:  ${text(shown.mean.values[index])}${spread}`);
  };

  select.addEventListener('change', () => {
    choice = choices[Number(select.value)];
    plot?.destroy();
    plot = null;
    void refresh();
  });
  download.addEventListener('click', async () => {
    download.disabled = true;
    try {
      const name = `${card.title}-${choice!.metric.metric}`.replaceAll(/[^\w.-]+/g, '_');
      save(await api.csv(query('mean')), `${name}.csv`);
    } catch (error) {
      note.classList.add('is-error');
      setText(note, (error as ApiFailure).message);
    } finally {
      download.disabled = false;
    }
  });
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('close', () => {
    clearTimeout(timer);
    settings.stop();
    plot?.destroy();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  void refresh();
}

function rangePicker(picked: (range: (typeof RANGES)[number]) => void): HTMLElement {
  const root = el(
    'fieldset',
    { class: 'ranges' },
    el('legend', { class: 'visually-hidden' }, 'Range'),
  );
  for (const range of RANGES) {
    const input = el('input', { type: 'radio', name: 'range', value: range.from });
    input.checked = range === RANGES[0];
    input.addEventListener('change', () => picked(range));
    root.append(el('label', {}, input, el('span', {}, range.label)));
  }
  return root;
}

function facts(card: Card): HTMLElement {
  const rows: [string, string | null][] = [
    ['Device', card.device],
    ['Owner', card.owner],
    ['Group', card.group],
    ['Cell', card.cell],
    ['Source', card.source],
  ];
  return el(
    'dl',
    { class: 'facts' },
    ...rows
      .filter(([, value]) => value !== null)
      .map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', { title: value }, value))),
  );
}

const isMetric = (a: ApiMetric, b: { profile: string; metric: string } | null): boolean =>
  b !== null && a.profile === b.profile && a.metric === b.metric;

/** At most one point per pixel; even with fewer pixels enough to see a shape. */
const pointsFor = (host: HTMLElement): number =>
  Math.min(2000, Math.max(60, Math.floor(host.clientWidth - 72)));

const byTime = (series: ApiSeries | undefined): Map<number, number> =>
  new Map(series?.timesMs.map((time, i) => [time, series.values[i]!]));

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = el('a', { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
