/**
 * Work for peers that have not logged in, a little of it at a time. They come and go in waves; done at once, a wave of a
 * thousand takes a tenth of a second, for which everybody waits who has logged in.
 */

export interface SlicesOptions {
  /** About how long one slice takes, ms; other work has a turn after it. */
  readonly sliceMs?: number;
  /** Tasks that may wait; above it the oldest is done at once, so that waiting takes bounded memory. */
  readonly maxWaiting?: number;
  /** A clock that never steps, ms. */
  readonly monotonicMs?: () => number;
}

const DEFAULTS = { sliceMs: 1, maxWaiting: 1000, monotonicMs: () => performance.now() };

export class Slices {
  private readonly options: Required<SlicesOptions>;
  private tasks: (() => void)[] = [];
  private done = 0;
  private isScheduled = false;

  constructor(options: SlicesOptions = {}) {
    this.options = { ...DEFAULTS, ...options };
  }

  /** Tasks that wait. */
  get waiting(): number {
    return this.tasks.length - this.done;
  }

  /** Has a task done soon, after those that wait already. It must not throw. */
  readonly add = (task: () => void): void => {
    this.tasks.push(task);
    if (this.waiting > this.options.maxWaiting) this.doOldest();
    this.schedule();
  };

  private schedule(): void {
    if (this.isScheduled || this.waiting === 0) return;
    this.isScheduled = true;
    setImmediate(() => {
      this.isScheduled = false;
      this.doSlice();
      this.schedule();
    });
  }

  private doSlice(): void {
    const { sliceMs, monotonicMs } = this.options;
    const end = monotonicMs() + sliceMs;
    while (this.waiting > 0) {
      this.doOldest();
      if (monotonicMs() >= end) return;
    }
  }

  private doOldest(): void {
    const task = this.tasks[this.done]!;
    this.done += 1;
    if (this.done === this.tasks.length) {
      this.tasks = [];
      this.done = 0;
    } else if (this.done >= this.options.maxWaiting) {
      this.tasks = this.tasks.slice(this.done);
      this.done = 0;
    }
    task();
  }
}
