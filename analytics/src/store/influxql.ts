/**
 * InfluxQL text from names, so that no name can end its quotes.
 *
 * A query string may hold several statements, so a name that escaped its quotes could drop the
 * database. Names go through `quoteIdentifier`, values travel as bound parameters, times as integers.
 */
import { AnalyticsError } from '../errors.ts';
import { canExist } from './range-query.ts';

/**
 * A quoted identifier: backslash and `"` escaped.
 *
 * @throws {AnalyticsError} ERR_STORE_QUERY for a name that nothing can be stored under (a control
 *   character, a backslash at the end), which is thereby never sent.
 */
export function quoteIdentifier(name: string): string {
  if (name === '' || !canExist(name)) {
    const message = `identifier: expected text without control characters, got ${JSON.stringify(name)}`;
    throw new AnalyticsError('ERR_STORE_QUERY', message);
  }
  return `"${name.replace(/["\\]/g, '\\$&')}"`;
}

/** A field by its key, even when a tag has the same name. */
export function fieldReference(key: string): string {
  return `${quoteIdentifier(key)}::field`;
}

/** `[from, to)` as a condition on time. */
export function timeCondition(fromNs: bigint, toNs: bigint): string {
  return `time >= ${fromNs} AND time < ${toNs}`;
}

/** Lines of one device; bind `$device`. */
export const DEVICE_CONDITION = '"device"::tag = $device';
