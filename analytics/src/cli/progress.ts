/** How far a long command is, on stderr: one line that is rewritten on a terminal, else a line every ten seconds. */
import type { CliIo } from './api-client.ts';
import { printable } from './table.ts';

const TTY_MS = 200;
const LINE_MS = 10_000;

export interface Progress {
  /** Prints a line of its own. */
  note(text: string): void;
  /** Prints the last state and ends. */
  stop(): void;
}

/** Shows what `render` gives until it is stopped. */
export function startProgress(io: CliIo, render: () => string): Progress {
  const isTty = io.isTty === true;
  let width = 0;
  const show = () => {
    const line = printable(render());
    if (isTty) io.err(`\r${line.padEnd(width)}`);
    else io.err(`${line}\n`);
    width = line.length;
  };
  const clear = () => {
    if (isTty && width > 0) io.err(`\r${' '.repeat(width)}\r`);
    width = 0;
  };
  const timer = setInterval(show, isTty ? TTY_MS : LINE_MS);
  return {
    note: (text) => {
      clear();
      io.err(`${printable(text)}\n`);
    },
    stop: () => {
      clearInterval(timer);
      show();
      if (isTty) io.err('\n');
    },
  };
}

/** `1,234 of 5,678 entries · 12,345 lines stored · 300 ms behind`. */
export function progressText(from: {
  readonly index: number;
  readonly size: number | undefined;
  readonly lines: number;
  readonly lagMs: number | undefined;
  readonly extra?: readonly string[];
}): string {
  const { index, size, lines, lagMs, extra = [] } = from;
  const n = (count: number) => count.toLocaleString('en');
  const of = size === undefined || size < index ? '' : ` of ${n(size)}`;
  const lag = lagMs === undefined ? [] : [`${(lagMs / 1000).toFixed(1)} s behind`];
  return [`${n(index)}${of} entries`, `${n(lines)} lines stored`, ...lag, ...extra].join(' · ');
}
