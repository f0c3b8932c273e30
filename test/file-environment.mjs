/**
 * Jest's environment for Node, which leaves nothing switched on when a test file is over.
 *
 * Each file has its own copy of jest-circus with an AsyncLocalStorage in it, and Node carries every one that was ever entered
 * along with each promise: after some fifty files in one worker, code that awaits a lot takes four times as long.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { TestEnvironment } from 'jest-environment-node';

/** Those that were entered since the file began. */
const entered = new Set();

for (const name of ['run', 'enterWith']) {
  const original = AsyncLocalStorage.prototype[name];
  AsyncLocalStorage.prototype[name] = function (...args) {
    entered.add(this);
    return original.apply(this, args);
  };
}

export default class FileEnvironment extends TestEnvironment {
  async teardown() {
    await super.teardown();
    for (const storage of entered) storage.disable();
    entered.clear();
  }
}
