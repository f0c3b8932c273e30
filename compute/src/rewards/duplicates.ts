/** Series that several devices share: one copies, or they are one sensor. docs/spec/rewards.md 5.5. */

import { encodeUtf8 } from '@fieldproof/protocol/bytes';
import type { QualityRules } from './quality-rules.ts';

/** What a stream gave in a span of slots, fit to be compared. */
export interface SpanPrint {
  readonly device: string;
  /** Index of the device's first `enrol` entry: of those that agree the earliest is believed. */
  readonly enrolled: number;
  readonly span: number;
  /** SHA-256 of {@link printBytes} as text; it has the metric in it. */
  readonly print: string;
}

/** Whether the readings of a span are enough to compare it. */
export function isComparable(
  quanta: ArrayLike<number>,
  { readings, values }: NonNullable<QualityRules['duplicate']>,
): boolean {
  if (quanta.length < readings) return false;
  const distinct = new Set<number>();
  for (let at = 0; at < quanta.length && distinct.size < values; at += 1) distinct.add(quanta[at]!);
  return distinct.size >= values;
}

/** The bytes whose SHA-256 is a print. */
export function printBytes(metric: string, quanta: ArrayLike<number>): Uint8Array {
  const name = encodeUtf8(metric);
  const bytes = new Uint8Array(name.length + 1 + 4 * quanta.length);
  bytes.set(name);
  const view = new DataView(bytes.buffer, name.length + 1);
  for (let at = 0; at < quanta.length; at += 1) view.setInt32(4 * at, quanta[at]!);
  return bytes;
}

/** @returns those that repeat what a device has that was enrolled earlier. In one pass, whatever their order. */
export function duplicates<T extends SpanPrint>(prints: readonly T[]): T[] {
  const earliest = new Map<string, number>();
  for (const { span, print, enrolled } of prints) {
    const key = `${span} ${print}`;
    earliest.set(key, Math.min(enrolled, earliest.get(key) ?? Infinity));
  }
  return prints.filter(({ span, print, enrolled }) => enrolled > earliest.get(`${span} ${print}`)!);
}
