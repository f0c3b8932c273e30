/** Waiting until something holds, in tests: nothing is judged by how long it takes. */

/** Longer than anything takes on a busy machine, and shorter than jest's own limit, which would not say what was waited for. */
export const PATIENCE_MS = 240_000;

const LOOK_EVERY_MS = 100;

export interface UntilOptions {
  readonly limitMs?: number;
  /** Pause between two looks; short where a look costs nothing. */
  readonly everyMs?: number;
}

/** Waits until `check` gives something, and returns it. @throws {Error} with the name of what it waited for. */
export async function until<T>(
  what: string,
  check: () => T | Promise<T>,
  { limitMs = PATIENCE_MS, everyMs = LOOK_EVERY_MS }: UntilOptions = {},
): Promise<NonNullable<T>> {
  const end = performance.now() + limitMs;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (performance.now() > end) throw new Error(`waited ${limitMs / 1000} s until ${what}`);
    await new Promise((done) => setTimeout(done, everyMs));
  }
}
