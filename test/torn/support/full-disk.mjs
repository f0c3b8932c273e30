/** Preloaded where no small disk can be mounted: while the file FULL_DISK_FLAG is there, writes fail with ENOSPC. */
import fs, { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const FLAG = process.env.FULL_DISK_FLAG;

function refuse() {
  if (FLAG === undefined || !existsSync(FLAG)) return;
  throw Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
    errno: -28,
    syscall: 'write',
  });
}

const handle = await open('/dev/null', 'w');
const prototype = Object.getPrototypeOf(handle);
await handle.close();
for (const name of ['write', 'writeFile', 'appendFile']) {
  const original = prototype[name];
  prototype[name] = async function (...args) {
    refuse();
    return await original.apply(this, args);
  };
}
const { writeSync } = fs;
fs.writeSync = (file, ...args) => {
  // Standard output and error are no disk.
  if (file > 2) refuse();
  return writeSync(file, ...args);
};
syncBuiltinESMExports();
