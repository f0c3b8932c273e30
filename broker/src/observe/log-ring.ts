/** The last lines of the log, in bounded memory, for support bundles. */

const MAX_LINES = 1000;
/** Longer lines are cut: a stack trace fits. */
const MAX_LINE_CHARACTERS = 4096;

export class LogRing {
  readonly #lines: string[] = [];
  #next = 0;

  push(line: string): void {
    const text = line.trimEnd().slice(0, MAX_LINE_CHARACTERS);
    this.#lines[this.#next] = text;
    this.#next = (this.#next + 1) % MAX_LINES;
  }

  /** Oldest first. */
  lines(): readonly string[] {
    return [...this.#lines.slice(this.#next), ...this.#lines.slice(0, this.#next)];
  }
}
