/**
 * What a store must hold, from the evidence alone: every placeable reading with its tags, its instant and its value,
 * and of which entry it is. Pure; the order of entries is that of the log, and of two values for one point the later
 * entry's is the one (a store merges by point).
 */
import type { ReadingTable } from '@fieldproof/compute/readings';
import type { Frame } from '@fieldproof/protocol/frame';
import { encodeSeriesKey } from '../line-protocol.ts';
import { type Outcome, project } from '../projection/projector.ts';
import { applyChange, emptyState } from '../projection/projector-state.ts';
import { fieldKeyOfMetric } from '../store/field-keys.ts';
import type { FieldValue } from '../store/time-series-store.ts';

/** One field of one series: its points by time, µs. */
export class ExpectedPoints {
  readonly rows = new Map<number, number>();
  readonly values: FieldValue[] = [];
  readonly entries: number[] = [];
  /** How often the store gave the point. */
  readonly seen: number[] = [];

  set(timeUs: number, value: FieldValue, entry: number): void {
    const row = this.rows.get(timeUs) ?? this.rows.size;
    this.rows.set(timeUs, row);
    this.values[row] = value;
    this.entries[row] = entry;
    this.seen[row] = 0;
  }
}

export interface ExpectedSeries {
  readonly device: string;
  readonly profile: string;
  readonly fields: Map<string, ExpectedPoints>;
}

export interface ReadingCounts {
  /** Values in recorded bodies that have a time. */
  placeable: number;
  /** Entries that wait for a time anchor of their boot. */
  unanchored: number;
  erased: number;
  /** Bodies that cannot be read, by code. */
  readonly unprojectable: Record<string, number>;
}

/** Collects frame by frame. */
export class ExpectedReadings {
  /** By the escaped series key, tags sorted, empty ones left out. */
  readonly series = new Map<string, ExpectedSeries>();
  readonly profiles = new Set<string>();
  /** Devices of which a body was erased: a store may still hold what was in it. */
  readonly erasedDevices = new Set<string>();
  readonly #counts = { placeable: 0, erased: 0, unprojectable: {} as Record<string, number> };
  readonly #state = emptyState();
  readonly #waiting = new Map<number, Frame>();

  get counts(): ReadingCounts {
    return { ...this.#counts, unanchored: this.#waiting.size };
  }

  /** Takes in the next frame of the log. */
  add(frame: Frame, device: string | undefined): void {
    const { outcome, changes, released } = project(frame, this.#state);
    for (const change of changes) applyChange(this.#state, change);
    for (const index of released) {
      const waiting = this.#waiting.get(index);
      if (waiting === undefined) continue;
      this.#waiting.delete(index);
      this.#take(project(waiting, this.#state).outcome, waiting, undefined);
    }
    this.#take(outcome, frame, device);
  }

  #take(outcome: Outcome, frame: Frame, device: string | undefined): void {
    switch (outcome.type) {
      case 'readings':
        for (const table of outcome.tables) this.#addTable(table, frame.index);
        return;
      case 'waiting':
        this.#waiting.set(frame.index, {
          index: frame.index,
          entry: frame.entry.slice(),
          body: frame.body.slice(),
        });
        return;
      case 'erased':
        this.#counts.erased++;
        if (device !== undefined) this.erasedDevices.add(device);
        return;
      case 'unprojectable': {
        const { unprojectable } = this.#counts;
        unprojectable[outcome.code] = (unprojectable[outcome.code] ?? 0) + 1;
      }
    }
  }

  #addTable(table: ReadingTable, entry: number): void {
    const { profile, device, cell, group, source, timesMs, columns } = table;
    const key = seriesKeyOf(profile, { cell, device, group, source });
    let series = this.series.get(key);
    if (series === undefined) {
      series = { device, profile, fields: new Map() };
      this.series.set(key, series);
      this.profiles.add(profile);
    }
    for (const { metric, values } of columns) {
      const field = fieldKeyOfMetric(metric);
      let points = series.fields.get(field);
      if (points === undefined) {
        points = new ExpectedPoints();
        series.fields.set(field, points);
      }
      for (let i = 0; i < values.length; i++) {
        const value = values[i];
        if (value === undefined || Number.isNaN(value)) continue;
        this.#counts.placeable++;
        points.set(Math.round(timesMs[i]! * 1000), value, entry);
      }
    }
  }
}

/** The key of a series, whatever order its tags come in. */
export function seriesKeyOf(profile: string, tags: Readonly<Record<string, string>>): string {
  const list = Object.entries(tags)
    .filter(([, value]) => value !== '')
    .map(([key, value]) => ({ key, value }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  return encodeSeriesKey(profile, list);
}
