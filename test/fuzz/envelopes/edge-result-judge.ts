/** The second judge of results of edge functions, from docs/spec/edge-results.md sections 1 and 2, apart from the codec. */

import { type Node, readStrict } from './cbor-tree.ts';

export interface StrictEdgeResult {
  readonly format: number;
  readonly readings: Uint8Array;
  /** Of the first and the last raw instant of each stream. */
  readonly timesUs: readonly number[];
  /** Whether a run of readings is one of numbers of a stream. */
  owns(run: { readonly profile: string; readonly metric: string; readonly type: string }): boolean;
}

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const text = new TextDecoder();

/** What a payload says where it has the shape, else null. @throws where its CBOR, or that of a definition, is wrong. */
export function strictEdgeResult(payload: Uint8Array): StrictEdgeResult | null {
  const [format, readings, raw, streams] = itemsOf(readStrict(payload), 4);
  if (format?.major !== 0 || ![112n, 65_001n].includes(format.argument)) return null;
  if (readings?.major !== 2) return null;
  if (readings.bytes!.length === 0 && format.argument !== 65_001n) return null;
  const [from, to, root] = itemsOf(raw, 3);
  if (!isCount(from) || !isCount(to) || !isHash(root)) return null;
  const chunks = to!.argument - from!.argument + 1n;
  if (chunks < 1n || chunks > 65_536n) return null;
  if (streams?.major !== 4 || streams.items!.length < 1 || streams.items!.length > 64) return null;
  const names: string[] = [];
  const timesUs: number[] = [];
  for (const stream of streams.items!) {
    const [of, definition, first, last, count, before, after] = itemsOf(stream, 7);
    if (of?.major !== 3 || definition?.major !== 2 || definition.bytes!.length > 4096) return null;
    const name = text.decode(of.bytes!);
    if (!/^[a-z][a-z0-9_-]{0,31}\/[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/.test(name)) return null;
    if (!isDefinition(readStrict(definition.bytes!))) return null;
    const [fromUs, toUs] = [timeOf(first), timeOf(last)];
    if (fromUs === null || toUs === null || fromUs > toUs) return null;
    if (!isCount(count) || count!.argument === 0n) return null;
    const isNew = before?.major === 7 && before.argument === 22n && before.width === 0;
    if ((!isNew && !isHash(before)) || !isHash(after)) return null;
    names.push(name);
    timesUs.push(fromUs, toUs);
  }
  if (new Set(names).size < names.length) return null;
  return {
    format: Number(format.argument),
    readings: readings.bytes!,
    timesUs,
    owns({ profile, metric, type }) {
      const full = `${profile}/${metric}`;
      return type === 'number' && names.some((name) => `${full}.`.startsWith(`${name}.`));
    },
  };
}

/** An array's items, at least so many; what is behind them is for later. */
function itemsOf(node: Node | undefined, least: number): readonly (Node | undefined)[] {
  return node?.major === 4 && node.items!.length >= least ? node.items! : [];
}

function isDefinition({ major, items }: Node): boolean {
  if (major !== 4 || items!.length < 1 || items!.length > 8) return false;
  return items!.every((item) => {
    if (item.major !== 4 || item.items!.length !== 2) return false;
    const [id, parameters] = item.items as [Node, Node];
    if (id.major !== 3 || !/^[a-z][a-z0-9-]{0,31}$/.test(text.decode(id.bytes!))) return false;
    return (
      parameters.major === 5 && parameters.items!.every((key, i) => i % 2 === 1 || key.major === 3)
    );
  });
}

function isCount(node: Node | undefined): boolean {
  return node?.major === 0 && node.argument <= SAFE;
}

function isHash(node: Node | undefined): boolean {
  return node?.major === 2 && node.bytes!.length === 32;
}

/** telemetry.md 1.3 and 1.6. */
function timeOf(node: Node | undefined): number | null {
  if (node === undefined || node.major > 1 || node.argument > SAFE) return null;
  const us = node.major === 0 ? Number(node.argument) : -1 - Number(node.argument);
  return us > -(2 ** 28) * 1e6 && us <= 253_402_300_799 * 1e6 ? us : null;
}
