/**
 * Reads small files with two waits, for opening and for reading: `readFile` of node:fs has four, and each costs about
 * 100 µs of a proof. Closing is not waited for.
 */

import { close, open, read } from 'node:fs';

/** More than a tile has (8 kB), so that one read finds the end. */
const FIRST_BYTES = 16_384;
/** The system reads less than 2 GiB at a time. */
const MOST_BYTES = 2 ** 30;

/** The bytes of a file of any size. Rejects with the error of the system. */
export function readWhole(path: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    open(path, 'r', (error, fd) => {
      if (error) return reject(error);
      readFrom(fd, { bytes: new Uint8Array(FIRST_BYTES), filled: 0 }, (failure, bytes) => {
        close(fd, () => {});
        if (failure) reject(failure);
        else resolve(bytes);
      });
    });
  });
}

function readFrom(
  fd: number,
  { bytes, filled }: { readonly bytes: Uint8Array; readonly filled: number },
  done: (error: Error | null, bytes: Uint8Array) => void,
): void {
  const wanted = Math.min(bytes.length - filled, MOST_BYTES);
  read(fd, bytes, filled, wanted, null, (error, count) => {
    if (error) return done(error, bytes);
    const end = filled + count;
    // Files are not read while they are written: a short read is the end.
    if (count < wanted) return done(null, bytes.slice(0, end));
    if (end < bytes.length) return readFrom(fd, { bytes, filled: end }, done);
    const wider = new Uint8Array(bytes.length * 4);
    wider.set(bytes);
    readFrom(fd, { bytes: wider, filled: end }, done);
  });
}
