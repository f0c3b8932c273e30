/** What the page shows, computed from what the API answers. Pure; the tests run it in Node. */
import { rawProfiles } from '../src/derived-profiles.ts';
import type { ApiDevice, ApiLatest } from './api.ts';
import { formatMetric, shortId } from './format.ts';

/** One metric of one device with its newest value. */
export interface Reading {
  readonly profile: string;
  readonly metric: string;
  readonly label: string;
  readonly type: 'float' | 'string' | 'boolean';
  readonly unit: string | null;
  readonly value: number | string | boolean;
  readonly timeMs: number;
}

/** One device as a card. */
export interface Card {
  readonly device: string;
  readonly title: string;
  readonly group: string | null;
  readonly cell: string | null;
  readonly owner: string | null;
  readonly source: string | null;
  /** null: not known. */
  readonly online: boolean | null;
  readonly newestMs: number | null;
  /** The one shown large, with a chart. Never a derived one, as the others are not. */
  readonly primary: Reading | null;
  readonly others: readonly Reading[];
  /** Lower case, what the filter looks through. */
  readonly search: string;
}

/** Metrics that say most about a place come first. */
const PREFERRED = [
  /^(air_?)?temp/i,
  /temp/i,
  /power/i,
  /humid/i,
  /pm2/i,
  /co2/i,
  /load|cpu/i,
  /_used$/i,
];

/** Cards, those with readings first, then by name; stable from one refresh to the next. */
export function cardsOf(devices: readonly ApiDevice[], latest: readonly ApiLatest[]): Card[] {
  const readings = new Map<string, ApiLatest[]>();
  for (const value of latest) {
    const list = readings.get(value.device);
    if (list === undefined) readings.set(value.device, [value]);
    else list.push(value);
  }
  const cards = devices.map((device) => cardOf(device, readings.get(device.device) ?? []));
  return cards.sort(
    (a, b) =>
      Number(b.primary !== null) - Number(a.primary !== null) ||
      a.title.localeCompare(b.title, 'en', { numeric: true }) ||
      (a.device < b.device ? -1 : 1),
  );
}

/** Whether a card passes the text filter and the source filter (both empty: all do). */
export function cardMatches(card: Card, text: string, source: string): boolean {
  return (
    (source === '' || card.source === source) &&
    text
      .toLowerCase()
      .split(/\s+/)
      .every((word) => card.search.includes(word))
  );
}

function cardOf(device: ApiDevice, latest: readonly ApiLatest[]): Card {
  const names = [...new Set(latest.map(({ profile }) => profile))];
  const raw = rawProfiles(names, device.profiles);
  const own = latest.filter(({ profile }) => raw.has(profile));
  const metrics = own.map((value): Reading => {
    const { profile, metric, unit, timeMs } = value;
    const type = typeof value.value === 'number' ? 'float' : typeof value.value;
    return {
      ...{ profile, metric, unit, timeMs, value: value.value },
      ...{ label: formatMetric(metric), type: type as Reading['type'] },
    };
  });
  metrics.sort((a, b) => rank(a) - rank(b) || (key(a) < key(b) ? -1 : 1));
  const [primary = null, ...others] = metrics;
  const { group, cell, owner, source, online } = device;
  const title = device.name ?? shortId(device.device);
  const times = metrics.map((reading) => reading.timeMs);
  const words = [title, device.device, group, cell, source, ...metrics.map((m) => key(m))];
  return {
    ...{ device: device.device, title, group, cell, owner, source, online, primary, others },
    newestMs: times.length > 0 ? times.reduce((a, b) => Math.max(a, b)) : device.lastReadingMs,
    search: words.join(' ').toLowerCase(),
  };
}

function rank({ type, metric }: Reading): number {
  const index = PREFERRED.findIndex((pattern) => pattern.test(metric));
  return (type === 'float' ? 0 : 100) + (index < 0 ? PREFERRED.length : index);
}

const key = ({ profile, metric }: Reading): string => `${profile}/${metric}`;
