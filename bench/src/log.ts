/**
 * Appends to the evidence log, with group-commit fsync, leaf hashing, index, tiles and checkpoints: entries that are
 * durable per second, and the time that an inclusion proof takes.
 */

import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AppendOutcome, EvidenceLog } from '@fieldproof/broker/evidence/evidence-log';
import { type Checkpoint, encodeCheckpoint } from '@fieldproof/protocol/checkpoint';
import type { BatchEntry } from '@fieldproof/protocol/log-entries';
import { nativeSha256 } from '@fieldproof/protocol/merkle-node';
import type { Benchmark } from './main.ts';
import { benchCase } from './result.ts';

const ORIGIN = 'fieldproof/bench/evidence';
const BODY_BYTES = 700;
const DEVICES = 100;
const IN_FLIGHT = 2000;
const RUNS = 3;

const devices = Array.from({ length: DEVICES }, (_, n) => new Uint8Array(32).fill(n));
const seed = new Uint8Array(4);

export const log: Benchmark = async ({ short, progress }) => {
  const entries = short ? 20_000 : 1_000_000;
  const proofs = short ? 50 : 1000;
  const appends: number[] = [];
  const proofMs: number[] = [];
  let rssMiB = 0;
  for (let run = 1; run <= (short ? 1 : RUNS); run++) {
    progress(`run ${run}: ${entries} entries`);
    const folder = await mkdtemp(join(tmpdir(), 'fieldproof-bench-'));
    try {
      const opened = await EvidenceLog.open({ folder, origin: ORIGIN, sign });
      appends.push(entries / (await appendAll(opened, entries)));
      await opened.publish();
      proofMs.push(await proveSome(opened, proofs));
      rssMiB = Math.max(rssMiB, process.memoryUsage().rss >> 20);
      await opened.close();
    } finally {
      await rm(folder, { recursive: true });
    }
  }
  return {
    cases: [
      benchCase({
        case: `appends, ${BODY_BYTES}-byte bodies, ${IN_FLIGHT} in flight`,
        unit: 'entries/s',
        values: appends,
        peers: { 'SHA-256 of such a body': hashesPerSecond(short ? 20_000 : 500_000) },
        goal: { on: 'value', min: 50_000 },
      }),
      benchCase({
        case: `inclusion proof at ${entries} entries, mean of ${proofs}`,
        unit: 'ms',
        values: proofMs,
        goal: { on: 'value', max: 1 },
      }),
    ],
    notes: [`Peak resident memory ${rssMiB} MiB, generator included.`],
  };
};

/** The key is of no interest here. */
function sign(checkpoint: Checkpoint): string {
  return `${encodeCheckpoint(checkpoint)}\n— ${ORIGIN} ${'A'.repeat(91)}=\n`;
}

/** Seconds until everything is durable. */
async function appendAll(opened: EvidenceLog, total: number): Promise<number> {
  let sent = 0;
  let done = 0;
  const start = performance.now();
  await new Promise<void>((resolve, reject) => {
    const onOutcome = ({ kind }: AppendOutcome): void => {
      if (kind !== 'accepted') reject(new Error(`expected accepted, got ${kind}`));
      done += 1;
      if (done === total) resolve();
      else if (sent < total) send();
    };
    const send = (): void => {
      const { entry, body } = envelope(sent);
      sent += 1;
      opened.appendBatch(entry, body, onOutcome);
    };
    while (sent < Math.min(IN_FLIGHT, total)) send();
  });
  return (performance.now() - start) / 1000;
}

/** Mean ms of an inclusion proof at the published size. */
async function proveSome(opened: EvidenceLog, proofs: number): Promise<number> {
  const size = opened.checkpoint?.size ?? 0;
  const start = performance.now();
  for (let i = 0; i < proofs; i += 1) {
    await opened.inclusionProof(Math.floor((i * size) / proofs), size);
  }
  return (performance.now() - start) / proofs;
}

function hashesPerSecond(count: number): number {
  const body = new Uint8Array(BODY_BYTES);
  const start = performance.now();
  for (let i = 0; i < count; i++) createHash('sha256').update(body).digest();
  return count / ((performance.now() - start) / 1000);
}

function envelope(n: number): { entry: BatchEntry; body: Uint8Array } {
  const body = new Uint8Array(BODY_BYTES);
  new DataView(body.buffer).setUint32(0, n);
  const entry: BatchEntry = {
    type: 'batch',
    device: devices[n % DEVICES]!,
    bootCounter: 1,
    bootSeed: seed,
    seq: Math.floor(n / DEVICES),
    kind: 'telemetry',
    gateway: null,
    at: 1_790_000_000_000 + n,
    size: body.length,
    digest: nativeSha256(body),
  };
  return { entry, body };
}
