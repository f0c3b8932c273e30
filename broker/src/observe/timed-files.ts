/** A file layer that says how long each fdatasync took: what a slow disk shows first. */

import type { FileLayer, LogFile } from '../evidence/file-layer.ts';

/** @param onSync - told the seconds of each sync, also of one that failed. */
export function timedFiles(files: FileLayer, onSync: (seconds: number) => void): FileLayer {
  return {
    ...files,
    open: async (path, mode) => timedFile(await files.open(path, mode), onSync),
  };
}

function timedFile(file: LogFile, onSync: (seconds: number) => void): LogFile {
  return {
    size: () => file.size(),
    read: (position, length) => file.read(position, length),
    write: (position, bytes) => file.write(position, bytes),
    truncate: (length) => file.truncate(length),
    close: () => file.close(),
    sync: async () => {
      const began = performance.now();
      try {
        await file.sync();
      } finally {
        onSync((performance.now() - began) / 1000);
      }
    },
  };
}
