/**
 * CBOR as a tree of heads: a strict reader (core deterministic, RFC 8949 section 4.2.1, written apart from the codec
 * of the product), and a writer that also writes every wrong form that a node asks for.
 */

/** One item. Text and byte strings have `bytes`; arrays, maps (keys and values in turn) and tags have `items`. */
export interface Node {
  major: number;
  /** Integer, length, count, tag, simple value or the bits of a float. */
  argument: bigint;
  /** Bytes of the argument, 0 within the head; undefined for the shortest. */
  width?: 0 | 1 | 2 | 4 | 8;
  bytes?: Uint8Array;
  items?: Node[];
  /** Indefinite length; strings become two chunks. */
  isIndefinite?: boolean;
}

export class StrictError extends Error {}

const MAX_DEPTH = 16;
const MAX_ITEMS = 40_000;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Reads one item that takes up all bytes. @throws {StrictError} for anything that is not deterministic or too much. */
export function readStrict(bytes: Uint8Array): Node {
  const state = { at: 0, items: 0 };
  const node = read(bytes, state, 0);
  if (state.at !== bytes.length) throw new StrictError('bytes behind the item');
  return node;
}

/** The bytes of a tree, in the forms that its nodes ask for. */
export function writeNode(node: Node): Uint8Array {
  const out: Uint8Array[] = [];
  write(node, out);
  return Uint8Array.from(Buffer.concat(out));
}

export const uint = (value: number | bigint): Node => ({ major: 0, argument: BigInt(value) });
export const int = (value: number | bigint): Node =>
  BigInt(value) < 0n ? { major: 1, argument: -1n - BigInt(value) } : uint(value);
export const bstr = (bytes: Uint8Array): Node => ({
  major: 2,
  argument: BigInt(bytes.length),
  bytes,
});
export const tstr = (text: string): Node => ({ ...bstr(new TextEncoder().encode(text)), major: 3 });
export const array = (...items: Node[]): Node => ({
  major: 4,
  argument: BigInt(items.length),
  items,
});
/** Keys and values in turn, in the order of writing. */
export const map = (...items: Node[]): Node => ({
  major: 5,
  argument: BigInt(items.length >> 1),
  items,
});
export const tag = (number: number | bigint, item: Node): Node => ({
  major: 6,
  argument: BigInt(number),
  items: [item],
});
export const simple = (value: number): Node => ({
  major: 7,
  argument: BigInt(value),
  width: value < 24 ? 0 : 1,
});
/** A new one each time: trees are changed in place. */
export const nil = (): Node => simple(22);
export function float(value: number): Node {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return { major: 7, argument: view.getBigUint64(0), width: 8 };
}

function read(bytes: Uint8Array, state: { at: number; items: number }, depth: number): Node {
  state.items += 1;
  if (state.items > MAX_ITEMS) throw new StrictError('too many items');
  const head = bytes[state.at++];
  if (head === undefined) throw new StrictError('no item');
  const major = head >> 5;
  const info = head & 31;
  if (info > 27) throw new StrictError('reserved or indefinite');
  const width = info < 24 ? 0 : ((1 << (info - 24)) as 1 | 2 | 4 | 8);
  if (state.at + width > bytes.length) throw new StrictError('head is cut off');
  let argument = info < 24 ? BigInt(info) : 0n;
  for (let i = 0; i < width; i++) argument = argument * 256n + BigInt(bytes[state.at++]!);
  if (major === 7) {
    checkSimple(argument, width);
    return { major, argument, width };
  }
  if (width !== shortest(argument)) throw new StrictError('not the shortest argument');
  if (major < 2) return { major, argument };
  if (major < 4) {
    if (argument > BigInt(bytes.length - state.at)) throw new StrictError('string is cut off');
    const content = bytes.slice(state.at, state.at + Number(argument));
    state.at += content.length;
    if (major === 3) checkText(content);
    return { major, argument, bytes: content };
  }
  if (depth >= MAX_DEPTH) throw new StrictError('too deep');
  const count = major === 6 ? 1n : major === 5 ? argument * 2n : argument;
  if (count > BigInt(bytes.length - state.at)) throw new StrictError('items are cut off');
  const items: Node[] = [];
  let last: Uint8Array | null = null;
  for (let i = 0; i < Number(count); i++) {
    const from = state.at;
    items.push(read(bytes, state, depth + 1));
    if (major !== 5 || i % 2 === 1) continue;
    const key = bytes.subarray(from, state.at);
    if (last !== null && Buffer.compare(last, key) >= 0) throw new StrictError('keys not in order');
    last = key;
  }
  if (major === 6) checkBignum(argument, items[0]!);
  return { major, argument, items };
}

function checkSimple(argument: bigint, width: number): void {
  if (width === 1 && argument < 32n) throw new StrictError('simple value in two bytes');
  if (width < 2) return;
  const value = floatOf(argument, width);
  if (Number.isNaN(value)) {
    if (width !== 2 || argument !== 0x7e00n) throw new StrictError('NaN is f97e00');
    return;
  }
  if (width === 8 && Object.is(Math.fround(value), value)) throw new StrictError('float in eight');
  if (width === 4 && fitsHalf(value)) throw new StrictError('float in four bytes');
}

/** The number in the bits of a float of 2, 4 or 8 bytes. */
export function floatOf(bits: bigint, width: number): number {
  const view = new DataView(new ArrayBuffer(8));
  if (width === 8) {
    view.setBigUint64(0, bits);
    return view.getFloat64(0);
  }
  if (width === 4) {
    view.setUint32(0, Number(bits));
    return view.getFloat32(0);
  }
  const half = Number(bits);
  const sign = half >> 15 === 0 ? 1 : -1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Whether a number is exact in half precision. */
function fitsHalf(value: number): boolean {
  if (value === 0 || !Number.isFinite(value)) return true;
  const size = Math.abs(value);
  if (size > 65_504) return false;
  const step = Math.max(2 ** (Math.floor(Math.log2(size)) - 10), 2 ** -24);
  return Number.isInteger(size / step);
}

function checkText(content: Uint8Array): void {
  try {
    utf8.decode(content);
  } catch {
    throw new StrictError('text is no UTF-8');
  }
}

/** RFC 8949 section 3.4.3 and 4.2.1: a bignum that an integer could say, or with leading zeros, is not preferred. */
function checkBignum(number: bigint, item: Node): void {
  if ((number !== 2n && number !== 3n) || item.major !== 2) return;
  const { bytes } = item;
  if (bytes!.length <= 8 || bytes![0] === 0)
    throw new StrictError('bignum not in its shortest form');
}

function shortest(argument: bigint): number {
  if (argument < 24n) return 0;
  if (argument < 256n) return 1;
  if (argument < 65_536n) return 2;
  return argument < 4_294_967_296n ? 4 : 8;
}

const BREAK = Uint8Array.of(0xff);

/** Without recursion: trees may be nested deeper than the stack is. */
function write(root: Node, out: Uint8Array[]): void {
  const todo: (Node | Uint8Array)[] = [root];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    if (next instanceof Uint8Array) {
      out.push(next);
      continue;
    }
    const { major, bytes, items = [] } = next;
    const isIndefinite = next.isIndefinite === true && major >= 2 && major <= 5;
    const follows: (Node | Uint8Array)[] = [];
    if (!isIndefinite) {
      pushHead(next, out);
      if (bytes) follows.push(bytes);
    } else {
      out.push(Uint8Array.of((major << 5) | 31));
      if (bytes) follows.push(...halves(major, bytes));
    }
    for (const item of items) follows.push(item);
    if (isIndefinite) follows.push(BREAK);
    for (let i = follows.length - 1; i >= 0; i--) todo.push(follows[i]!);
  }
}

/** The chunks of a string of indefinite length. */
function halves(major: number, bytes: Uint8Array): Node[] {
  const middle = bytes.length >> 1;
  const chunk = (part: Uint8Array): Node => ({ ...bstr(part), major });
  return [chunk(bytes.subarray(0, middle)), chunk(bytes.subarray(middle))];
}

function pushHead({ major, argument, width: asked = 0 }: Node, out: Uint8Array[]): void {
  const least = major === 7 ? asked : shortest(argument);
  const width = Math.max(asked, least);
  const info = width === 0 ? Number(argument) : 24 + Math.log2(width);
  out.push(Uint8Array.of((major << 5) | info));
  for (let i = width - 1; i >= 0; i--) {
    out.push(Uint8Array.of(Number((argument >> BigInt(8 * i)) & 255n)));
  }
}
