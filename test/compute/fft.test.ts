import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { QUARTER_COSINE } from '@fieldproof/compute/cosine-table';
import { powerSpectrum } from '@fieldproof/compute/edge-bands';
import { cosine, fft } from '@fieldproof/compute/fft';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { cosineTable } from '../../tools/cosine-table.ts';
import { REPOSITORY } from '../support/repository.ts';

describe('the cosine table', () => {
  test('is what its script makes', () => {
    const path = resolve(REPOSITORY, 'compute/src/cosine-table.ts');
    expect(readFileSync(path, 'utf8')).toBe(cosineTable());
  });

  test('is right to the last bit, by half angles and rotations instead of series', () => {
    const bits = 400n;
    const one = 1n << bits;
    let c = 0n; // of π/2, halved to 2π/4096
    for (let i = 0; i < 10; i++) c = squareRoot(((one + c) * one) / 2n);
    const s = squareRoot(one * one - c * c);
    let [x, y] = [one, 0n];
    for (let k = 0; k <= 1024; k++) {
      const rounded = x >> 150n === 0n || k === 1024 ? 0 : Number(x) * 2 ** -Number(bits);
      expect(QUARTER_COSINE[k]).toBe(rounded);
      [x, y] = [(x * c - y * s) / one, (x * s + y * c) / one];
    }
  });

  test('covers the circle by symmetry', () => {
    for (let k = 0; k < 9000; k += 7) {
      expect(cosine(k)).toBeCloseTo(Math.cos((2 * Math.PI * k) / 4096), 12);
    }
  });
});

describe('the Fourier transform', () => {
  test('of 1, 2, 3, 4 is 10, −2+2i, −2, −2−2i', () => {
    const re = Float64Array.of(1, 2, 3, 4);
    const im = new Float64Array(4);
    fft(re, im);
    expect([...re]).toEqual([10, -2, -2, -2]);
    expect([...im].map((v) => v + 0)).toEqual([0, 2, 0, -2]);
  });

  test('is the one of the definition, for any numbers', () => {
    const number = fc.double({ min: -1000, max: 1000, noNaN: true });
    const signal = fc
      .integer({ min: 1, max: 7 })
      .chain((power) => fc.array(number, { minLength: 2 ** power, maxLength: 2 ** power }));
    fc.assert(
      fc.property(signal, (x) => {
        const points = x.length;
        const re = Float64Array.from(x);
        const im = new Float64Array(points);
        fft(re, im);
        for (let k = 0; k < points; k++) {
          let [a, b] = [0, 0];
          for (let n = 0; n < points; n++) {
            a += x[n]! * Math.cos((2 * Math.PI * k * n) / points);
            b -= x[n]! * Math.sin((2 * Math.PI * k * n) / points);
          }
          expect(Math.abs(re[k]! - a)).toBeLessThan(1e-8);
          expect(Math.abs(im[k]! - b)).toBeLessThan(1e-8);
        }
        // Parseval
        const energy = x.reduce((sum, v) => sum + v * v, 0);
        const power = re.reduce((sum, v, i) => sum + v * v + im[i]! * im[i]!, 0) / points;
        expect(Math.abs(energy - power)).toBeLessThanOrEqual(1e-9 * (1 + energy));
      }),
      { numRuns: 30 },
    );
  });
});

describe('the power spectrum', () => {
  test.each([8, 64, 1024, 4096])('of a tone of amplitude 3 has 4.5 at it, %i points', (points) => {
    const k = points / 4;
    const tone = Array.from(
      { length: points },
      (_, n) => 7 + 3 * Math.cos((2 * Math.PI * k * n) / points),
    );
    const powers = powerSpectrum(tone);
    const near = powers[k - 1]! + powers[k]! + powers[k + 1]!;
    expect(near).toBeCloseTo(4.5, 9);
    expect(powers.reduce((a, b) => a + b, 0) - near).toBeLessThan(1e-9);
  });

  test('adds up to the windowed variance', () => {
    const x = Array.from({ length: 256 }, (_, n) => ((n * 7919) % 101) / 10);
    const mean = x.reduce((a, b) => a + b, 0) / 256;
    let [energy, norm] = [0, 0];
    for (let n = 0; n < 256; n++) {
      const w = 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / 256);
      energy += (w * (x[n]! - mean)) ** 2;
      norm += w * w;
    }
    const total = powerSpectrum(x).reduce((a, b) => a + b, 0);
    expect(total).toBeCloseTo(energy / norm, 9);
  });
});

test('edge functions call nothing whose last bits differ between machines', () => {
  const folder = resolve(REPOSITORY, 'compute/src');
  const files = readdirSync(folder).filter((name) => /^(edge-|fft|moments|quantile)/.test(name));
  expect(files.length).toBeGreaterThan(12);
  const exact = /Math\.(abs|ceil|floor|max|min|sqrt)\b/g;
  for (const name of files) {
    const text = readFileSync(resolve(folder, name), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
    expect([name, text.replace(exact, '').match(/Math\.\w+|\*\*/g)]).toEqual([name, null]);
  }
});

/** Newton's, rounded down. */
function squareRoot(n: bigint): bigint {
  if (n < 2n) return n;
  let x = 1n << BigInt(Math.ceil(n.toString(2).length / 2));
  for (;;) {
    const y = (x + n / x) >> 1n;
    if (y >= x) return x;
    x = y;
  }
}
