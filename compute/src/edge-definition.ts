/**
 * Definitions of edge functions: the text of the configuration (`window 1m mean,max | deadband 0.2`), its canonical
 * form, and the CBOR that results carry (docs/spec/edge-functions.md section 3).
 */

import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import type { AnyEdgeFunction } from './edge-functions.ts';
import { EDGE_WORDS, edgeFunctionById, edgeFunctionByWord } from './edge-functions.ts';
import type { Param } from './edge-param.ts';
import { ComputeError } from './errors.ts';

const MAX_TEXT = 1000;
const MAX_BYTES = 4096;
/** Functions one after the other. */
export const MAX_STAGES = 8;
/** Results with different names that one definition may give. */
export const MAX_OUTPUTS = 64;

export type StageParams = Readonly<Record<string, CborValue>>;

/** A function with its parameters; those that are absent have no key. */
export interface EdgeStage {
  readonly type: AnyEdgeFunction;
  readonly params: StageParams;
}

/** Functions one after the other, one at least. */
export type EdgeDefinition = readonly EdgeStage[];

/** One problem of a text, for people. */
export interface EdgeProblem {
  /** Of its first character, from 1. */
  readonly position: number;
  /** What stands there, empty for the end. */
  readonly got: string;
  readonly expected: string;
}

/** A result of a definition. */
export interface EdgeOutput {
  /** To put behind the metric's name and a dot; empty where the result takes the metric's place. */
  readonly suffix: string;
  /** SenML unit, empty for none. */
  readonly unit: string;
}

interface Word {
  readonly text: string;
  readonly position: number;
}

const TOKEN = /(\u2192|->|\|)|(?:(?!->)[^\s|\u2192])+/gu;

/** All problems of a text at once; none means that `parseEdgeDefinition` takes it. */
export function checkEdgeDefinition(text: string): readonly EdgeProblem[] {
  return readText(text).problems;
}

/**
 * Reads the text of the configuration. Functions are separated by `|`, `->` or `→`.
 *
 * @throws {ComputeError} ERR_EDGE_DEFINITION with all problems and their positions.
 */
export function parseEdgeDefinition(text: string): EdgeDefinition {
  const { stages, problems } = readText(text);
  if (problems.length === 0) return stages;
  throw new ComputeError('ERR_EDGE_DEFINITION', problems.map(formatEdgeProblem).join('; '));
}

/** `at 8: expected …, got "…"` */
export function formatEdgeProblem({ position, got, expected }: EdgeProblem): string {
  return `at ${position}: expected ${expected}, got ${got === '' ? 'nothing' : JSON.stringify(got)}`;
}

/** The canonical text: equal definitions have equal texts. */
export function formatEdgeDefinition(definition: EdgeDefinition): string {
  return definition
    .map(({ type, params }) => {
      const words = [type.word];
      for (const [name, { kind, keyword }] of inWritingOrder(type)) {
        const value = params[name];
        if (value === undefined) continue;
        if (keyword !== undefined) words.push(keyword);
        words.push(kind.format(value));
      }
      return words.join(' ');
    })
    .join(' | ');
}

/** `[ + [ id, parameters ] ]`, deterministic CBOR: equal definitions have equal bytes. */
export function encodeEdgeDefinition(definition: EdgeDefinition): Uint8Array {
  return encode(definition.map(({ type, params }) => [type.id, params]));
}

/** @throws {ComputeError} ERR_EDGE_DEFINITION for all but what `encodeEdgeDefinition` gives. */
export function decodeEdgeDefinition(bytes: Uint8Array): EdgeDefinition {
  if (bytes.length > MAX_BYTES) {
    throw invalid(`expected at most ${MAX_BYTES} bytes, got ${bytes.length}`);
  }
  let list: CborValue;
  try {
    list = decode(bytes, { maxDepth: 6, maxItems: 1000 });
  } catch (cause) {
    throw new ComputeError('ERR_EDGE_DEFINITION', 'edge functions: expected CBOR', { cause });
  }
  if (!Array.isArray(list) || list.length < 1 || list.length > MAX_STAGES) {
    throw invalid(`expected an array of 1 to ${MAX_STAGES} functions`);
  }
  const stages = list.map(readStage);
  const problem = stages.map((stage, i) => problemOfStage(stage, i)).find(Boolean);
  if (problem !== undefined) throw invalid(problem);
  if (edgeOutputs(stages, '').length > MAX_OUTPUTS) {
    throw invalid(`expected at most ${MAX_OUTPUTS} results`);
  }
  return stages;
}

/** The results of a definition for a metric in `unit`, in the order of the pipeline's outputs. */
export function edgeOutputs(definition: EdgeDefinition, unit: string): readonly EdgeOutput[] {
  let outputs: EdgeOutput[] = [{ suffix: '', unit }];
  for (const { type, params } of definition) {
    const fields = type.fields(params);
    outputs = outputs.flatMap((output) => {
      const units = type.units(params, output.unit);
      return fields.map((field, i) => ({
        suffix: [output.suffix, field].filter(Boolean).join('.'),
        unit: units[i]!,
      }));
    });
  }
  return outputs;
}

function readText(text: string): { stages: EdgeStage[]; problems: EdgeProblem[] } {
  if (text.length > MAX_TEXT) {
    const expected = `at most ${MAX_TEXT} characters`;
    return { stages: [], problems: [{ position: 1, got: `${text.length} characters`, expected }] };
  }
  const problems: EdgeProblem[] = [];
  const stages: EdgeStage[] = [];
  const { parts, ends } = splitStages(text);
  for (const [i, words] of parts.entries()) {
    const stage = readWords(words, ends[i]!, problems);
    if (stage === undefined) continue;
    const expected = problemOfStage(stage, i);
    if (expected !== undefined) {
      problems.push({ position: words[0]!.position, got: words[0]!.text, expected });
    }
    stages.push(stage);
  }
  if (parts.length > MAX_STAGES) {
    const expected = `at most ${MAX_STAGES} functions`;
    problems.push({ position: 1, got: `${parts.length} functions`, expected });
  } else if (problems.length === 0) {
    const { length } = edgeOutputs(stages, '');
    if (length > MAX_OUTPUTS) {
      const expected = `at most ${MAX_OUTPUTS} results`;
      problems.push({ position: 1, got: `${length} results`, expected });
    }
  }
  return { stages, problems: problems.sort((a, b) => a.position - b.position) };
}

/** The words of each stage, and the position behind it. */
function splitStages(text: string): { parts: Word[][]; ends: number[] } {
  const parts: Word[][] = [[]];
  const ends: number[] = [];
  for (const match of text.matchAll(TOKEN)) {
    const position = match.index + 1;
    if (match[1] === undefined) parts.at(-1)!.push({ text: match[0], position });
    else {
      parts.push([]);
      ends.push(position);
    }
  }
  ends.push(text.trimEnd().length + 1);
  return { parts, ends };
}

function readWords(
  words: readonly Word[],
  end: number,
  problems: EdgeProblem[],
): EdgeStage | undefined {
  const before = problems.length;
  const [head, ...rest] = words;
  const type = head && edgeFunctionByWord(head.text);
  if (type === undefined) {
    const expected = `a function (${EDGE_WORDS.join(', ')})`;
    problems.push({ position: head?.position ?? end, got: head?.text ?? '', expected });
    return undefined;
  }
  const params: Record<string, CborValue> = {};
  const places: Record<string, Word> = {};
  const take = (name: string, { kind }: Param, word: Word | undefined): void => {
    const value = word && kind.parse(word.text);
    if (value !== undefined && kind.isValid(value)) params[name] = value;
    else {
      const { position, text } = word ?? { position: end, text: '' };
      problems.push({ position, got: text, expected: kind.expects });
    }
    if (word !== undefined) places[name] = word;
  };
  for (const [name, param] of inWritingOrder(type)) {
    if (param.keyword !== undefined) continue;
    const isLeftOut = rest[0] === undefined || isKeyword(type, rest[0].text);
    if (isLeftOut && param.fallback !== undefined) params[name] = param.fallback;
    else take(name, param, rest.shift());
  }
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const { text } = word;
    const entry = inWritingOrder(type).find(([, { keyword }]) => keyword === text);
    if (entry !== undefined && places[entry[0]] === undefined) take(...entry, rest.shift());
    else {
      problems.push({ position: word.position, got: text, expected: moreOf(type, places) });
      break;
    }
  }
  if (problems.length > before) return undefined;
  const conflict = type.check?.(params);
  if (conflict !== undefined) {
    const { position, text } = places[conflict.param] ?? head!;
    problems.push({ position, got: text, expected: conflict.expected });
    return undefined;
  }
  return { type, params };
}

/** What may follow in a stage. */
function moreOf(type: AnyEdgeFunction, places: Readonly<Record<string, Word>>): string {
  const open = inWritingOrder(type).flatMap(([name, { keyword }]) =>
    keyword !== undefined && places[name] === undefined ? [keyword] : [],
  );
  return [...open, '| or the end'].join(', ');
}

function readStage(value: CborValue): EdgeStage {
  const [id, given] = Array.isArray(value) && value.length === 2 ? value : [];
  const type = typeof id === 'string' ? edgeFunctionById(id) : undefined;
  if (type === undefined) throw invalid('expected [id, parameters] of a known function');
  if (!(given instanceof Map)) throw invalid(`${type.id}: expected a map of parameters`);
  const params: Record<string, CborValue> = {};
  for (const [name, { kind, required }] of Object.entries(type.params)) {
    const param = given.get(name);
    if (param === undefined && !given.has(name) && !required) continue;
    if (param === undefined || !kind.isValid(param)) {
      throw invalid(`${type.id}.${name}: expected ${kind.expects}`);
    }
    params[name] = param;
  }
  if (given.size !== Object.keys(params).length) throw invalid(`${type.id}: unknown parameter`);
  const conflict = type.check?.(params);
  if (conflict) throw invalid(`${type.id}.${conflict.param}: expected ${conflict.expected}`);
  return { type, params };
}

function problemOfStage({ type }: EdgeStage, index: number): string | undefined {
  return type.word === 'order' && index > 0 ? 'order as the first function only' : undefined;
}

function isKeyword(type: AnyEdgeFunction, word: string): boolean {
  return Object.values(type.params).some(({ keyword }) => keyword === word);
}

/** Parameters at their places first. */
function inWritingOrder(type: AnyEdgeFunction): (readonly [string, Param])[] {
  return Object.entries(type.params).sort(
    ([, a], [, b]) => Number(a.keyword !== undefined) - Number(b.keyword !== undefined),
  );
}

function invalid(message: string): ComputeError {
  return new ComputeError('ERR_EDGE_DEFINITION', `edge functions: ${message}`);
}
