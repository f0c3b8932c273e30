/** Messages to the process that started this one, where there is one. */

/** Sends a message over the IPC channel. A parent that has just died is no error: nobody is there to be told. */
export function tellParent(message: object): void {
  // Without a callback a closed channel is an 'error' event of the process, which nobody catches.
  process.send?.(message, undefined, undefined, () => {});
}
