/** Labels along the value axis: one scale for all, as many decimals as tell two of them apart. Pure. */
import { fixedText, readingText, scaled, scaleFor } from '../src/reading-text.ts';

/** Beyond that an axis is wider than its chart deserves. */
const MAX_DECIMALS = 6;

/** A text for each of `values` (ascending, evenly spaced) in the SenML unit `unit`. */
export function tickTexts(values: readonly number[], unit: string | null): string[] {
  const largest = values.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  const scale = scaleFor(largest, unit);
  const [first = 0, second = first] = values.map((value) => scaled(value, scale));
  const step = Math.abs(second - first);
  const suffix = scale.unit === '' ? '' : ` ${scale.unit}`;
  const decimals = step === 0 ? 0 : Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  // A step of 2.5 needs the digit that its power of ten alone does not ask for.
  const exact = Number.isInteger(Number((step * 10 ** decimals).toPrecision(6)));
  return values.map((value) => {
    const shown = scaled(value, scale);
    if (decimals > MAX_DECIMALS || Math.abs(shown) >= 1e9) {
      return readingText(value, unit).value + suffix;
    }
    return fixedText(shown, decimals + (exact ? 0 : 1)) + suffix;
  });
}
