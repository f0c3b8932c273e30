/** Changes of a CBOR tree: other forms of the same value, other values, other shapes. */

import type { Chance } from '../chance.ts';
import {
  array,
  bstr,
  float,
  int,
  map,
  type Node,
  nil,
  simple,
  tag,
  tstr,
  uint,
} from './cbor-tree.ts';

type Change = (node: Node, chance: Chance) => void;

const EDGES = [
  0n,
  23n,
  24n,
  255n,
  256n,
  65_535n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
];

/** Of a tree that repeats a part of itself. */
const MAX_NODES = 200_000;

const CHANGES: readonly Change[] = [
  // The same value in a longer form.
  (node, chance) => {
    if (node.major < 7) node.width = chance.pick([1, 2, 4, 8]);
  },
  (node) => {
    node.isIndefinite = true;
  },
  // Keys in another order, twice, or gone.
  (node, chance) => {
    const { items } = node;
    if (node.major !== 5 || items!.length < 4) return;
    const at = 2 * chance.int((items!.length >> 1) - 1);
    items!.splice(at, 4, ...items!.slice(at + 2, at + 4), ...items!.slice(at, at + 2));
  },
  (node, chance) => {
    const { items } = node;
    if (node.major !== 5 || items!.length < 2) return;
    const at = 2 * chance.int(items!.length >> 1);
    items!.splice(at, 0, items![at]!, chance.oneIn(2) ? items![at + 1]! : nil());
    node.argument += 1n;
  },
  (node, chance) => {
    const { items, major } = node;
    const step = major === 5 ? 2 : 1;
    if ((major !== 4 && major !== 5) || items!.length < step) return;
    items!.splice(step * chance.int(items!.length / step), step);
    node.argument -= 1n;
  },
  // One more.
  (node, chance) => {
    if (node.major === 4) {
      node.items!.splice(chance.int(node.items!.length + 1), 0, randomNode(chance));
      node.argument += 1n;
    } else if (node.major === 5) {
      node.items!.push(randomNode(chance), randomNode(chance));
      node.argument += 1n;
    }
  },
  // A claim that is not kept.
  (node, chance) => {
    if (node.major >= 2 && node.major <= 5) {
      node.argument = chance.oneIn(3) ? chance.pick(EDGES) : node.argument + 1n;
    }
  },
  // Another number, text, or byte string.
  (node, chance) => {
    if (node.major < 2) node.argument = chance.oneIn(2) ? chance.pick(EDGES) : BigInt(chance.odd());
    else if (node.bytes) {
      const length = chance.pick([node.bytes.length, chance.int(9), chance.int(70)]);
      replace(node, { ...bstr(chance.bytes(length)), major: node.major });
    }
  },
  (node, chance) => {
    if (node.major < 2) node.argument += chance.oneIn(2) ? 1n : node.argument > 0n ? -1n : 2n;
    else if (node.bytes && node.bytes.length > 0) {
      const bytes = Uint8Array.from(node.bytes);
      const at = chance.int(bytes.length);
      bytes[at] = bytes[at]! ^ (1 << chance.int(8));
      node.bytes = bytes;
    }
  },
  // Negative, text for bytes, map for array.
  (node) => {
    if (node.major < 6) node.major ^= 1;
  },
  // Something else altogether; a tag around it; nested deep.
  (node, chance) => replace(node, randomNode(chance)),
  (node, chance) => {
    replace(node, tag(chance.pick([0, 1, 2, 3, 4, 18, 24, 64, 72, 55_799]), { ...node }));
  },
  (node, chance) => {
    let inner: Node = { ...node };
    const depth = chance.pick([1, 12, 14, 15, 16, 17, 40, 3000]);
    for (let i = 0; i < depth; i++) inner = array(inner);
    replace(node, inner);
  },
  // Many items.
  (node, chance) => {
    const count = chance.pick([65, 300, 1100, 5001]);
    if (node.major === 4 && node.items!.length > 0 && chance.oneIn(6)) {
      // Copies of what is nested deep would take this process, not the broker, many seconds to write.
      if (allNodes(node.items![0]!).length * count > MAX_NODES) return;
      const items = Array.from({ length: count }, () => node.items![0]!);
      replace(node, array(...items));
    }
  },
];

/** Changes a tree in one place, in place. */
export function mutateTree(root: Node, chance: Chance): void {
  chance.pick(CHANGES)(anyNode(root, chance), chance);
}

function anyNode(root: Node, chance: Chance): Node {
  return chance.pick(allNodes(root));
}

function allNodes(root: Node): Node[] {
  const all: Node[] = [];
  const todo = [root];
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    all.push(node);
    for (const item of node.items?.toReversed() ?? []) todo.push(item);
  }
  return all;
}

function randomNode(chance: Chance): Node {
  const what = chance.int(12);
  if (what < 3) return uint(chance.odd());
  if (what === 3) return int(-1 - chance.odd());
  if (what === 4) return bstr(chance.bytes(chance.int(40)));
  if (what === 5) return tstr(chance.pick(['', 'a', 'nonce', '__proto__', 'é', 'x'.repeat(70)]));
  if (what === 6) return array();
  if (what === 7) return map();
  if (what === 8) return simple(chance.pick([0, 19, 20, 21, 22, 23, 32, 255]));
  if (what === 9) {
    const value = chance.pick([0.5, -0, 9, 1e300, Number.NaN, Number.POSITIVE_INFINITY]);
    return float(value);
  }
  if (what === 10) {
    const width = chance.pick([2, 4] as const);
    const bits = chance.pick([0, 0x3c00, 0x7e00, 0x7c00, 0x8000, chance.int(65_536)]);
    return { major: 7, argument: BigInt(bits), width };
  }
  return { ...tag(chance.pick([2, 3]), bstr(chance.bytes(chance.pick([0, 8, 9, 40])))) };
}

function replace(node: Node, other: Node): void {
  const { ...copy } = other;
  for (const key of Object.keys(node)) delete node[key as keyof Node];
  Object.assign(node, copy);
}
