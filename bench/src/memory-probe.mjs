/**
 * Loaded into a process under measurement: answers `{"order":"memory"}` from its parent with `process.memoryUsage()`,
 * and with `gc` collects garbage before that, where the process was started with `--expose-gc`.
 */
import { isMainThread } from 'node:worker_threads';

if (isMainThread && process.send) {
  process.on('message', (message) => {
    if (message?.order !== 'memory') return;
    if (message.gc) globalThis.gc?.();
    process.send({ event: 'memory', ...process.memoryUsage() });
  });
}
