/**
 * A small network's files, as a broker, an agent and a store leave them, made directly: so that each of them can be made
 * wrong in one place.
 */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { project } from '@fieldproof/analytics/projection/projector';
import { applyChange, emptyState } from '@fieldproof/analytics/projection/projector-state';
import { LineBuffer } from '@fieldproof/analytics/table-lines';
import { encodeEnvelopeFrame, encodeMarkFrames } from '@fieldproof/device-agent/outbox-frame';
import { SEGMENT_MAGIC as OUTBOX_MAGIC } from '@fieldproof/device-agent/outbox-segment';
import { encode } from '@fieldproof/protocol/cbor';
import { encodeCheckpoint } from '@fieldproof/protocol/checkpoint';
import { CompactRange } from '@fieldproof/protocol/compact-range';
import { CONTENT_TYPES, parseEnvelope, seal } from '@fieldproof/protocol/envelope';
import { encodeFrame, type Frame } from '@fieldproof/protocol/frame';
import type { Interval } from '@fieldproof/protocol/interval-set';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { encodeGap } from '@fieldproof/protocol/messages';
import { formatNote } from '@fieldproof/protocol/signed-note';
import { BOOT, type FakeDevice, FakeLog, fakeDevice, NOON } from '../projection/evidence.ts';

const SEGMENT_MAGIC = Buffer.from('fieldproof-seg-1');

export interface Plan {
  /** Frames of the log; drop or change some. */
  frames: Frame[];
  /** Entries per segment. */
  segmentEntries: number;
  /** Size that the checkpoint states; 0 for none. */
  published: number;
  /** Seqs for which device 0 has the network's word. */
  settled: Interval[];
  /** Entries whose bodies lie in device 0's outbox. */
  outbox: Frame[];
  rejects: readonly (readonly [seq: number, code: string])[];
  /** Bytes written behind the last frame. */
  tail: Uint8Array;
  /** Lines of the store. */
  lines: string[];
}

export interface Planted {
  readonly folder: string;
  readonly broker: string;
  readonly agent: string;
  readonly device: FakeDevice;
  readonly body: Uint8Array;
}

/** 12 batches of device 0 (seq 0 to 11; 3 is refused, 5 given up), 3 of device 1, anchors and relative times among them. */
export function makeLog(): { log: FakeLog; device: FakeDevice } {
  const log = new FakeLog();
  const [device, other] = [fakeDevice(0), fakeDevice(1)];
  log.registry(device, 'enrol', { name: 'roof', group: 'weather' });
  log.birth(device, 'replay');
  for (let seq = 1; seq < 12; seq++) {
    if (seq === 3 || seq === 5) {
      device.seq++;
      continue;
    }
    const t = NOON / 1000 + seq;
    if (seq === 6) {
      const payload = encodeGap({ gaps: [[BOOT.counter, BOOT.seed, 5, 5, 'outbox full']] });
      log.batch(device, { kind: 'gap', contentType: CONTENT_TYPES.cbor, payload });
    } else {
      log.telemetry(device, [
        [t, 0.1 + seq],
        [t + 0.5, -0],
      ]);
    }
    if (seq % 4 === 0) {
      log.telemetry(other, [[-1, seq]], { bootMs: seq * 1000, boot: { ...BOOT, counter: 2 } });
    }
    if (seq === 8) log.anchor(other, NOON - 100_000, { ...BOOT, counter: 2 });
  }
  return { log, device };
}

/** What a projection writes for these frames. */
export function linesOf(frames: readonly Frame[]): string[] {
  const state = emptyState();
  const buffer = new LineBuffer();
  const take = (frame: Frame) => {
    const { outcome, changes, released } = project(frame, state);
    for (const change of changes) applyChange(state, change);
    for (const index of released) take(frames[index]!);
    if (outcome.type === 'readings') for (const table of outcome.tables) buffer.append(table);
  };
  for (const frame of frames) take(frame);
  return Buffer.from(buffer.take()).toString().split('\n').slice(0, -1);
}

/** Writes the files of a sound network, after `change` has made them unsound. */
export async function plant(change: (plan: Plan) => void = () => {}): Promise<Planted> {
  const { log, device } = makeLog();
  const mine = log.frames.filter(({ entry }) => {
    const decoded = decodeEvidenceEntry(entry);
    return decoded.type === 'batch' && Buffer.from(decoded.device).equals(device.key);
  });
  const plan: Plan = {
    frames: [...log.frames],
    segmentEntries: 6,
    published: log.size - 2,
    settled: [[0, 9]],
    outbox: mine.slice(-4),
    rejects: [[3, 'ERR_TIME_FUTURE']],
    tail: new Uint8Array(0),
    lines: linesOf(log.frames),
  };
  change(plan);
  const folder = await mkdtemp(join(tmpdir(), 'audit-'));
  const [broker, agent] = [join(folder, 'broker'), join(folder, 'agent')];
  await writeEvidence(broker, { plan, device, whole: log.frames });
  await writeOutbox(agent, plan, device);
  return { folder, broker, agent, device, body: Buffer.from(`${plan.lines.join('\n')}\n`) };
}

async function writeEvidence(
  broker: string,
  from: { readonly plan: Plan; readonly device: FakeDevice; readonly whole: readonly Frame[] },
): Promise<void> {
  const { plan, device, whole } = from;
  const folder = join(broker, 'evidence');
  for (const name of ['segments', 'rejects', 'published']) {
    await mkdir(join(folder, name), { recursive: true });
  }
  for (let at = 0; at < plan.frames.length; at += plan.segmentEntries) {
    const part = plan.frames.slice(at, at + plan.segmentEntries);
    const name = `${String(part[0]!.index).padStart(16, '0')}.seg`;
    const isLast = at + plan.segmentEntries >= plan.frames.length;
    const bytes = [SEGMENT_MAGIC, ...part.map(encodeFrame), ...(isLast ? [plan.tail] : [])];
    await writeFile(join(folder, 'segments', name), Buffer.concat(bytes));
  }
  const rejects = plan.rejects.map(([seq, code], index) =>
    encodeFrame({
      index,
      entry: encode([device.key, BOOT.counter, BOOT.seed, seq, code, 4]),
      body: new Uint8Array(0),
    }),
  );
  const file = join(folder, 'rejects', '0000000000000000.seg');
  await writeFile(file, Buffer.concat([SEGMENT_MAGIC, ...rejects]));
  if (plan.published === 0) return;
  const tree = new CompactRange({ hasher: nativeHasher });
  for (const { entry } of whole.slice(0, plan.published)) {
    tree.append(nativeHasher.leafHash(entry));
  }
  const text = encodeCheckpoint({ origin: 'o', size: plan.published, root: tree.root() });
  const note = formatNote({
    text,
    signatures: [{ name: 'o', keyId: 7, signature: new Uint8Array(64) }],
  });
  await writeFile(join(folder, 'published', 'checkpoint'), note);
}

async function writeOutbox(agent: string, plan: Plan, device: FakeDevice): Promise<void> {
  const state = join(agent, 'state');
  await mkdir(join(state, 'outbox'), { recursive: true });
  const envelopes = plan.outbox.map(({ body }) => {
    const { seq } = parseEnvelope(body).stamp!;
    return encodeEnvelopeFrame({ boot: BOOT, seq, kind: 'telemetry', bytes: body });
  });
  const marks = encodeMarkFrames('settled', BOOT, plan.settled);
  const bytes = Buffer.concat([OUTBOX_MAGIC, ...envelopes, ...marks]);
  await writeFile(join(state, 'outbox', '0000000001.seg'), bytes);
  const credential = seal({
    contentType: CONTENT_TYPES.cbor,
    payload: encode({ device: device.id }),
    externalAad: new Uint8Array(0),
    signer: { publicKey: device.key, sign: () => new Uint8Array(64) },
  });
  await writeFile(join(state, 'credential.cose'), credential);
}
