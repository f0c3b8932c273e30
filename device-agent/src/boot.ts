/**
 * A boot: a counter that grows with every start and four random bytes, durable before anything is sent.
 * docs/spec/envelope.md 3.1.
 *
 * The counter is kept twice, since a counter that is used again looks like a cloned card to the network. Where both
 * copies are lost, the new one is well above all that outbox, receipts and parked envelopes know.
 */

import { join } from 'node:path';
import { type Disk, systemDisk } from './disk.ts';
import { isUnreadable, readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError } from './errors.ts';

const FILES = ['boot.json', 'boot-copy.json'] as const;
const MAX_COUNTER = 2 ** 32 - 1;
/** More starts than a device has between two traces of a boot that it leaves elsewhere. */
const LEAP = 1000;

export interface Boot {
  /** 1 for the first start. */
  readonly counter: number;
  /** Four random bytes. */
  readonly seed: Uint8Array;
}

export interface BegunBoot extends Boot {
  /** The files that count boots were lost or damaged, and the counter has leapt. */
  readonly hasLeapt: boolean;
  /** One of the files was damaged; it is written anew. */
  readonly wasDamaged: boolean;
}

/**
 * Begins a new boot and makes it durable.
 *
 * @param folder - the state folder; `boot.json` and its copy are replaced.
 * @param atLeast - a counter that is known to be used (seen in outbox or receipts); the new one is greater.
 * @param wasHere - whether there are other signs that the device has run before.
 * @param random - gives that many random bytes.
 * @throws {AgentError} ERR_AGENT_STATE when the counter is used up.
 */
export async function beginBoot(options: {
  readonly folder: string;
  readonly atLeast: number;
  readonly wasHere?: boolean;
  readonly random: (length: number) => Uint8Array;
  readonly disk?: Disk;
}): Promise<BegunBoot> {
  const { folder, atLeast, wasHere = false, disk = systemDisk } = options;
  const { counter: last, isDamaged } = await readCounter(folder, disk);
  const hasLeapt = last === undefined && (isDamaged || wasHere);
  const counter = Math.max(last ?? 0, atLeast) + (hasLeapt ? LEAP : 1);
  if (counter > MAX_COUNTER) {
    const path = join(folder, FILES[0]);
    throw new AgentError('ERR_AGENT_STATE', `${path}: expected a counter below 2^32`);
  }
  const seed = options.random(4);
  await saveBoot(folder, { counter, seed: Buffer.from(seed).toString('hex') }, disk);
  return { counter, seed, hasLeapt, wasDamaged: isDamaged };
}

/** Makes durable that a counter is used, so that the next boot is above it. */
export async function saveBootCounter(folder: string, counter: number): Promise<void> {
  await saveBoot(folder, { counter }, systemDisk);
}

async function saveBoot(folder: string, content: object, disk: Disk): Promise<void> {
  for (const file of FILES) {
    await replaceFile(join(folder, file), `${JSON.stringify(content)}\n`, { disk });
  }
}

/** A boot as one text, for maps, file names and logs. */
export function bootKey(boot: Boot): string {
  return `${boot.counter}-${Buffer.from(boot.seed).toString('hex')}`;
}

/**
 * The counter of the last boot that was begun, 0 before the first or where it is lost.
 *
 * @param folder - the state folder.
 */
export async function lastBootCounter(folder: string, disk: Disk = systemDisk): Promise<number> {
  return (await readCounter(folder, disk)).counter ?? 0;
}

/** The higher one: a power cut may have come between the two. */
async function readCounter(
  folder: string,
  disk: Disk,
): Promise<{ readonly counter: number | undefined; readonly isDamaged: boolean }> {
  let counter: number | undefined;
  let isDamaged = false;
  for (const file of FILES) {
    const bytes = await readIfPresent(join(folder, file), disk).catch((error: unknown) => {
      // What a worn card does not give any more is lost, and there is another copy.
      if (!isUnreadable(error)) throw error;
      return new Uint8Array();
    });
    if (bytes === undefined) continue;
    const found = parseCounter(bytes);
    if (found === undefined) isDamaged = true;
    else counter = Math.max(counter ?? 0, found);
  }
  return { counter, isDamaged };
}

function parseCounter(bytes: Uint8Array): number | undefined {
  try {
    const { counter } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { counter?: unknown };
    const isCounter = typeof counter === 'number' && Number.isSafeInteger(counter) && counter >= 0;
    return isCounter && counter <= MAX_COUNTER ? counter : undefined;
  } catch {
    return undefined;
  }
}
