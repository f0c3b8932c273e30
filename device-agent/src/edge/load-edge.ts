/** Loads what edge functions need. An agent without any does without it, in memory and in its core bundle. */

import { AgentError, codeOf } from '../errors.ts';

/** @throws {AgentError} ERR_AGENT_BUNDLE when the file of the bundle was left behind. */
export async function loadEdge(): Promise<typeof import('./edge-parts.ts')> {
  try {
    return await import('./edge-parts.ts');
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MODULE_NOT_FOUND') throw cause;
    const { message } = cause as Error;
    throw new AgentError('ERR_AGENT_BUNDLE', `edge functions: ${message}`, { cause });
  }
}
