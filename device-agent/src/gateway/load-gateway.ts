/** Loads what a gateway needs. An agent that is none does without it, in memory and in its core bundle. */

import { AgentError, codeOf } from '../errors.ts';
import type { Gateway, GatewayOptions } from './gateway.ts';

/** @throws {AgentError} ERR_AGENT_BUNDLE when the file of the bundle was left behind. */
export async function makeGateway(options: GatewayOptions): Promise<Gateway> {
  try {
    const { Gateway } = await import('./gateway.ts');
    return new Gateway(options);
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new AgentError('ERR_AGENT_BUNDLE', 'gateway: its file is missing', { cause });
  }
}
