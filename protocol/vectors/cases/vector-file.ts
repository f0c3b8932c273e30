/** The shape of a vector file, and how a case is shown in a document. */

import { toHex } from '../../src/bytes.ts';
import { decode } from '../../src/cbor.ts';
import { diagnose } from '../../src/cbor-diagnose.ts';

export type Inputs = {
  readonly [key: string]: string | number | boolean | null | readonly string[];
};

export interface VectorCase {
  readonly name: string;
  readonly about: string;
  readonly inputs?: Inputs;
  readonly hex: string;
  readonly diagnostic?: string;
}

export interface VectorFile {
  /** Document that shows the cases. */
  readonly spec: string;
  readonly cases: readonly VectorCase[];
}

/** A case whose bytes are one CBOR item; the notation is made from the bytes. */
export function cborCase(
  head: { readonly name: string; readonly about: string; readonly inputs?: Inputs },
  bytes: Uint8Array,
): VectorCase {
  return { ...head, hex: toHex(bytes), diagnostic: diagnose(decode(bytes, { keepFloats: true })) };
}

const WIDTH = 110;

/** The Markdown of one case: what it is, its bytes, its notation. */
export function renderCase(example: VectorCase): string {
  const inputs = Object.entries(example.inputs ?? {}).map(([key, value]) => `${key}: ${value}`);
  const blocks = [
    inputs.length > 0 ? fenced(inputs.flatMap(wrap)) : '',
    fenced(wrap(example.hex)),
    example.diagnostic === undefined ? '' : fenced(wrap(example.diagnostic)),
  ];
  return [`**${example.name}.** ${example.about}`, ...blocks].filter(Boolean).join('\n\n');
}

function fenced(lines: readonly string[]): string {
  return `\`\`\`text\n${lines.join('\n')}\n\`\`\``;
}

function wrap(text: string): string[] {
  return text.split('\n').flatMap((line) => line.match(new RegExp(`.{1,${WIDTH}}`, 'g')) ?? ['']);
}
