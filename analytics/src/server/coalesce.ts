/** One computation for many callers: those who ask while it runs, or shortly after, share the answer. */

/**
 * Wraps `compute` so that at most one runs at a time and its answer serves for `ttlMs`. A failure
 * reaches everyone who waited for it and is not kept.
 */
export function coalesce<T>(
  compute: () => Promise<T>,
  { ttlMs, clock }: { readonly ttlMs: number; readonly clock: () => number },
): () => Promise<T> {
  let kept: { readonly promise: Promise<T>; readonly until: number } | null = null;
  return () => {
    if (kept !== null && clock() < kept.until) return kept.promise;
    const promise = compute();
    const entry = { promise, until: Number.POSITIVE_INFINITY };
    kept = entry;
    promise.then(
      () => {
        if (kept === entry) kept = { promise, until: clock() + ttlMs };
      },
      () => {
        if (kept === entry) kept = null;
      },
    );
    return promise;
  };
}
