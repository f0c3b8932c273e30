/**
 * A device that takes another one's place may have sealed envelopes before it knew: under its own key, which signs the
 * boots of that device from `firstBoot` on only. None of them was sent, so they are sealed once more, in the same order
 * and with the same content, as boots from `firstBoot` on. docs/spec/identity.md 5.7.
 *
 * The outbox is written anew beside the old one and takes its place in two renames; `finishRebase` ends what a crash
 * has left in between.
 */

import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseEnvelope, type Signer, seal, upAad } from '@fieldproof/protocol/envelope';
import { decodeGap, encodeGap } from '@fieldproof/protocol/messages';
import type { Boot } from './boot.ts';
import { syncFolder } from './durable-file.ts';
import type { Outbox } from './outbox.ts';
import type { EnvelopeRecord } from './outbox-frame.ts';

export interface RebaseOptions {
  /** Of the outbox. */
  readonly folder: string;
  readonly network: string;
  readonly signer: Signer;
  /** The first boot counter that the key may sign. */
  readonly firstBoot: number;
  /** Opens an outbox. */
  readonly open: (folder: string) => Promise<Outbox>;
}

/**
 * Seals anew what cannot be sent as it is.
 *
 * @param outbox - open; closed when another one is returned.
 * @returns the outbox to go on with, and how many envelopes were sealed anew.
 */
export async function rebaseOutbox(
  outbox: Outbox,
  options: RebaseOptions,
): Promise<{ readonly outbox: Outbox; readonly sealed: number }> {
  const { folder, firstBoot, open } = options;
  if (!outbox.pendingBoots().some(({ counter }) => counter < firstBoot)) {
    return { outbox, sealed: 0 };
  }
  const [next, old] = [`${folder}.new`, `${folder}.old`];
  await rm(next, { recursive: true, force: true });
  const made = await open(next);
  const sealed = await copy(outbox, made, options);
  await made.sync();
  await made.close();
  await outbox.close();
  await rename(folder, old);
  await rename(next, folder);
  await syncFolder(dirname(folder));
  await rm(old, { recursive: true, force: true });
  return { outbox: await open(folder), sealed };
}

/** Ends what a crash has left, before the outbox is opened. */
export async function finishRebase(folder: string): Promise<void> {
  const [next, old] = [`${folder}.new`, `${folder}.old`];
  // The new one is whole: the old one was moved away after that.
  if (!existsSync(folder) && existsSync(old)) await rename(existsSync(next) ? next : old, folder);
  await rm(next, { recursive: true, force: true });
  await rm(old, { recursive: true, force: true });
}

async function copy(from: Outbox, to: Outbox, options: RebaseOptions): Promise<number> {
  const { firstBoot } = options;
  const moved = (boot: Boot): Boot => {
    const { counter, seed } = boot;
    return counter < firstBoot ? { counter: firstBoot - 1 + counter, seed } : boot;
  };
  let sealed = 0;
  const cursor = from.cursor();
  for (let record = await cursor.next(); record !== undefined; record = await cursor.next()) {
    const again = sealAgain(record, moved, options);
    sealed += again === record ? 0 : 1;
    await to.append(again);
  }
  await cursor.close();
  for (const { boot, ranges } of from.undeclared()) await to.drop(moved(boot), ranges);
  return sealed;
}

/** The same envelope of another boot. */
function sealAgain(
  record: EnvelopeRecord,
  moved: (boot: Boot) => Boot,
  { network, signer }: RebaseOptions,
): EnvelopeRecord {
  const { boot, seq, kind, bytes } = record;
  const { stamp, contentType, payload } = parseEnvelope(bytes);
  const next = moved(boot);
  if (next === boot || stamp === null) return record;
  const resealed = seal({
    contentType,
    payload: kind === 'gap' ? movedGap(payload, moved) : payload,
    externalAad: upAad(network, kind),
    signer,
    stamp: { ...stamp, bootCounter: next.counter },
  });
  return { boot: next, seq, kind, bytes: resealed };
}

/** A gap names boots. */
function movedGap(payload: Uint8Array, moved: (boot: Boot) => Boot): Uint8Array {
  const { gaps } = decodeGap(payload);
  return encodeGap({
    gaps: gaps.map(([counter, seed, ...rest]) => [moved({ counter, seed }).counter, seed, ...rest]),
  });
}
