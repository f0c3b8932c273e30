/**
 * Definitions of edge functions: the text of the configuration (`window 1m mean,max | deadband 0.2`), its canonical
 * form, and the CBOR that results carry (docs/spec/edge-functions.md section 3).
 */

import { type CborValue, decode, encode } from '@fieldproof/protocol/cbor';
import type { AnyEdgeFunction } from './edge-functions.ts';
import { EDGE_WORDS, edgeFunctionById, edgeFunctionByWord } from './edge-functions.ts';
import type { Param } from './edge-param.ts';
import { excessOf } from './edge-size.ts';
import { ComputeError } from './errors.ts';
import { nearestWord } from './nearest-word.ts';

const MAX_TEXT = 1000;
const MAX_BYTES = 4096;
/** Functions one after the other. */
export const MAX_STAGES = 8;

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
  /** The function around it as it is written, empty where there is none. */
  readonly within: string;
  /** The word that was probably meant. */
  readonly nearest?: string;
}

/** What `problems` are collected with, before it is known what stands around them. */
type Finding = Omit<EdgeProblem, 'within'>;

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

/** `in "window 1x": expected …, got "1x"`, with the word that was probably meant. */
export function formatEdgeProblem({ got, expected, within, nearest }: EdgeProblem): string {
  const where = within === '' ? '' : `in ${quoted(within)}: `;
  const missing = within === '' ? 'nothing' : 'nothing more';
  const meant = nearest === undefined ? '' : ` (${nearest}?)`;
  const found = got === '' ? missing : within === '' ? got : quoted(got);
  return `${where}expected ${expected}, got ${found}${meant}`;
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
  const excess = excessOf(stages);
  if (excess !== undefined) throw invalid(`expected ${excess.expected}, got ${excess.got}`);
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
    const got = `${text.length} characters`;
    return { stages: [], problems: [{ position: 1, got, expected, within: '' }] };
  }
  const problems: Finding[] = [];
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
    const excess = excessOf(stages);
    if (excess !== undefined) problems.push({ position: 1, ...excess });
  }
  problems.sort((a, b) => a.position - b.position);
  return { stages, problems: problems.map((each) => ({ ...each, within: around(text, each) })) };
}

/** The function in which a problem is; nothing for one of the whole text. */
function around(text: string, { position, got }: Finding): string {
  let [from, to] = [0, text.length];
  for (const { 0: found, 1: separator, index } of text.matchAll(TOKEN)) {
    if (separator === undefined) continue;
    if (index + 1 < position) from = index + found.length;
    else {
      to = index;
      break;
    }
  }
  const isOfAll = got !== '' && !text.startsWith(got, position - 1);
  return isOfAll ? '' : text.slice(from, to).trim();
}

/** For one line of a terminal: no control characters, and not without end. */
function quoted(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  return JSON.stringify(short.replace(/[\p{Cc}\p{Cf}]/gu, '\uFFFD'));
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
  problems: Finding[],
): EdgeStage | undefined {
  const before = problems.length;
  const [head, ...rest] = words;
  const type = head && edgeFunctionByWord(head.text);
  if (type === undefined) {
    const expected = `a function (${EDGE_WORDS.join(', ')})`;
    const nearest = nearestWord(head?.text ?? '', EDGE_WORDS);
    const finding = { position: head?.position ?? end, got: head?.text ?? '', expected };
    problems.push(nearest === undefined ? finding : { ...finding, nearest });
    return undefined;
  }
  const params: Record<string, CborValue> = {};
  const places: Record<string, Word> = {};
  const take = (name: string, { kind }: Param, word: Word | undefined): void => {
    const value = word && kind.parse(word.text);
    if (value !== undefined && kind.isValid(value)) params[name] = value;
    else {
      const { position, text } = word ?? { position: end, text: '' };
      const { part, nearest } = kind.mistake?.(text) ?? { part: text, nearest: undefined };
      const finding = {
        position: position + text.lastIndexOf(part),
        ...{ got: part, expected: kind.expects },
      };
      problems.push(nearest === undefined ? finding : { ...finding, nearest });
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
      const open = openKeywords(type, places);
      const nearest = nearestWord(text, open);
      const expected = [...open, '| or the end'].join(', ');
      const finding = { position: word.position, got: text, expected };
      problems.push(nearest === undefined ? finding : { ...finding, nearest });
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

/** Keywords that may follow in a stage. */
function openKeywords(type: AnyEdgeFunction, places: Readonly<Record<string, Word>>): string[] {
  return inWritingOrder(type).flatMap(([name, { keyword }]) =>
    keyword !== undefined && places[name] === undefined ? [keyword] : [],
  );
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
