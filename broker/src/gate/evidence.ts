/** What the gate and the registry ask of the evidence log. `../evidence/evidence-log.ts` answers; tests have one in memory. */

import type { BatchEntry, EvidenceEntry } from '@fieldproof/protocol/log-entries';

/** Whose envelope, and which. */
export interface EnvelopeKey {
  /** The key in the device id, 32 bytes. */
  readonly device: Uint8Array;
  readonly bootCounter: number;
  /** 4 bytes. */
  readonly bootSeed: Uint8Array;
  readonly seq: number;
}

export type Known = 'new' | 'duplicate' | 'equivocation';

export interface EntryRef {
  readonly index: number;
  readonly leafHash: Uint8Array;
}

export type AppendOutcome =
  | ({ readonly kind: 'accepted' } & EntryRef)
  | { readonly kind: 'duplicate' | 'equivocation' }
  | { readonly kind: 'refused'; readonly error: Error };

export interface ReceiptParts {
  readonly boots: readonly {
    readonly bootCounter: number;
    readonly bootSeed: Uint8Array;
    readonly settledThrough: number;
    readonly ranges: readonly (readonly [number, number])[];
    readonly rejected: readonly (readonly [number, string])[];
  }[];
  readonly entry: EntryRef | null;
  readonly heads: readonly (readonly [0, number, Uint8Array])[];
  readonly checkpoint: string | null;
}

export interface Evidence {
  /** Whether senders should be held back: too much is on its way to the disk. */
  readonly isFull: boolean;
  /** Resolves when `isFull` is false. */
  drained(): Promise<void>;
  /** Whether the log cannot be written: the disk refuses, or it is closed. */
  readonly isRefusing: boolean;
  /** Whether an envelope is recorded; a promise when that takes a look at the disk. */
  judge(key: EnvelopeKey, digest: Uint8Array): Known | Promise<Known>;
  /** Records an envelope unless it is recorded already, and says once how that ended, when it is durable. */
  appendBatch(
    entry: BatchEntry,
    body: Uint8Array,
    onOutcome: (outcome: AppendOutcome) => void,
  ): void;
  /** Appends an entry of another type; resolves when it is durable. */
  append(entry: Exclude<EvidenceEntry, BatchEntry>): Promise<EntryRef>;
  /**
   * Settles a seq by a permanent reject, durably, and says whether it did: not when the device has too many that it
   * has not acknowledged. Only for envelopes whose signature verified.
   */
  settleReject(reject: EnvelopeKey & { readonly code: string }): Promise<boolean>;
  receiptFor(device: Uint8Array): ReceiptParts;
  /** Boots of a device that have entries, in the order of their first ones; the seed as a big-endian number. */
  bootsOf(device: Uint8Array): readonly { readonly counter: number; readonly seed: number }[];
}
