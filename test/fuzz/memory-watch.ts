/** Whether memory returns to where it was: looked at after a forced collection (`--expose-gc`). */

/** What may be held at the end above what was held after the first looks; caches fill, code is compiled. */
const BOUND_BYTES = 24 << 20;
/** Looks before that is measured. */
const WARM_UP = 3;

export class MemoryWatch {
  private readonly looks: number[] = [];

  /** Collects, where that is possible, and notes what is left: heap and buffers. */
  look(): void {
    if (globalThis.gc === undefined) return;
    globalThis.gc();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    this.looks.push(heapUsed + arrayBuffers);
  }

  /** What is wrong, or null; always null in runs too short to tell. */
  verdict(): string | null {
    this.look();
    if (this.looks.length <= WARM_UP) return null;
    const grown = this.looks.at(-1)! - this.looks[WARM_UP - 1]!;
    if (grown <= BOUND_BYTES) return null;
    return `memory: ${mib(grown)} MiB more than at the beginning, after collection`;
  }

  line(): string {
    if (this.looks.length === 0) return 'memory was not looked at';
    return `memory after collection ${mib(this.looks[0]!)} MiB at first, ${mib(this.looks.at(-1)!)} MiB at last`;
  }
}

function mib(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
