/** Bytes to lines with bounded memory: a line that is too long is passed over whole, and counted. */

const NEWLINE = 10;

export class LineSplitter {
  readonly #maxBytes: number;
  readonly #onTooLong: () => void;
  #parts: Buffer[] = [];
  #length = 0;
  #passing: boolean;

  /** @param midLine - whether what comes first is the rest of a line, which is passed over and not counted. */
  constructor(maxBytes: number, options: { onTooLong: () => void; midLine: boolean }) {
    this.#maxBytes = maxBytes;
    this.#onTooLong = options.onTooLong;
    this.#passing = options.midLine;
  }

  /** The lines that end in the chunk, without their ends. */
  take(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end === -1 ? chunk.length : end);
      if (!this.#passing) this.#keep(part);
      if (end === -1) return lines;
      if (!this.#passing)
        lines.push(Buffer.concat(this.#parts).toString('utf8').replace(/\r$/, ''));
      this.#passing = false;
      this.#parts = [];
      this.#length = 0;
      from = end + 1;
    }
  }

  #keep(part: Buffer): void {
    this.#length += part.length;
    if (this.#length <= this.#maxBytes) {
      // A copy: the buffer that it was read into is used again.
      if (part.length > 0) this.#parts.push(Buffer.from(part));
      return;
    }
    this.#passing = true;
    this.#parts = [];
    this.#onTooLong();
  }
}
