/**
 * Makes compute/src/cosine-table.ts: `node --import tsx tools/cosine-table.ts`. A test compares the two.
 *
 * Cosines are computed in integers of 2^-256 (Taylor series, π by Machin's formula) and rounded once to the nearest
 * double, ties to even, so no machine's own cosine is involved.
 */

import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const BITS = 256n;
const ONE = 1n << BITS;
const POINTS = 4096n;

/** cos(2π · k / 4096) for k = 0 … 1024. */
export function quarterCosine(): number[] {
  return Array.from({ length: Number(POINTS / 4n) + 1 }, (_, k) =>
    toDouble(cosine((2n * PI * BigInt(k)) / POINTS)),
  );
}

/** The whole file. */
export function cosineTable(): string {
  const lines: string[] = [];
  let line = ' ';
  for (const value of quarterCosine()) {
    const item = ` ${value},`;
    if (line.length + item.length > 100) {
      lines.push(line);
      line = ' ';
    }
    line += item;
  }
  lines.push(line);
  return `/** Made by tools/cosine-table.ts; the shortest decimals of the doubles nearest to the true values. */

// biome-ignore-all lint/suspicious/noApproximativeNumericConstant: a table is the same on every machine

/** cos(2π · k / 4096) for k = 0 … 1024. */
// biome-ignore format: as it was made
export const QUARTER_COSINE: readonly number[] = [
${lines.join('\n')}
];
`;
}

const PI = 4n * (4n * arctanOfInverse(5n) - arctanOfInverse(239n));

function arctanOfInverse(x: bigint): bigint {
  let sum = 0n;
  let power = ONE / x;
  for (let n = 1n; power !== 0n; n += 2n) {
    sum += n % 4n === 1n ? power / n : -power / n;
    power /= x * x;
  }
  return sum;
}

function cosine(angle: bigint): bigint {
  const square = (angle * angle) >> BITS;
  let sum = 0n;
  let term = ONE;
  for (let n = 1n; term !== 0n; n += 2n) {
    sum += term;
    term = -(term * square) / (n * (n + 1n)) / ONE;
  }
  return sum;
}

/** Number() of a bigint rounds to nearest, ties to even; the scaling is exact. What is below 2^-200 is 0. */
function toDouble(fixed: bigint): number {
  const magnitude = fixed < 0n ? -fixed : fixed;
  return magnitude >> (BITS - 200n) === 0n ? 0 : Number(fixed) * 2 ** -Number(BITS);
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(resolve(import.meta.dirname, '../compute/src/cosine-table.ts'), cosineTable());
}
