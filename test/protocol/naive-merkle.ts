/**
 * RFC 6962 section 2.1 as its recursive definitions stand, with a memory for subtree hashes: the
 * oracle of the tree tests.
 */
import { createHash } from 'node:crypto';

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

/** The leaf hash of the decimal text of a number, for trees whose contents do not matter. */
export function leafOf(n: number): Uint8Array {
  return sha256(Uint8Array.of(0), new TextEncoder().encode(String(n)));
}

/** The definitions of the RFC over D[start:end] of a list of leaf hashes. */
export function naiveTree(leaves: readonly Uint8Array[]) {
  const known = new Map<number, Uint8Array>();

  /** MTH(D[start:end]). */
  function mth(start: number, end: number): Uint8Array {
    if (start === end) return sha256();
    if (end - start === 1) return leaves[start]!;
    const key = start * 2 ** 20 + end;
    let hash = known.get(key);
    if (hash === undefined) {
      const middle = start + split(end - start);
      hash = sha256(Uint8Array.of(1), mth(start, middle), mth(middle, end));
      known.set(key, hash);
    }
    return hash;
  }

  /** PATH(m, D[start:end]). */
  function path(m: number, start: number, end: number): Uint8Array[] {
    if (end - start === 1) return [];
    const k = split(end - start);
    return m < k
      ? [...path(m, start, start + k), mth(start + k, end)]
      : [...path(m - k, start + k, end), mth(start, start + k)];
  }

  /** SUBPROOF(m, D[start:end], b); PROOF(m, D[n]) is SUBPROOF(m, D[0:n], true). */
  function subproof(m: number, [start, end]: readonly [number, number], b: boolean): Uint8Array[] {
    if (m === end - start) return b ? [] : [mth(start, end)];
    const k = split(end - start);
    return m <= k
      ? [...subproof(m, [start, start + k], b), mth(start + k, end)]
      : [...subproof(m - k, [start + k, end], false), mth(start, start + k)];
  }

  return {
    root: (size: number) => mth(0, size),
    inclusion: (index: number, size: number) => path(index, 0, size),
    consistency: (size1: number, size2: number) => subproof(size1, [0, size2], true),
  };
}

function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}
