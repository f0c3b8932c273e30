/** An evidence log with entries to append, for tests. */

import { createHash } from 'node:crypto';
import { EvidenceLog } from '@fieldproof/broker/evidence/evidence-log';
import type { FileLayer } from '@fieldproof/broker/evidence/file-layer';
import type { AppendOutcome, EvidenceLogSettings } from '@fieldproof/broker/evidence/log-contract';
import { encode, Tagged } from '@fieldproof/protocol/cbor';
import { type Checkpoint, encodeCheckpoint } from '@fieldproof/protocol/checkpoint';
import type { BatchEntry } from '@fieldproof/protocol/log-entries';
import { formatNote } from '@fieldproof/protocol/signed-note';
import type { UpKind } from '@fieldproof/protocol/topics';

export const ORIGIN = 'fieldproof/test/evidence';

/** In place of a signature: deterministic, and no key to carry around. */
export function sign(checkpoint: Checkpoint): string {
  const text = encodeCheckpoint(checkpoint);
  const signature = createHash('sha512').update(text).digest();
  return formatNote({ text, signatures: [{ name: ORIGIN, keyId: 7, signature }] });
}

export const device = (n: number): Uint8Array => new Uint8Array(32).fill(n + 1);
export const seed = Uint8Array.of(1, 2, 3, 4);

export interface Envelope {
  readonly entry: BatchEntry;
  readonly body: Uint8Array;
}

export interface EnvelopeFields {
  readonly device?: number;
  readonly boot?: number;
  readonly kind?: UpKind;
  /** Another text makes another digest. */
  readonly text?: string;
  readonly bytes?: number;
  readonly payload?: ReadonlyMap<string, never> | Record<string, unknown>;
}

/** An envelope, unsigned, and its entry. */
export function envelope(seq: number, fields: EnvelopeFields = {}): Envelope {
  const boot = fields.boot ?? 1;
  const kind = fields.kind ?? 'telemetry';
  const stamp = [fields.device ?? 0, boot, seq, fields.text ?? '', kind];
  const payload = fields.payload ?? { stamp, filler: new Uint8Array(fields.bytes ?? 0) };
  const message = [new Uint8Array(0), new Map(), encode(payload as never), encode(stamp)];
  const body = encode(new Tagged(18, message));
  return {
    body,
    entry: {
      type: 'batch',
      device: device(fields.device ?? 0),
      bootCounter: boot,
      bootSeed: seed,
      seq,
      kind,
      gateway: null,
      at: 1_790_000_000_000 + seq,
      size: body.length,
      digest: new Uint8Array(createHash('sha256').update(body).digest()),
    },
  };
}

/** Settings with which nothing waits: small segments, no pause between commits. */
export const QUICK: Partial<EvidenceLogSettings> = {
  commitIntervalMs: 0,
  publishIntervalMs: 1e9,
  retryMs: 0,
  probeMs: 1e9,
};

export async function openLog(
  files: FileLayer,
  settings: Partial<EvidenceLogSettings> = {},
  folder = '/log',
): Promise<EvidenceLog> {
  return await EvidenceLog.open({
    folder,
    origin: ORIGIN,
    sign,
    files,
    settings: { ...QUICK, ...settings },
  });
}

export function put(log: EvidenceLog, { entry, body }: Envelope): Promise<AppendOutcome> {
  return new Promise((resolve) => log.appendBatch(entry, body, resolve));
}

/** All bytes of a tail. */
export async function drain(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Uint8Array.from(Buffer.concat(all));
}
