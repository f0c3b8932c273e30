/** Questions at a terminal. */

import { createInterface } from 'node:readline';

/** Gives the answer; undefined when the person leaves (Ctrl-C, Ctrl-D). */
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
      lines.question(question, (answer) => {
        isAnswered = true;
        lines.close();
        resolve(answer);
      });
    });
}
