/** One thing at a time for each name: what is checked must still hold when it is logged. */

export class Turns {
  private readonly last = new Map<string, Promise<unknown>>();

  /** Runs `action` after all that were asked for under the same name before. */
  async take<T>(name: string, action: () => Promise<T>): Promise<T> {
    const before = this.last.get(name) ?? Promise.resolve();
    const turn = before.catch(() => {}).then(action);
    this.last.set(name, turn);
    try {
      return await turn;
    } finally {
      if (this.last.get(name) === turn) this.last.delete(name);
    }
  }
}
