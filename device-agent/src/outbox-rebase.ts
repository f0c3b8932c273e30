/**
 * Envelopes that were sealed as of a boot that the network does not take, and were not sent, are sealed once more as of
 * another one. A device that takes another one's place may have sealed envelopes before it knew: under its own key, which signs the
 * boots of that device from `firstBoot` on only. None of them was sent, so they are sealed once more, in the same order
 * and with the same content, as boots from `firstBoot` on. docs/spec/identity.md 5.7.
 *
 * The outbox is written anew beside the old one and takes its place in two renames; `finishRebase` ends what a crash
 * has left in between.
 */

import { dirname } from 'node:path';
import {
  MAX_ENVELOPE_BYTES,
  MAX_RELAY_BYTES,
  parseEnvelope,
  type Signer,
  seal,
  upAad,
} from '@fieldproof/protocol/envelope';
import { decodeGap, encodeGap } from '@fieldproof/protocol/messages';
import type { Boot } from './boot.ts';
import { type Disk, systemDisk } from './disk.ts';
import type { Outbox } from './outbox.ts';
import type { EnvelopeRecord } from './outbox-frame.ts';

export interface RebaseOptions {
  /** Of the outbox. */
  readonly folder: string;
  readonly network: string;
  readonly signer: Signer;
  /** The boot as of which those of a boot are sealed; the same object where they stay as they are. */
  readonly moved: (boot: Boot) => Boot;
  /** Opens an outbox without a front. */
  readonly open: (folder: string) => Promise<Outbox>;
  readonly disk?: Disk;
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
  const { folder, moved, open, disk = systemDisk } = options;
  if (!outbox.pendingBoots().some((boot) => moved(boot) !== boot)) {
    return { outbox, sealed: 0 };
  }
  const [next, old] = [`${folder}.new`, `${folder}.old`];
  // A cursor gives what is durable, and no more.
  await outbox.sync();
  await disk.remove(next);
  const made = await open(next);
  const sealed = await copy(outbox, made, options);
  await made.sync();
  await made.close();
  await outbox.close();
  await disk.rename(folder, old);
  await disk.rename(next, folder);
  await disk.syncFolder(dirname(folder));
  await disk.remove(old);
  return { outbox: await open(folder), sealed };
}

/** Ends what a crash has left, before the outbox is opened. */
export async function finishRebase(folder: string, disk: Disk = systemDisk): Promise<void> {
  const [next, old] = [`${folder}.new`, `${folder}.old`];
  const isThere = (path: string): Promise<boolean> =>
    disk.stat(path).then(
      () => true,
      () => false,
    );
  // The new one is whole: the old one was moved away after that.
  if (!(await isThere(folder)) && (await isThere(old))) {
    await disk.rename((await isThere(next)) ? next : old, folder);
  }
  for (const left of [next, old]) if (await isThere(left)) await disk.remove(left);
}

async function copy(from: Outbox, to: Outbox, options: RebaseOptions): Promise<number> {
  const { moved } = options;
  let sealed = 0;
  const cursor = from.cursor();
  for (let record = await cursor.next(); record !== undefined; record = await cursor.next()) {
    const again = sealAgain(record, options);
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
  { network, signer, moved }: RebaseOptions,
): EnvelopeRecord {
  const { boot, seq, kind, bytes } = record;
  const maxBytes = kind === 'relay' ? MAX_RELAY_BYTES : MAX_ENVELOPE_BYTES;
  const { stamp, contentType, payload } = parseEnvelope(bytes, maxBytes);
  const next = moved(boot);
  if (next === boot || stamp === null) return record;
  const resealed = seal({
    contentType,
    payload: kind === 'gap' ? movedGap(payload, moved) : payload,
    externalAad: upAad(network, kind),
    signer,
    stamp: { ...stamp, bootCounter: next.counter },
    maxBytes,
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
