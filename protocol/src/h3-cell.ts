/**
 * Cells of H3 version 4, the hexagons by which places are published, as text: 15 lower-case hex digits.
 *
 * Checks the bit layout of https://h3geo.org/docs/core-library/h3Indexing; leaves out all geometry, and indices of
 * edges and vertices.
 */

const TEXT = /^8[0-9a-f]{14}$/;
const BASE_CELLS = 122;
const RESOLUTIONS = 15;
/** Base cells with five neighbours: the subsequence of the K axis is missing there. */
const PENTAGONS = new Set([4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117]);
const K_AXIS = 1;
const UNUSED = 7;

/**
 * Whether a text is the index of a cell: mode 1, a base cell below 122, digits 0 to 6 down to its resolution and 7 for the
 * rest, and none that a pentagon does not have.
 */
export function isH3Cell(text: string): boolean {
  // Bits 63 to 56, of which mode and reserved bits are part, make the first of the digits: 8.
  if (!TEXT.test(text)) return false;
  const index = BigInt(`0x${text}`);
  const resolution = bits(index, 52, 4);
  const baseCell = bits(index, 45, 7);
  if (baseCell >= BASE_CELLS) return false;
  const digits = Array.from({ length: RESOLUTIONS }, (_, i) => bits(index, 42 - 3 * i, 3));
  const used = digits.slice(0, resolution);
  if (used.includes(UNUSED) || digits.slice(resolution).some((digit) => digit !== UNUSED)) {
    return false;
  }
  return !PENTAGONS.has(baseCell) || used.find((digit) => digit !== 0) !== K_AXIS;
}

function bits(index: bigint, from: number, count: number): number {
  return Number((index >> BigInt(from)) & ((1n << BigInt(count)) - 1n));
}
