/** The owner's recovery phrase, or another secret, from a terminal, without showing it, or from standard input: never from arguments. */

import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { AgentError } from './errors.ts';

/** Twelve words are below 110 characters. */
const MAX_BYTES = 1024;

/**
 * @param input - a terminal, or a stream that ends.
 * @param prompt - is given the question, when a person is asked.
 * @param question - what is asked for.
 * @throws {AgentError} ERR_AGENT_OWNER when there is none.
 */
export async function askPhrase(
  input: NodeJS.ReadableStream & { readonly isTTY?: boolean },
  prompt: (text: string) => void,
  question = 'The twelve words of the recovery phrase',
): Promise<string> {
  const phrase = input.isTTY ? await fromTerminal(input, prompt, question) : await untilEnd(input);
  if (phrase.trim() !== '') return phrase;
  throw new AgentError('ERR_AGENT_OWNER', 'phrase: expected words, got none');
}

async function fromTerminal(
  input: NodeJS.ReadableStream,
  prompt: (text: string) => void,
  question: string,
): Promise<string> {
  prompt(`${question} (not shown): `);
  // What readline echoes goes nowhere.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output, terminal: true });
  try {
    return await new Promise((resolve) => {
      const answers: string[] = [];
      lines.on('line', (line) => {
        answers.push(line);
        // Words that were written down in two lines are pasted at once: the rest is on its way through readline now.
        if (answers.length === 1)
          setImmediate(() =>
            resolve([...answers, lines.line].filter((part) => part !== '').join(' ')),
          );
      });
      lines.once('SIGINT', () => resolve(''));
      lines.once('close', () => resolve(''));
    });
  } finally {
    lines.close();
    prompt('\n');
  }
}

async function untilEnd(input: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of input) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > MAX_BYTES) {
      throw new AgentError('ERR_AGENT_OWNER', `phrase: expected at most ${MAX_BYTES} bytes`);
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}
