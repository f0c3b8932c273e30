/** Questions at a terminal. */

import { createInterface } from 'node:readline';

/**
 * Gives the answer; undefined when the person leaves (Ctrl-C, Ctrl-D). What is pasted at once is one answer, also where it has
 * several lines, as a mail program breaks a long one.
 */
export type Ask = (question: string) => Promise<string | undefined>;

/** Asks through a terminal; undefined where there is no person at it. */
export function asker(input: NodeJS.ReadStream, output: NodeJS.WriteStream): Ask | undefined {
  if (!input.isTTY || !output.isTTY) return undefined;
  return (question) =>
    new Promise((resolve) => {
      const lines = createInterface({ input, output, terminal: true });
      let isAnswered = false;
      lines.once('close', () => {
        if (isAnswered) return;
        output.write('\n');
        resolve(undefined);
      });
      lines.once('SIGINT', () => lines.close());
      const answers: string[] = [];
      lines.on('line', (line) => {
        answers.push(line);
        if (isAnswered) return;
        isAnswered = true;
        // The rest of what was pasted is on its way through readline now.
        setImmediate(() => {
          const rest = lines.line;
          lines.close();
          if (rest !== '') output.write('\n');
          resolve([...answers, ...(rest === '' ? [] : [rest])].join('\n').trim());
        });
      });
      lines.setPrompt(question);
      lines.prompt();
    });
}
