/**
 * A value with its SenML unit (RFC 8428 section 12.1, RFC 8798) as people read it: 24.4 GB, 22.9 %, 12 °C.
 *
 * Bytes, bits and their rates get decimal prefixes, ratios become per cent, thousands are kept apart by a narrow space
 * from five digits on. Pure: the page and the command line use it; JSON and CSV never do.
 */

/** Number and unit, to be shown side by side; the unit is empty where there is none. */
export interface ReadingText {
  readonly value: string;
  readonly unit: string;
}

/** What a unit is shown as, and what a number of it is divided by first. */
export interface Scale {
  readonly unit: string;
  readonly divisor: number;
}

/** U+202F: narrow, and no line breaks at it. */
const THIN_SPACE = '\u202f';
/** Texts beyond this are cut: a device may send any. */
const MAX_TEXT = 48;

const UNITS: Readonly<Record<string, string>> = {
  Cel: '°C',
  degF: '°F',
  '%RH': '% RH',
  '%EL': '%',
  '/': '%',
  lux: 'lx',
  deg: '°',
  Ohm: 'Ω',
  m2: 'm²',
  m3: 'm³',
  'm/s2': 'm/s²',
  'm3/s': 'm³/s',
  'l/s': 'L/s',
  l: 'L',
  'W/m2': 'W/m²',
  'cd/m2': 'cd/m²',
  'kg/m3': 'kg/m³',
  'g/m3': 'g/m³',
  'mg/m3': 'mg/m³',
  'ug/m3': 'µg/m³',
  'uS/cm': 'µS/cm',
  'S/m': 'S/m',
  'count/s': '/s',
  '1/s': '/s',
  '1/min': '/min',
  'beat/min': '/min',
  count: '',
};

/** Units that take decimal prefixes. */
const PREFIXED: ReadonlySet<string> = new Set(['B', 'B/s', 'bit', 'bit/s']);
const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P', 'E'];

/**
 * `value` for people.
 *
 * @param options.digits - significant digits at most; 4 by default, which fits a card. Whole numbers up to a thousand
 *   million stay whole.
 */
export function readingText(
  value: number | string | boolean,
  unit: string | null,
  { digits = 4 }: { readonly digits?: number } = {},
): ReadingText {
  if (typeof value === 'boolean') return { value: value ? 'yes' : 'no', unit: '' };
  if (typeof value === 'string') {
    const cut = value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT - 1)}…` : value;
    return { value: cut, unit: unitText(unit) };
  }
  const scale = scaleFor(value, unit);
  return { value: numberText(scaled(value, scale), digits), unit: scale.unit };
}

/** The same as one text: "24.4 GB". */
export function readingLine(
  value: number | string | boolean,
  unit: string | null,
  options: { readonly digits?: number } = {},
): string {
  const text = readingText(value, unit, options);
  return `${text.value} ${text.unit}`.trimEnd();
}

/** A SenML unit without a value, as in a heading; the empty string where there is none. */
export function unitText(unit: string | null): string {
  return unit === null ? '' : (UNITS[unit] ?? unit);
}

/** How numbers about as large as `size` are shown in `unit`. */
export function scaleFor(size: number, unit: string | null): Scale {
  if (unit === '/') return { unit: '%', divisor: 0.01 };
  if (unit === null || !PREFIXED.has(unit)) return { unit: unitText(unit), divisor: 1 };
  let step = 0;
  // 999.95 kB would be shown as 1000 kB.
  while (step < PREFIXES.length - 1 && Math.abs(size) >= 999.95 * 1000 ** step) step++;
  return { unit: `${PREFIXES[step]}${unit}`, divisor: 1000 ** step };
}

/** `value` in `scale`, without the digits that the division brings in. */
export function scaled(value: number, { divisor }: Scale): number {
  return divisor === 1 ? value : Number((value / divisor).toPrecision(15));
}

/** `value` with `decimals` digits after the point, thousands kept apart. */
export function fixedText(value: number, decimals: number): string {
  return grouped(value.toFixed(decimals).replace(/^-(0(\.0*)?)$/, '$1'));
}

function numberText(value: number, digits: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return '–';
  if (value !== 0 && (size >= 1e9 || size < 1e-3)) return powerText(value, digits);
  if (Number.isInteger(value)) return grouped(String(value));
  const before = Math.max(1, Math.floor(Math.log10(size)) + 1);
  return grouped(String(Number(value.toFixed(Math.max(0, digits - before)))));
}

/** 1.01 × 10¹², with the digits of an exponent raised. */
function powerText(value: number, digits: number): string {
  const [mantissa = '', exponent = ''] = value.toExponential(Math.min(digits, 15) - 1).split('e');
  const raised = [...exponent.replace('+', '')].map((c) => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(c)]);
  return `${Number(mantissa)}${THIN_SPACE}×${THIN_SPACE}10${raised.join('')}`;
}

/** Four digits stay together, as in ISO 80000-1 and most tables. */
function grouped(text: string): string {
  const [whole = '', ...rest] = text.split('.');
  const apart =
    whole.replace('-', '').length < 5 ? whole : whole.replaceAll(/\B(?=(\d{3})+$)/g, THIN_SPACE);
  return [apart, ...rest].join('.');
}
