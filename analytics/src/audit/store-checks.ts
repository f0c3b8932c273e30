/** A store's points against what the evidence says it must hold. Pure. */
import { Check, type CheckResult } from './checks.ts';
import { type ExpectedReadings, seriesKeyOf } from './expected-readings.ts';
import type { StoredRows } from './stored-readings.ts';

/** What a window node appends to a profile: `_1m`, `_10s`, `_0_5s`. */
const WINDOW = /^(.+)_\d+(_\d+)?[smh]$/;

export interface StoreCounts {
  /** Values of raw profiles. */
  stored: number;
  /** Values of windows over raw profiles: they follow from readings and are not compared. */
  windowValues: number;
  /** Values of devices of which a body was erased, that no body explains any more. */
  withheld: number;
  /** Values that entries at or behind the cursor will bring. */
  notYet: number;
}

export class StoreChecks {
  readonly counts: StoreCounts = { stored: 0, windowValues: 0, withheld: 0, notYet: 0 };
  readonly #expected: ExpectedReadings;
  readonly #cursor: number;
  readonly #present: Check;
  readonly #nothingElse: Check;

  /** @param options.cursor - entries from this index on need not be in the store yet. */
  constructor(
    expected: ExpectedReadings,
    options: { readonly cursor?: number | undefined; readonly maxExamples?: number | undefined },
  ) {
    this.#expected = expected;
    this.#cursor = options.cursor ?? Number.POSITIVE_INFINITY;
    this.#present = new Check(
      'stored',
      'every placeable reading is in the store with its value, bit for bit',
      options.maxExamples,
    );
    this.#nothingElse = new Check(
      'nothing-else',
      'the store holds no reading that is not recorded, and none twice',
      options.maxExamples,
    );
  }

  add({ measurement, tags, fields, rows }: StoredRows): void {
    const series = this.#expected.series.get(seriesKeyOf(measurement, tags));
    if (series === undefined && this.#isWindow(measurement)) {
      for (const { values } of rows) {
        for (const value of values) if (value !== null) this.counts.windowValues++;
      }
      return;
    }
    const points = fields.map((field) => series?.fields.get(field));
    for (const { timeUs, values } of rows) {
      for (const [i, value] of values.entries()) {
        if (value === null) continue;
        this.counts.stored++;
        this.#nothingElse.checked++;
        const column = points[i];
        const row = column?.rows.get(timeUs);
        const where = `${measurement} ${fields[i]} at ${timeText(timeUs)}`;
        const device = tags.device ?? '';
        if (column === undefined || row === undefined) {
          if (this.#expected.erasedDevices.has(device)) this.counts.withheld++;
          else this.#nothingElse.fail({ device, detail: `${where}: ${value}, which nobody sent` });
          continue;
        }
        const index = column.entries[row]!;
        column.seen[row]!++;
        if (column.seen[row]! > 1) {
          this.#nothingElse.fail({ device, index, detail: `${where}: stored twice` });
        } else if (!Object.is(value, column.values[row])) {
          const detail = `${where}: expected ${column.values[row]}, got ${value}`;
          this.#present.fail({ device, index, detail });
        }
      }
    }
  }

  /** Call once, behind the last point. */
  results(): CheckResult[] {
    for (const { device, profile, fields } of this.#expected.series.values()) {
      for (const [field, { rows, entries, values, seen }] of fields) {
        for (const [timeUs, row] of rows) {
          this.#present.checked++;
          if (seen[row]! > 0) continue;
          const index = entries[row]!;
          if (index >= this.#cursor) {
            this.counts.notYet++;
            continue;
          }
          const detail = `${profile} ${field} at ${timeText(timeUs)}: expected ${values[row]}, got nothing`;
          this.#present.fail({ device, index, detail });
        }
      }
    }
    return [this.#present.result(), this.#nothingElse.result()];
  }

  #isWindow(measurement: string): boolean {
    const base = WINDOW.exec(measurement)?.[1];
    return base !== undefined && this.#expected.profiles.has(base);
  }
}

function timeText(timeUs: number): string {
  const date = new Date(timeUs / 1000);
  return Number.isNaN(date.getTime()) ? `${timeUs} µs` : date.toISOString();
}
