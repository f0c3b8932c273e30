/** What the readings of a slot are worth. docs/spec/rewards.md section 4. */

export const PPM = 1_000_000;

/** @returns readings that fill a slot, at least 1, and how many slots a reading counts in. */
export function slotNeed(wanted: {
  readonly slotMs: number;
  readonly cadenceMs: number;
  /** Of the readings that the cadence gives, so many fill a slot. */
  readonly fillPpm: number;
}): { readonly readings: number; readonly slots: number } {
  const { slotMs, cadenceMs, fillPpm } = wanted;
  if (cadenceMs > slotMs) return { readings: 1, slots: Math.ceil(cadenceMs / slotMs) };
  const expected = Math.floor(slotMs / cadenceMs);
  return { readings: Math.max(1, Math.ceil((expected * fillPpm) / PPM)), slots: 1 };
}

/**
 * @param total - readings of a stream in a slot.
 * @param good - those of them that are not bad.
 * @param need - readings that fill the slot; more earn nothing.
 * @returns fill and credit, ppm.
 */
export function slotCredit(
  total: number,
  good: number,
  need: number,
): { readonly fill: number; readonly credit: number } {
  if (total === 0) return { fill: 0, credit: 0 };
  const fill = Math.floor((Math.min(total, need) * PPM) / need);
  return { fill, credit: Math.floor((fill * good) / total) };
}
