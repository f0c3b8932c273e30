/**
 * Readings as columns: the one shape that flows from a decoded batch to windows, quality and stores.
 *
 * A table holds one device and profile at a list of instants, a column per metric. Numbers stay in
 * typed arrays, so that a batch of ten thousand readings is a handful of objects. This file holds no
 * decoding and no rules about what a metric means.
 */

/** The three kinds of value a metric may have; a metric keeps its kind for ever. */
export type FieldType = 'float' | 'string' | 'boolean';

/** Where readings came from; only `sensor` readings earn anything. */
export type ReadingSource = 'sensor' | 'replay' | 'simulated';

interface ColumnOf<Type extends FieldType, Values> {
  readonly metric: string;
  /** SenML unit (RFC 8428 section 12.1), empty when there is none. */
  readonly unit: string;
  readonly type: Type;
  /** One per instant of the table, in its order. */
  readonly values: Values;
}

/** Numbers; NaN stands for "absent". */
export type FloatColumn = ColumnOf<'float', Float64Array>;
/** Texts; undefined stands for "absent", the empty string is a value. */
export type StringColumn = ColumnOf<'string', readonly (string | undefined)[]>;
/** Truth values; undefined stands for "absent". */
export type BooleanColumn = ColumnOf<'boolean', readonly (boolean | undefined)[]>;

export type ReadingColumn = FloatColumn | StringColumn | BooleanColumn;

/** Readings of one device and profile at a list of instants (one line each in a time-series store). */
export interface ReadingTable {
  readonly profile: string;
  readonly device: string;
  /** H3 cell, empty when the device has none. */
  readonly cell: string;
  /** The operator's grouping, empty when there is none. */
  readonly group: string;
  readonly source: ReadingSource;
  /** Unix time in ms, may be fractional down to 1 µs; need not ascend. */
  readonly timesMs: Float64Array;
  readonly columns: readonly ReadingColumn[];
}

/** How many values are present in `table` (absent ones are not readings). */
export function readingCount(table: ReadingTable): number {
  let count = 0;
  for (const column of table.columns) count += columnCount(column);
  return count;
}

/** How many values are present in `column`. */
export function columnCount(column: ReadingColumn): number {
  let count = 0;
  if (column.type === 'float') {
    const { values } = column;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      // biome-ignore lint/suspicious/noSelfCompare: NaN is the only value unequal to itself
      if (value === value) count++;
    }
    return count;
  }
  for (const value of column.values) if (value !== undefined) count++;
  return count;
}
