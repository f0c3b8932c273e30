/** The command line of the agent within this process, with what it has printed. */

import { type CliContext, runCli } from '@fieldproof/device-agent/cli';

export interface CliRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** @param surroundings - what differs from a plain run: nobody at a terminal, no environment, stopped at once. */
export async function agentCli(
  args: readonly string[],
  surroundings: Partial<CliContext> = {},
): Promise<CliRun> {
  const out: string[] = [];
  const err: string[] = [];
  const { ask } = surroundings;
  const code = await runCli(args, {
    env: {},
    untilStopped: async () => {},
    ...surroundings,
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    // A person sees the questions where the program prints.
    ...(ask && {
      ask: (question) => {
        out.push(question);
        return ask(question);
      },
    }),
  });
  return { code, out: out.join(''), err: err.join('') };
}
