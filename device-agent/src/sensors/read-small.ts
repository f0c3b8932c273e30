/** Reads the beginning of a file without waiting: neither a fifo nor an endless device holds it up. */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/**
 * The first `maxBytes` of a file as text; more is left. A fifo without a writer reads as empty.
 *
 * @throws as `fs.open` and `fs.read` do.
 */
export async function readSmall(path: string, maxBytes = 4096): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(maxBytes);
    let length = 0;
    while (length < maxBytes) {
      const { bytesRead } = await file.read(bytes, length, maxBytes - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.toString('utf8', 0, length);
  } finally {
    await file.close();
  }
}
