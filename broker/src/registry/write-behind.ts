/**
 * Has a database take what is gathered for it, one run at a time: however many ask meanwhile, and however long a run
 * takes, there is one more for all of them.
 */
export class WriteBehind {
  readonly #work: () => Promise<void>;
  #last: Promise<void> = Promise.resolve();
  /** The one that has yet to begin. */
  #next: Promise<void> | null = null;

  /** @param work - takes what there is when it begins; never rejects. */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** @returns when a run that began after this call has ended. */
  run(): Promise<void> {
    this.#next ??= this.#last.then(() => {
      this.#next = null;
      return this.#work();
    });
    this.#last = this.#next;
    return this.#last;
  }
}
