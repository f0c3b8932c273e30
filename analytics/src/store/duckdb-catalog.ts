/**
 * Which measurements, fields and series the embedded store holds, in memory and in its own tables.
 *
 * SQL names are case-insensitive, metrics are not: `Temp` and `temp`, or a metric called `time`, get
 * columns of their own (`Temp~2`), and these tables say which is which. A view per measurement, named
 * like it, joins points with their tags for analysts.
 */
import type { DuckDBConnection } from '@duckdb/node-api';
import type { FieldType } from '@fieldproof/compute/readings';
import { AnalyticsError } from '../errors.ts';
import type { LineTag } from '../line-protocol.ts';
import { CATALOG, DATA, dataTable, quoteName, quoteText, rowsOf } from './duckdb-sql.ts';

export interface FieldEntry {
  readonly key: string;
  readonly type: FieldType;
  /** SQL name of its column. */
  readonly column: string;
  /** Position behind `series` and `time`. */
  readonly index: number;
  /** Whether the files have it too; a query must not name it before. */
  saved: boolean;
}

export interface Measurement {
  readonly name: string;
  /** SQL name of its table. */
  readonly table: string;
  readonly fields: Map<string, FieldEntry>;
  /** Whether the files have it too. */
  saved: boolean;
}

export interface SeriesEntry {
  readonly id: number;
  /** Escaped `measurement,tag=value…`, tags sorted. */
  readonly key: string;
  readonly measurement: Measurement;
  readonly tags: Readonly<Record<string, string>>;
  /** Newest time stored or about to be; a later one cannot be there yet. */
  lastNs: bigint;
}

export interface Budget {
  readonly maxSeries: number;
  readonly maxFields: number;
  readonly maxMeasurements: number;
}

export class Catalog {
  readonly measurements = new Map<string, Measurement>();
  readonly series = new Map<string, SeriesEntry>();
  readonly #budget: Budget;
  readonly #tables = new Set<string>();
  /** Statements that make the files agree with what was added in memory. */
  #pending: string[] = [];
  #pendingSeries: SeriesEntry[] = [];
  #changed = new Set<Measurement>();

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Creates the bookkeeping tables when missing and reads them. */
  async load(connection: DuckDBConnection): Promise<void> {
    for (const sql of SCHEMA) await rowsOf(connection, sql);
    this.measurements.clear();
    this.series.clear();
    this.#tables.clear();
    this.#clearPending();
    const tables = await rowsOf(
      connection,
      `SELECT measurement, table_name FROM ${CATALOG}.measurements`,
    );
    for (const [name, table] of tables as [string, string][]) {
      this.measurements.set(name, { name, table, fields: new Map(), saved: true });
      this.#tables.add(fold(table));
    }
    const fields = await rowsOf(
      connection,
      `SELECT measurement, field, type, column_name, position FROM ${CATALOG}.fields ORDER BY position`,
    );
    for (const [name, key, type, column, index] of fields as [
      string,
      string,
      FieldType,
      string,
      number,
    ][]) {
      this.measurements.get(name)!.fields.set(key, { key, type, column, index, saved: true });
    }
    const series = await rowsOf(
      connection,
      `SELECT id, measurement, key, tags FROM ${CATALOG}.series`,
    );
    const byId = new Map<number, SeriesEntry>();
    for (const [id, name, key, tags] of series as [number, string, string, string][]) {
      const measurement = this.measurements.get(name)!;
      const entry = { id, key, measurement, tags: JSON.parse(tags), lastNs: NEVER };
      this.series.set(key, entry);
      byId.set(id, entry);
    }
    for (const { table } of this.measurements.values()) {
      const newest = await rowsOf(
        connection,
        `SELECT series, epoch_ns(max(time)) FROM ${dataTable(table)} GROUP BY series`,
      );
      for (const [id, ns] of newest as [number, bigint][]) byId.get(id)!.lastNs = ns;
    }
  }

  /**
   * The series with this key; added when new.
   *
   * @throws {AnalyticsError} ERR_STORE_SERIES_BUDGET.
   */
  seriesFor(key: string, name: string, tags: readonly LineTag[]): SeriesEntry {
    const known = this.series.get(key);
    if (known !== undefined) return known;
    const { maxSeries } = this.#budget;
    if (this.series.size >= maxSeries) throw overBudget('series', maxSeries, key);
    const entry: SeriesEntry = {
      id: this.series.size,
      key,
      measurement: this.#measurementFor(name),
      tags: Object.fromEntries(tags.map((tag) => [tag.key, tag.value])),
      lastNs: NEVER,
    };
    this.series.set(key, entry);
    this.#pendingSeries.push(entry);
    return entry;
  }

  /**
   * The field with this key; added when new. Its type may differ from `type`: the caller decides.
   *
   * @throws {AnalyticsError} ERR_STORE_SERIES_BUDGET.
   */
  fieldFor(measurement: Measurement, key: string, type: FieldType): FieldEntry {
    const known = measurement.fields.get(key);
    if (known !== undefined) return known;
    const { maxFields } = this.#budget;
    const index = measurement.fields.size;
    if (index >= maxFields) throw overBudget(`fields of ${measurement.name}`, maxFields, key);
    const taken = new Set([...measurement.fields.values()].map((field) => fold(field.column)));
    for (const name of RESERVED_COLUMNS) taken.add(name);
    const column = freeName(key, taken);
    const entry = { key, type, column, index, saved: false };
    measurement.fields.set(key, entry);
    this.#pending.push(
      `ALTER TABLE ${dataTable(measurement.table)} ADD COLUMN ${quoteName(column)} ${SQL_TYPES[type]}`,
      `INSERT INTO ${CATALOG}.fields VALUES (${[measurement.name, key, type, column].map(quoteText)}, ${index})`,
    );
    this.#changed.add(measurement);
    return entry;
  }

  /** Writes what was added since the last call, in one transaction. On failure, `load` again. */
  async save(connection: DuckDBConnection): Promise<void> {
    if (this.#pending.length === 0 && this.#pendingSeries.length === 0) return;
    const rows = this.#pendingSeries.map(({ id, key, measurement, tags }) => {
      const { device = '', cell = '', group = '', source = '' } = tags;
      const texts = [measurement.name, key, device, cell, group, source, JSON.stringify(tags)];
      return `(${id}, ${texts.map(quoteText)})`;
    });
    const statements = [...this.#pending, ...[...this.#changed].map(viewOf)];
    for (let i = 0; i < rows.length; i += 500) {
      statements.push(`INSERT INTO ${CATALOG}.series VALUES ${rows.slice(i, i + 500)}`);
    }
    await rowsOf(connection, 'BEGIN');
    try {
      for (const sql of statements) await rowsOf(connection, sql);
      await rowsOf(connection, 'COMMIT');
    } catch (error) {
      await rowsOf(connection, 'ROLLBACK').catch(() => {});
      throw error;
    }
    for (const measurement of this.#changed) {
      measurement.saved = true;
      for (const field of measurement.fields.values()) field.saved = true;
    }
    this.#clearPending();
  }

  #measurementFor(name: string): Measurement {
    const known = this.measurements.get(name);
    if (known !== undefined) return known;
    const { maxMeasurements } = this.#budget;
    if (this.measurements.size >= maxMeasurements) {
      throw overBudget('measurements', maxMeasurements, name);
    }
    const table = freeName(name, this.#tables);
    this.#tables.add(fold(table));
    const measurement = { name, table, fields: new Map(), saved: false };
    this.measurements.set(name, measurement);
    this.#pending.push(
      `CREATE TABLE ${dataTable(table)} (series INTEGER NOT NULL, time TIMESTAMP_NS NOT NULL)`,
      `INSERT INTO ${CATALOG}.measurements VALUES (${quoteText(name)}, ${quoteText(table)})`,
    );
    this.#changed.add(measurement);
    return measurement;
  }

  #clearPending(): void {
    this.#pending = [];
    this.#pendingSeries = [];
    this.#changed = new Set();
  }
}

/** Before every time that can be stored. */
const NEVER = -(2n ** 63n);
const SQL_TYPES = { float: 'DOUBLE', string: 'VARCHAR', boolean: 'BOOLEAN' } as const;
const RESERVED_COLUMNS = ['series', 'time', 'device', 'cell', 'group', 'source', 'rowid'];
const SCHEMA = [
  `CREATE SCHEMA IF NOT EXISTS ${CATALOG}`,
  `CREATE SCHEMA IF NOT EXISTS ${DATA}`,
  `CREATE TABLE IF NOT EXISTS ${CATALOG}.measurements (measurement VARCHAR, table_name VARCHAR)`,
  `CREATE TABLE IF NOT EXISTS ${CATALOG}.fields
     (measurement VARCHAR, field VARCHAR, type VARCHAR, column_name VARCHAR, position INTEGER)`,
  `CREATE TABLE IF NOT EXISTS ${CATALOG}.series
     (id INTEGER, measurement VARCHAR, key VARCHAR, device VARCHAR, cell VARCHAR, "group" VARCHAR,
      source VARCHAR, tags VARCHAR)`,
];

/** The readable view: tags as columns beside the fields. */
function viewOf({ table, fields }: Measurement): string {
  const columns = [...fields.values()].map(({ column }) => `p.${quoteName(column)}`);
  const names = ['p.time', 's.device', 's.cell', 's."group"', 's.source', ...columns];
  return `CREATE OR REPLACE VIEW main.${quoteName(table)} AS
    SELECT ${names} FROM ${dataTable(table)} p JOIN ${CATALOG}.series s ON s.id = p.series`;
}

/** `name`, or with `~2`, `~3`… when SQL would confuse it with one that is taken. */
function freeName(name: string, taken: ReadonlySet<string>): string {
  let free = name;
  for (let i = 2; taken.has(fold(free)); i++) free = `${name}~${i}`;
  return free;
}

function fold(name: string): string {
  return name.toLowerCase();
}

function overBudget(what: string, max: number, got: string): AnalyticsError {
  return new AnalyticsError(
    'ERR_STORE_SERIES_BUDGET',
    `${what}: expected at most ${max}, got ${got}`,
  );
}
