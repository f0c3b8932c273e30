/**
 * A preload that makes fsync slow: before each, it looks into the file that SLOW_DISK names, which holds a number
 * of milliseconds, or `hang` for as long as it says so. Without the file the disk is as it is.
 */
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';

const file = process.env.SLOW_DISK;
const handle = await open('/dev/null', 'r');
const prototype = Object.getPrototypeOf(handle);
await handle.close();

for (const name of ['sync', 'datasync']) {
  const real = prototype[name];
  prototype[name] = async function (...args) {
    for (let mode = read(); mode === 'hang'; mode = read()) await pause(20);
    await pause(Number(read()));
    return real.apply(this, args);
  };
}

function read() {
  try {
    return readFileSync(file, 'utf8').trim() || '0';
  } catch {
    return '0';
  }
}

function pause(ms) {
  return ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined;
}
