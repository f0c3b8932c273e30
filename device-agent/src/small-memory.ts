/**
 * The optimising compilers of V8 cost the agent more than they give: it does little, now and then, and the time goes into
 * signatures, files and sockets. Without them it needs 4 to 8 MiB less and, at 120 readings a second, a fifth less CPU
 * (`npm run bench -- agent`). WebAssembly has compilers of its own, which stay.
 */

import { setFlagsFromString } from 'node:v8';

/** Before the program's own code has run hot. Node 20 has the first flag, 22 and later both. */
export function doWithoutOptimisers(): void {
  setFlagsFromString('--no-turbofan');
  setFlagsFromString('--no-maglev');
}
