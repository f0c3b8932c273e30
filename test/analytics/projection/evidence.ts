/** Makes evidence logs: frames as the recorder writes them. Signatures are left blank, as no reader of the tail checks them. */
import { createHash } from 'node:crypto';
import { encode } from '@fieldproof/protocol/cbor';
import { deviceIdFromPublicKey, publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { CONTENT_TYPES, type ContentType, seal } from '@fieldproof/protocol/envelope';
import { encodeFrame, type Frame } from '@fieldproof/protocol/frame';
import { type EvidenceEntry, encodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { encodeBirth, type Source } from '@fieldproof/protocol/messages';
import type { UpKind } from '@fieldproof/protocol/topics';

/** 2026-11-21T12:00:00Z, Unix ms. */
export const NOON = 1_795_262_400_000;

export interface FakeDevice {
  readonly key: Uint8Array;
  readonly id: string;
  seq: number;
}

export interface BootOf {
  readonly counter: number;
  readonly seed: Uint8Array;
}

export const BOOT: BootOf = { counter: 7, seed: Uint8Array.of(1, 2, 3, 4) };

/** The n-th device. Its key is a point, since registry entries name devices by ids that are checked. */
export function fakeDevice(n: number): FakeDevice {
  for (let i = 0; ; i++) {
    const key = new Uint8Array(createHash('sha256').update(`device ${n}.${i}`).digest());
    const id = deviceIdFromPublicKey(key);
    try {
      publicKeyFromDeviceId(id);
      return { key, id, seq: 0 };
    } catch {
      // Not a point: the next hash.
    }
  }
}

/** A SenML payload: `times` in seconds, absolute or relative. */
export function senml(name: string, unit: string, points: readonly (readonly [number, number])[]) {
  return encode(
    points.map(([t, v], i) => {
      const record = new Map<number, number | string>();
      if (i === 0) {
        record.set(-2, name);
        record.set(-4, unit);
      }
      record.set(2, v);
      record.set(6, t);
      return record;
    }) as never,
  );
}

/** A log that grows entry by entry. */
export class FakeLog {
  readonly frames: Frame[] = [];

  /** The broker's time of its entries, Unix ms. */
  readonly #at: number;

  constructor(name = 'test', at = NOON) {
    this.#at = at;
    this.add({ type: 'network', at, descriptor: new TextEncoder().encode(name) });
  }

  get size(): number {
    return this.frames.length;
  }

  /** The bytes of the tail from an index. */
  bytes(from = 0, to = this.size): Buffer {
    return Buffer.concat(this.frames.slice(from, to).map(encodeFrame));
  }

  add(entry: EvidenceEntry, body: Uint8Array = new Uint8Array(0)): number {
    const index = this.frames.length;
    this.frames.push({ index, entry: encodeEvidenceEntry(entry), body });
    return index;
  }

  registry(device: FakeDevice, action: string, fields: Readonly<Record<string, string>>): number {
    const statement = seal({
      contentType: CONTENT_TYPES.cbor,
      payload: encode({ action, subject: device.id, ...fields }),
      externalAad: new Uint8Array(0),
      signer: { publicKey: device.key, sign: () => new Uint8Array(64) },
    });
    return this.add({ type: 'registry', at: this.#at, action, subject: device.id, statement });
  }

  anchor(device: FakeDevice, offsetMs: number, boot = BOOT): number {
    return this.add({
      type: 'time-anchor',
      device: device.key,
      bootCounter: boot.counter,
      bootSeed: boot.seed,
      offsetMs,
      boundMs: 30,
      at: this.#at,
    });
  }

  birth(device: FakeDevice, source: Source, boot = BOOT): number {
    const payload = encodeBirth({
      nonce: null,
      agent: 'test/1',
      source,
      profiles: {},
      capabilities: {},
      rejectsSeen: [],
      head: null,
    } as never);
    return this.batch(device, { kind: 'birth', contentType: CONTENT_TYPES.cbor, payload, boot });
  }

  /** A telemetry batch of one metric; relative times when `bootMs` is given. */
  telemetry(
    device: FakeDevice,
    points: readonly (readonly [number, number])[],
    {
      bootMs,
      boot = BOOT,
      name = 'air/temp',
    }: { bootMs?: number; boot?: BootOf; name?: string } = {},
  ): number {
    const payload = senml(name, 'Cel', points);
    return this.batch(device, {
      payload,
      boot,
      ...(bootMs === undefined ? {} : { bootMs, boundMs: null }),
    });
  }

  batch(
    device: FakeDevice,
    options: {
      readonly kind?: UpKind;
      readonly contentType?: ContentType;
      readonly payload: Uint8Array;
      readonly boot?: BootOf;
      readonly bootMs?: number;
      readonly boundMs?: number | null;
    },
  ): number {
    const { kind = 'telemetry', contentType = CONTENT_TYPES.senml, boot = BOOT } = options;
    const seq = device.seq++;
    const body = seal({
      contentType,
      payload: options.payload,
      externalAad: new Uint8Array(0),
      signer: { publicKey: device.key, sign: () => new Uint8Array(64) },
      stamp: {
        bootCounter: boot.counter,
        bootSeed: boot.seed,
        seq,
        bootMs: options.bootMs ?? 1000,
        boundMs: options.boundMs === undefined ? 20 : options.boundMs,
      },
    });
    return this.add(
      {
        type: 'batch',
        device: device.key,
        bootCounter: boot.counter,
        bootSeed: boot.seed,
        seq,
        kind,
        gateway: null,
        at: this.#at + this.size,
        size: body.length,
        digest: new Uint8Array(createHash('sha256').update(body).digest()),
      },
      body,
    );
  }
}
