/**
 * A boot: a counter that grows with every start and four random bytes, durable before anything is sent.
 * docs/spec/envelope.md 3.1.
 */

import { join } from 'node:path';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError } from './errors.ts';

const FILE = 'boot.json';
const MAX_COUNTER = 2 ** 32 - 1;

export interface Boot {
  /** 1 for the first start. */
  readonly counter: number;
  /** Four random bytes. */
  readonly seed: Uint8Array;
}

/**
 * Begins a new boot and makes it durable.
 *
 * @param folder - the state folder; `boot.json` is replaced.
 * @param atLeast - a counter that is known to be used (seen in the outbox); the new one is greater.
 * @param random - gives that many random bytes.
 * @throws {AgentError} ERR_AGENT_STATE when `boot.json` is damaged or the counter is used up.
 */
export async function beginBoot(options: {
  readonly folder: string;
  readonly atLeast: number;
  readonly random: (length: number) => Uint8Array;
}): Promise<Boot> {
  const path = join(options.folder, FILE);
  const counter = Math.max(await lastBootCounter(options.folder), options.atLeast) + 1;
  if (counter > MAX_COUNTER) {
    throw new AgentError('ERR_AGENT_STATE', `${path}: expected a counter below 2^32`);
  }
  const seed = options.random(4);
  const content = { counter, seed: Buffer.from(seed).toString('hex') };
  await replaceFile(path, `${JSON.stringify(content)}\n`);
  return { counter, seed };
}

/** A boot as one text, for maps, file names and logs. */
export function bootKey(boot: Boot): string {
  return `${boot.counter}-${Buffer.from(boot.seed).toString('hex')}`;
}

/**
 * The counter of the last boot that was begun, 0 before the first.
 *
 * @param folder - the state folder.
 * @throws {AgentError} ERR_AGENT_STATE when `boot.json` is damaged.
 */
export async function lastBootCounter(folder: string): Promise<number> {
  const path = join(folder, FILE);
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return 0;
  try {
    const { counter } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { counter?: unknown };
    if (typeof counter === 'number' && Number.isSafeInteger(counter) && counter >= 0) {
      return counter;
    }
  } catch {
    // Reported below, with the name of the file.
  }
  throw new AgentError('ERR_AGENT_STATE', `${path}: expected { counter, seed }`);
}
