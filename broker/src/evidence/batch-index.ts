/**
 * What is recorded of every device: which seqs of which boot, which of them are on their way to the disk, and the
 * newest entry. It never forgets what is recorded. Digests are not here: who asks compares them in the log.
 */

import { equalBytes } from '@fieldproof/protocol/bytes';
import type { BatchEntry, EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { DeviceBoots } from './device-boots.ts';
import { type Boot, seedNumber } from './settlement.ts';
import { readGaps, readRejectsSeen } from './settlement-messages.ts';

/** An entry in the evidence log and its RFC 6962 leaf hash. */
export interface EntryRef {
  readonly index: number;
  readonly leafHash: Uint8Array;
}

export interface DeviceRecord {
  readonly boots: DeviceBoots;
  /** The newest entry of the device. */
  newest: EntryRef | null;
  /** Rejects of its envelopes that are on their way to the disk. */
  rejecting: number;
}

/** Whose envelope, and which. */
export interface EnvelopeKey {
  /** 32 bytes. */
  readonly device: Uint8Array;
  readonly bootCounter: number;
  /** 4 bytes. */
  readonly bootSeed: Uint8Array;
  readonly seq: number;
}

/** An envelope that is appended and not yet durable, and who waits to hear how that ends. */
export interface InFlight {
  readonly digest: Uint8Array;
  /** Null while nobody does, which is nearly always. */
  waiting: { readonly digest: Uint8Array; readonly tell: TellWaiting }[] | null;
}

/** Whether the envelope in flight became durable, and whether it is the one that waited. */
export type TellWaiting = (isDurable: boolean, isSame: boolean) => void;

export class BatchIndex {
  readonly #devices = new Map<string, DeviceRecord>();
  readonly #inFlight = new Map<Boot, Map<number, InFlight>>();

  /** All devices by their key as 32 latin1 characters. */
  get devices(): ReadonlyMap<string, DeviceRecord> {
    return this.#devices;
  }

  /** What is known of a device; undefined when nothing ever was. */
  find(device: Uint8Array): DeviceRecord | undefined {
    return this.#devices.get(nameOf(device));
  }

  /** The same, made when it is missing. */
  device(device: Uint8Array): DeviceRecord {
    const name = nameOf(device);
    let record = this.#devices.get(name);
    if (record === undefined) {
      record = { boots: new DeviceBoots(), newest: null, rejecting: 0 };
      this.#devices.set(name, record);
    }
    return record;
  }

  /** Takes over what was stored of a device that nothing is known of yet. */
  restore(device: Uint8Array, boots: DeviceBoots, newest: EntryRef | null): void {
    this.#devices.set(nameOf(device), { boots, newest, rejecting: 0 });
  }

  /** The boot of an envelope, made when it is missing. */
  boot({ device, bootCounter, bootSeed }: EnvelopeKey): Boot {
    return this.device(device).boots.at(bootCounter, seedNumber(bootSeed));
  }

  /** The boot of an envelope, or undefined. */
  findBoot({ device, bootCounter, bootSeed }: EnvelopeKey): Boot | undefined {
    return this.find(device)?.boots.find(bootCounter, seedNumber(bootSeed));
  }

  /** The envelope of this boot and seq that is on its way to the disk, if any. */
  inFlight(boot: Boot, seq: number): InFlight | undefined {
    return this.#inFlight.get(boot)?.get(seq);
  }

  /** Notes that an envelope was appended. */
  depart(boot: Boot, seq: number, digest: Uint8Array): void {
    let ofBoot = this.#inFlight.get(boot);
    if (ofBoot === undefined) {
      ofBoot = new Map();
      this.#inFlight.set(boot, ofBoot);
    }
    ofBoot.set(seq, { digest, waiting: null });
    boot.inFlight += 1;
  }

  /** Notes that it is durable or refused; {@link tellWaiting} then answers who waited. */
  arrive(boot: Boot, seq: number): InFlight | undefined {
    const ofBoot = this.#inFlight.get(boot);
    const flight = ofBoot?.get(seq);
    if (ofBoot?.delete(seq)) boot.inFlight -= 1;
    if (ofBoot?.size === 0) this.#inFlight.delete(boot);
    return flight;
  }

  /** Takes in a durable batch entry, live and on start alike. */
  apply(entry: BatchEntry, body: Uint8Array, ref: EntryRef): void {
    const device = this.device(entry.device);
    const boot = device.boots.at(entry.bootCounter, seedNumber(entry.bootSeed));
    this.applyTo(device, boot, { entry, body, ...ref });
  }

  /** The same for who has the device and the boot of the entry at hand. */
  applyTo(
    device: DeviceRecord,
    boot: Boot,
    {
      entry,
      body,
      index,
      leafHash,
    }: EntryRef & { readonly entry: BatchEntry; readonly body: Uint8Array },
  ): void {
    device.newest = { index, leafHash };
    boot.record(entry.seq, index);
    if (entry.kind === 'birth') {
      for (const seen of readRejectsSeen(body)) device.boots.acknowledge(seen, seen.seq);
    }
    if (entry.kind === 'gap') {
      for (const gap of readGaps(body)) device.boots.drop(gap, gap.from, gap.to);
    }
  }

  /** Takes in a durable entry of another type. */
  applyOther(entry: EvidenceEntry, ref: EntryRef): void {
    if (entry.type === 'time-anchor') this.device(entry.device).newest = ref;
  }
}

/** Answers the senders of duplicates of an envelope that was in flight. */
export function tellWaiting(flight: InFlight | undefined, isDurable: boolean): void {
  if (flight === undefined || flight.waiting === null) return;
  for (const { digest, tell } of flight.waiting) {
    tell(isDurable, equalBytes(flight.digest, digest));
  }
}

/** Bytes as a map key, one character a byte. */
export function nameOf(device: Uint8Array): string {
  return Buffer.from(device.buffer, device.byteOffset, device.length).toString('latin1');
}
