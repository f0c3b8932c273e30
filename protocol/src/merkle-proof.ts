/**
 * Inclusion and consistency proofs of RFC 6962 sections 2.1.1 and 2.1.2: made from tree nodes, and
 * verified with the algorithms of RFC 9162 sections 2.1.3.2 and 2.1.4.2.
 *
 * Which nodes a proof needs is computed without any hash, so nodes can come from memory, from tiles
 * on disk or over HTTP. Verifiers take sizes up to 2^64 - 1; makers take sizes below 2^53.
 */
import { equalBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';
import { emptyRoot, HASH_BYTES, type Hasher, portableHasher } from './merkle.ts';

const UINT64_MAX = 2n ** 64n - 1n;

/** The root of the `index`-th complete subtree of 2^level leaves. */
export interface NodeCoordinate {
  readonly level: number;
  readonly index: number;
}

/**
 * One hash of a proof: the complete subtrees, left to right, that fold into it from the right. More
 * than one only at the ragged right edge of a tree whose size is not a power of two.
 */
export type ProofStep = readonly NodeCoordinate[];

/** Looks a node hash up; both 32 bytes at once and a promise of them will do. */
export type GetNode = (level: number, index: number) => Uint8Array | Promise<Uint8Array>;

export interface InclusionClaim {
  readonly index: number | bigint;
  readonly size: number | bigint;
  readonly leafHash: Uint8Array;
  readonly proof: readonly Uint8Array[];
  readonly root: Uint8Array;
}

export interface ConsistencyClaim {
  readonly size1: number | bigint;
  readonly size2: number | bigint;
  readonly root1: Uint8Array;
  readonly root2: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/**
 * Verifies that a leaf is the `index`-th of the tree with that size and root. RFC 9162 section 2.1.3.2.
 *
 * @throws {ProtocolError} ERR_PROOF_INVALID when it is not shown, or an argument is out of range.
 */
export function verifyInclusion(claim: InclusionClaim, hasher: Hasher = portableHasher): void {
  const index = uint64('index', claim.index);
  const size = uint64('size', claim.size);
  checkHash('leaf hash', claim.leafHash);
  checkHash('root', claim.root);
  checkHashes(claim.proof);
  // "Compare leaf_index from the inclusion_proof_v2 structure against tree_size. If leaf_index is
  // greater than or equal to tree_size, then stop and fail the proof verification."
  if (index >= size) throw invalid(`index: expected less than ${size}, got ${index}`);

  let fn = index;
  let sn = size - 1n;
  let hash = claim.leafHash;
  for (const sibling of claim.proof) {
    if (sn === 0n) throw invalid(`proof: expected fewer than ${claim.proof.length} hashes`);
    if (isOdd(fn) || fn === sn) {
      hash = hasher.nodeHash(sibling, hash);
      [fn, sn] = climb(fn, sn);
    } else {
      hash = hasher.nodeHash(hash, sibling);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  // "Compare sn to 0. Compare r against the root_hash."
  if (sn !== 0n) throw invalid(`proof: expected more than ${claim.proof.length} hashes`);
  if (!equalBytes(hash, claim.root)) throw invalid('root: the proof leads to another root');
}

/**
 * Verifies that the first `size1` leaves of the tree with `root2` are the tree with `root1`.
 * RFC 9162 section 2.1.4.2. A proof from size 0 says nothing and is refused.
 *
 * @throws {ProtocolError} ERR_PROOF_INVALID when it is not shown, or an argument is out of range.
 */
export function verifyConsistency(claim: ConsistencyClaim, hasher: Hasher = portableHasher): void {
  const size1 = uint64('size1', claim.size1);
  const size2 = uint64('size2', claim.size2);
  checkHash('root1', claim.root1);
  checkHash('root2', claim.root2);
  checkHashes(claim.proof);
  if (size1 === 0n) throw invalid('size1: expected at least 1, got 0');
  if (size1 > size2) throw invalid(`size1: expected at most ${size2}, got ${size1}`);
  if (size1 === size2) {
    if (claim.proof.length > 0) throw invalid(`proof: expected none, got ${claim.proof.length}`);
    if (!equalBytes(claim.root1, claim.root2))
      throw invalid('root2: equal sizes have different roots');
    return;
  }

  // "If consistency_path is an empty array, stop and fail the proof verification."
  if (claim.proof.length === 0) throw invalid('proof: expected at least 1 hash, got 0');
  // "If first is an exact power of 2, then prepend first_hash to the consistency_path array."
  const isPowerOfTwo = (size1 & (size1 - 1n)) === 0n;
  const [seed, ...path] = isPowerOfTwo ? [claim.root1, ...claim.proof] : claim.proof;

  let fn = size1 - 1n;
  let sn = size2 - 1n;
  while (isOdd(fn)) {
    fn >>= 1n;
    sn >>= 1n;
  }
  let hash1 = seed!;
  let hash2 = seed!;
  for (const node of path) {
    if (sn === 0n) throw invalid(`proof: expected fewer than ${claim.proof.length} hashes`);
    if (isOdd(fn) || fn === sn) {
      hash1 = hasher.nodeHash(node, hash1);
      hash2 = hasher.nodeHash(node, hash2);
      [fn, sn] = climb(fn, sn);
    } else {
      hash2 = hasher.nodeHash(hash2, node);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  // "Verify that the fr calculated is equal to the first_hash supplied, that the sr calculated is
  // equal to the second_hash supplied, and that sn is 0."
  if (sn !== 0n) throw invalid(`proof: expected more than ${claim.proof.length} hashes`);
  if (!equalBytes(hash1, claim.root1)) throw invalid('root1: the proof leads to another root');
  if (!equalBytes(hash2, claim.root2)) throw invalid('root2: the proof leads to another root');
}

/**
 * The nodes that the audit path of a leaf is made of, in proof order. RFC 6962 section 2.1.1.
 *
 * @throws {ProtocolError} ERR_ARGUMENT unless 0 <= index < size < 2^53.
 */
export function inclusionNodes(index: number, size: number): readonly ProofStep[] {
  checkBetween('index', index, [0, checkBetween('size', size, [1, Number.MAX_SAFE_INTEGER]) - 1]);
  const steps: ProofStep[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitOf(end - start);
    if (index < middle) {
      steps.push(nodesBetween(middle, end));
      end = middle;
    } else {
      steps.push(nodesBetween(start, middle));
      start = middle;
    }
  }
  return steps.reverse();
}

/**
 * The nodes that a consistency proof is made of, in proof order. RFC 6962 section 2.1.2.
 *
 * @throws {ProtocolError} ERR_ARGUMENT unless 1 <= size1 <= size2 < 2^53.
 */
export function consistencyNodes(size1: number, size2: number): readonly ProofStep[] {
  checkBetween('size1', size1, [1, checkBetween('size2', size2, [1, Number.MAX_SAFE_INTEGER])]);
  const steps: ProofStep[] = [];
  let start = 0;
  let end = size2;
  while (end !== size1) {
    const middle = start + splitOf(end - start);
    if (size1 <= middle) {
      steps.push(nodesBetween(middle, end));
      end = middle;
    } else {
      steps.push(nodesBetween(start, middle));
      start = middle;
    }
  }
  // The subtree that ends at size1 is known to the verifier when it is the whole old tree.
  if (start > 0) steps.push(nodesBetween(start, end));
  return steps.reverse();
}

/** Makes the audit path of a leaf; see {@link inclusionNodes}. Nodes are fetched side by side. */
export async function inclusionProof(
  index: number,
  size: number,
  getNode: GetNode,
  hasher: Hasher = portableHasher,
): Promise<Uint8Array[]> {
  return await fetchSteps(inclusionNodes(index, size), getNode, hasher);
}

/** Makes a consistency proof; see {@link consistencyNodes}. Nodes are fetched side by side. */
export async function consistencyProof(
  size1: number,
  size2: number,
  getNode: GetNode,
  hasher: Hasher = portableHasher,
): Promise<Uint8Array[]> {
  return await fetchSteps(consistencyNodes(size1, size2), getNode, hasher);
}

/**
 * The root of the tree of that size, from its nodes.
 *
 * @throws {ProtocolError} ERR_ARGUMENT unless 0 <= size < 2^53.
 */
export async function rootFromNodes(
  size: number,
  getNode: GetNode,
  hasher: Hasher = portableHasher,
): Promise<Uint8Array> {
  if (checkBetween('size', size, [0, Number.MAX_SAFE_INTEGER]) === 0) return emptyRoot();
  return await fetchStep(nodesBetween(0, size), getNode, hasher);
}

async function fetchSteps(
  steps: readonly ProofStep[],
  getNode: GetNode,
  hasher: Hasher,
): Promise<Uint8Array[]> {
  return await Promise.all(steps.map((step) => fetchStep(step, getNode, hasher)));
}

async function fetchStep(step: ProofStep, getNode: GetNode, hasher: Hasher): Promise<Uint8Array> {
  const hashes = await Promise.all(step.map(({ level, index }) => getNode(level, index)));
  return hashes.reduceRight((right, left) => hasher.nodeHash(left, right));
}

/** The complete subtrees that make up leaves start to end, where start is where the RFC splits. */
function nodesBetween(start: number, end: number): ProofStep {
  const nodes: NodeCoordinate[] = [];
  for (let at = start; at < end; ) {
    let level = 0;
    while (2 ** (level + 1) <= end - at) level += 1;
    nodes.push({ level, index: at / 2 ** level });
    at += 2 ** level;
  }
  return nodes;
}

/** "Let k be the largest power of two smaller than n." */
function splitOf(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** "Right-shift both fn and sn equally until either LSB(fn) is set or fn is 0." */
function climb(fn: bigint, sn: bigint): [bigint, bigint] {
  let [first, second] = [fn, sn];
  while (!isOdd(first) && first !== 0n) {
    first >>= 1n;
    second >>= 1n;
  }
  return [first, second];
}

function isOdd(n: bigint): boolean {
  return (n & 1n) === 1n;
}

function uint64(name: string, value: unknown): bigint {
  const n = Number.isSafeInteger(value) ? BigInt(value as number) : value;
  if (typeof n !== 'bigint' || n < 0n || n > UINT64_MAX) {
    throw invalid(`${name}: expected an integer from 0 to 2^64 - 1, got ${String(value)}`);
  }
  return n;
}

function checkHashes(proof: readonly Uint8Array[]): void {
  if (!Array.isArray(proof)) throw invalid('proof: expected an array of hashes');
  for (const [i, hash] of proof.entries()) checkHash(`proof[${i}]`, hash);
}

function checkHash(name: string, hash: unknown): void {
  if (hash instanceof Uint8Array && hash.length === HASH_BYTES) return;
  const got = hash instanceof Uint8Array ? `${hash.length} bytes` : typeof hash;
  throw invalid(`${name}: expected ${HASH_BYTES} bytes, got ${got}`);
}

function checkBetween(name: string, value: number, [min, max]: readonly [number, number]): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new ProtocolError('ERR_ARGUMENT', `${name}: expected ${min} to ${max}, got ${value}`);
}

function invalid(message: string): ProtocolError {
  return new ProtocolError('ERR_PROOF_INVALID', message);
}
