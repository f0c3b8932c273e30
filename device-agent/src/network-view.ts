/**
 * What the network has said of this device, over every boot of the agent: its newest receipt, the newest checkpoint that
 * was verified, and the highest boot that it knows.
 */

import { verifyCheckpoint } from '@fieldproof/protocol/checkpoint';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { noteVerifier } from '@fieldproof/protocol/note-key';
import type { Receipt } from '@fieldproof/protocol/settlement-messages';
import { formatTopic } from '@fieldproof/protocol/topics';
import { type DownMessage, openDownMessage } from './down-message.ts';
import { reasonOf } from './errors.ts';
import type { Log } from './log.ts';
import type { Membership } from './membership.ts';
import type { AgentStatus } from './status.ts';

export class NetworkView {
  readonly #log: Log;
  #lastReceipt: AgentStatus['lastReceipt'] = null;
  #head: readonly [number, Uint8Array] | null = null;
  #highestBoot = 0;
  #firstRecordedMs: number | null = null;

  constructor(log: Log) {
    this.#log = log;
  }

  get lastReceipt(): AgentStatus['lastReceipt'] {
    return this.#lastReceipt;
  }

  /** Size and root of the newest checkpoint that the log signed, for the next birth. */
  get head(): [number, Uint8Array] | null {
    return this.#head === null ? null : [this.#head[0], this.#head[1]];
  }

  /** The highest boot counter that a receipt of these runs has listed. */
  get highestBoot(): number {
    return this.#highestBoot;
  }

  /** Unix ms of the receipt that settled the first readings. */
  get firstRecordedMs(): number | null {
    return this.#firstRecordedMs;
  }

  /** Takes a receipt that was verified. */
  heard(receipt: Receipt, membership: Membership): void {
    this.#highestBoot = Math.max(this.#highestBoot, ...receipt.boots.map(([counter]) => counter));
    this.note(receipt, membership);
  }

  /** As `heard`, of a kept receipt: its boots are of an earlier run, and count where boots begin. */
  note({ checkpoint, at, entry }: Receipt, membership: Membership): void {
    if (checkpoint !== null) this.#noteHead(checkpoint, membership);
    this.#lastReceipt = { atMs: at, entry: entry[0], checkpointSize: this.#head?.[0] ?? null };
  }

  firstRecorded(atMs: number): void {
    this.#firstRecordedMs ??= atMs;
  }

  #noteHead(checkpoint: string, { descriptor }: Membership): void {
    if (descriptor === undefined) return;
    const origin = descriptor.origins.evidence;
    try {
      const log = noteVerifier(origin, descriptor.keys.log);
      const { size, root } = verifyCheckpoint(checkpoint, { origin, log, verify });
      if (size >= (this.#head?.[0] ?? 0)) this.#head = [size, root];
    } catch (error) {
      this.#log.warn('checkpoint ignored', { reason: reasonOf(error) });
    }
  }
}

/** A message that was kept, verified under the keys of now. */
export function openKept(
  kind: 'receipt' | 'config',
  bytes: Uint8Array,
  { network, deviceId, descriptor }: Membership,
): DownMessage {
  if (descriptor === undefined) throw new Error('the keys of the network are not known');
  const topic = formatTopic({ network, deviceId, kind });
  return openDownMessage(topic, bytes, { network, deviceId, keys: descriptor.keys });
}
