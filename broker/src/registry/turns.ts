/** One thing at a time for each name: what is checked must still hold when it is logged. */

export class Turns {
  private readonly last = new Map<string, Promise<unknown>>();

  /** Runs `action` after all that were asked for under one of the same names before, and before those behind it. */
  async take<T>(names: readonly string[], action: () => Promise<T>): Promise<T> {
    const turn = Promise.allSettled(names.map((name) => this.last.get(name))).then(action);
    for (const name of names) this.last.set(name, turn);
    try {
      return await turn;
    } finally {
      for (const name of names) if (this.last.get(name) === turn) this.last.delete(name);
    }
  }
}
