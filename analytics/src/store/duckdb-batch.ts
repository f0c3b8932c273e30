/**
 * One body of lines as columns, ready to be appended or merged.
 *
 * A point later than everything its series holds cannot be stored yet: it is appended without a look.
 * All others are merged: fields of the same series and time are united, the last value wins. A line is
 * taken or refused as a whole.
 */
import type { FieldType } from '@fieldproof/compute/readings';
import { AnalyticsError, type AnalyticsErrorCode } from '../errors.ts';
import { encodeSeriesKey, type Precision } from '../line-protocol.ts';
import { fieldKey, fieldString, readSeries } from '../line-protocol-decode.ts';
import { KIND_BOOLEAN, KIND_STRING, LineReader } from '../line-reader.ts';
import type { Catalog, FieldEntry, Measurement, SeriesEntry } from './duckdb-catalog.ts';
import { isReservedKey } from './field-keys.ts';
import { MAX_STORED_NS, MIN_STORED_NS } from './range-query.ts';
import type { FieldValue } from './time-series-store.ts';

/** Rows of one measurement; a column may be shorter than `series`, the rest is absent. */
export interface Rows {
  readonly series: number[];
  readonly times: bigint[];
  readonly columns: (FieldValue | null)[][];
}

export interface Part {
  readonly measurement: Measurement;
  /** Points that cannot be stored yet, no two of one series and time. */
  readonly fresh: Rows;
  /** Points that may be; no two of one series and time. */
  readonly merged: Rows;
}

export interface Batch {
  readonly parts: readonly Part[];
  /** Of the first refused line. */
  readonly refusal: AnalyticsError | undefined;
}

/**
 * Reads a body; new series and fields are added to the catalog, which must be saved before the batch.
 *
 * @param options.nowNs - for lines without a time.
 */
export function readBatch(
  body: Uint8Array,
  catalog: Catalog,
  options: { readonly precision: Precision; readonly nowNs: bigint },
): Batch {
  const batch = new BatchBuilder(body, catalog, options);
  return batch.read();
}

interface BuiltPart extends Part {
  readonly mergedAt: Map<string, number>;
  /** Fields in the order of the previous line, to recognise them by their bytes. */
  readonly layout: { readonly key: Uint8Array; readonly field: FieldEntry }[];
}

class BatchBuilder {
  readonly #reader: LineReader;
  readonly #body: Buffer;
  readonly #catalog: Catalog;
  readonly #parts = new Map<Measurement, BuiltPart>();
  readonly #rawKeys = new Map<string, SeriesEntry>();
  #previous: SeriesEntry | undefined;
  #refusedLines = 0;
  #code: AnalyticsErrorCode = 'ERR_STORE_LINES_REFUSED';
  #message = '';

  constructor(
    body: Uint8Array,
    catalog: Catalog,
    options: { readonly precision: Precision; readonly nowNs: bigint },
  ) {
    const { precision, nowNs } = options;
    this.#reader = new LineReader(body, { precision, defaultTimeNs: nowNs });
    this.#body = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    this.#catalog = catalog;
  }

  read(): Batch {
    const reader = this.#reader;
    while (reader.next()) {
      if (reader.error !== undefined) {
        this.#previous = undefined;
        this.#refuse('ERR_STORE_LINES_REFUSED', reader.error);
      } else {
        try {
          this.#addLine();
        } catch (error) {
          if (!(error instanceof AnalyticsError)) throw error;
          const code = error.code === 'ERR_LINE_SYNTAX' ? 'ERR_STORE_LINES_REFUSED' : error.code;
          this.#refuse(code, error.message);
        }
      }
    }
    const lines = this.#refusedLines;
    const refusal =
      lines === 0
        ? undefined
        : new AnalyticsError(this.#code, `${this.#message} (${lines} lines not stored)`);
    return { parts: [...this.#parts.values()], refusal };
  }

  #addLine(): void {
    const reader = this.#reader;
    const { timeNs, fieldCount } = reader;
    const series = this.#series();
    if (timeNs < MIN_STORED_NS || timeNs > MAX_STORED_NS) {
      throw new AnalyticsError(
        'ERR_LINE_SYNTAX',
        `line ${reader.line}: expected a time in range, got ${timeNs}`,
      );
    }
    const part = this.#part(series.measurement);
    for (let i = 0; i < fieldCount; i++) this.#checkField(part, series, i);
    const { rows, at } = this.#row(part, series, timeNs);
    for (let i = 0; i < fieldCount; i++) {
      const { index } = part.layout[i]!.field;
      let column = rows.columns[index];
      if (column === undefined) {
        column = [];
        rows.columns[index] = column;
      }
      // Columns stay dense: holes would make them slow maps.
      while (column.length < at) column.push(null);
      const kind = reader.kinds[i];
      column[at] =
        kind === KIND_STRING
          ? fieldString(reader, i)
          : kind === KIND_BOOLEAN
            ? reader.numbers[i] === 1
            : reader.numbers[i]!;
    }
  }

  #row(part: BuiltPart, series: SeriesEntry, timeNs: bigint): { rows: Rows; at: number } {
    if (timeNs > series.lastNs) {
      series.lastNs = timeNs;
      return { rows: part.fresh, at: addRow(part.fresh, series.id, timeNs) };
    }
    const id = `${series.id} ${timeNs}`;
    let at = part.mergedAt.get(id);
    if (at === undefined) {
      at = addRow(part.merged, series.id, timeNs);
      part.mergedAt.set(id, at);
    }
    return { rows: part.merged, at };
  }

  #series(): SeriesEntry {
    const { seriesStart: start, seriesEnd: end } = this.#reader;
    // What the reader compares with must be what is remembered: a refused line leaves nothing.
    if (this.#reader.sameSeries && this.#previous !== undefined) return this.#previous;
    this.#previous = undefined;
    const raw = this.#body.toString('latin1', start, end);
    let series = this.#rawKeys.get(raw);
    if (series === undefined) {
      const { measurement, tags } = readSeries(this.#reader);
      if (tags.some(({ key }) => isReservedKey(key))) throw reserved(this.#reader.line);
      const canonical = encodeSeriesKey(measurement, tags);
      series = this.#catalog.seriesFor(canonical, measurement, tags);
      this.#rawKeys.set(raw, series);
    }
    this.#previous = series;
    return series;
  }

  #part(measurement: Measurement): BuiltPart {
    let part = this.#parts.get(measurement);
    if (part === undefined) {
      const [fresh, merged] = [noRows(), noRows()];
      part = { measurement, fresh, merged, mergedAt: new Map(), layout: [] };
      this.#parts.set(measurement, part);
    }
    return part;
  }

  /** Finds field `i` in the catalog, remembers it in the layout, refuses another type. */
  #checkField(part: BuiltPart, series: SeriesEntry, i: number): void {
    const reader = this.#reader;
    const [start, end] = [reader.keyStarts[i]!, reader.keyEnds[i]!];
    const kind = reader.kinds[i]!;
    const type: FieldType =
      kind === KIND_STRING ? 'string' : kind === KIND_BOOLEAN ? 'boolean' : 'float';
    let known = part.layout[i];
    if (known === undefined || !equals(known.key, this.#body, start, end)) {
      const key = fieldKey(reader, i);
      if (isReservedKey(key)) throw reserved(reader.line);
      const field = this.#catalog.fieldFor(part.measurement, key, type);
      known = { key: this.#body.subarray(start, end), field };
      part.layout[i] = known;
    }
    if (known.field.type === type) return;
    throw new AnalyticsError(
      'ERR_STORE_FIELD_TYPE',
      `series ${series.key}: expected ${known.field.type} for ${JSON.stringify(known.field.key)}, got ${type}`,
    );
  }

  #refuse(code: AnalyticsErrorCode, message: string): void {
    if (this.#refusedLines++ > 0) return;
    this.#code = code;
    this.#message = message;
  }
}

function noRows(): Rows {
  return { series: [], times: [], columns: [] };
}

function addRow(rows: Rows, series: number, timeNs: bigint): number {
  rows.times.push(timeNs);
  return rows.series.push(series) - 1;
}

function equals(key: Uint8Array, body: Uint8Array, start: number, end: number): boolean {
  if (key.length !== end - start) return false;
  for (let i = 0; i < key.length; i++) if (key[i] !== body[start + i]) return false;
  return true;
}

function reserved(line: number): AnalyticsError {
  const message = `line ${line}: expected no tag or field named time, got one`;
  return new AnalyticsError('ERR_STORE_LINES_REFUSED', message);
}
