/** agent.yaml as text: what it says, and on which line each key stands, so that a problem can name its place. */

import type { Document, LineCounter, Node } from 'yaml';
import type { Problem } from './schema.ts';

export interface ConfigSource {
  /** The document's value; null where it is empty or could not be read. */
  readonly value: unknown;
  /** All mistakes of YAML itself, each with its line. */
  readonly problems: readonly Problem[];
  /** A problem with the line before it of what it is about, or of the nearest thing around that. */
  readonly located: (problem: Problem) => Problem;
  /** The line of a key such as `sensors[0].driver`, from 1; undefined where the file does not say it. */
  readonly lineOf: (path: string) => number | undefined;
}

/** Anchors and aliases are refused: a small file must not say something big. */
const MAX_ALIASES = 0;

/**
 * Reads YAML 1.2 (https://yaml.org/spec/1.2.2/).
 *
 * @param name - of the file, for messages.
 */
export async function readConfigSource(yaml: string, name: string): Promise<ConfigSource> {
  const { LineCounter, parseDocument } = await import('yaml');
  const lineCounter = new LineCounter();
  const document = parseDocument(yaml, { lineCounter, prettyErrors: false });
  const at = (line: number, message: string): Problem => `${name}:${line}: ${message}`;
  const problems = [...document.errors, ...document.warnings].map(({ pos, message }) =>
    at(lineCounter.linePos(pos[0]).line, message),
  );
  let value: unknown = null;
  try {
    if (problems.length === 0) value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    problems.push(`${name}: ${(error as Error).message}`);
  }
  const lineOf = (path: string) => lineOfKey(document, lineCounter, keysOf(path));
  return {
    value,
    problems,
    lineOf,
    located: (problem) => {
      const line = nearestLine(document, lineCounter, problem);
      return line === undefined ? `${name}: ${problem}` : at(line, problem);
    },
  };
}

/** `sensors[0].metrics.a` → `['sensors', 0, 'metrics', 'a']`. */
function keysOf(path: string): (string | number)[] {
  return [...path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, key]) =>
    index === undefined ? key! : Number(index),
  );
}

/** A problem begins with the path of what it is about; what is missing is sought around there. */
function nearestLine(
  document: Document,
  lineCounter: LineCounter,
  problem: Problem,
): number | undefined {
  const [path = ''] = problem.split(': ', 1);
  for (let keys = keysOf(path); keys.length > 0; keys = keys.slice(0, -1)) {
    const line = lineOfKey(document, lineCounter, keys);
    if (line !== undefined) return line;
  }
  return undefined;
}

/** Of the key, where the last one is a name; of the item, where it is a place in a list. */
function lineOfKey(
  document: Document,
  lineCounter: LineCounter,
  keys: readonly (string | number)[],
): number | undefined {
  const last = keys.at(-1);
  if (last === undefined) return undefined;
  const parent = keys.length === 1 ? document.contents : document.getIn(keys.slice(0, -1), true);
  const { items } = (parent ?? {}) as { readonly items?: readonly unknown[] };
  if (items === undefined) return undefined;
  const node =
    typeof last === 'number'
      ? items[last]
      : (items as readonly { readonly key?: unknown }[]).find(({ key }) => textOf(key) === last)
          ?.key;
  const start = (node as Node | undefined)?.range?.[0];
  return start === undefined ? undefined : lineCounter.linePos(start).line;
}

function textOf(key: unknown): string {
  return String((key as { readonly value?: unknown } | null)?.value);
}
