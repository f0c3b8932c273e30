/** Rounding of values to the step of their instrument. */

/**
 * The whole multiple of `resolution` nearest to `value`, as the shortest decimal: 21.349999 with 0.01 is
 * 21.35. Values without a resolution, or too large for it, stay as they are.
 */
export function quantise(value: number, resolution: number | undefined): number {
  if (resolution === undefined || resolution <= 0) return value;
  const steps = Math.round(value / resolution);
  if (!Number.isSafeInteger(steps)) return value;
  const rounded = Number((steps * resolution).toFixed(decimalsOf(resolution)));
  return rounded === 0 ? 0 : rounded;
}

/** Digits after the point in the shortest decimal form of a number, 20 at most. */
function decimalsOf(value: number): number {
  const [digits = '', exponent = '0'] = String(value).split('e');
  const fraction = digits.split('.')[1]?.length ?? 0;
  return Math.min(20, Math.max(0, fraction - Number(exponent)));
}
