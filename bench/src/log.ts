/**
 * Appends to the evidence log, with group-commit fsync, leaf hashing, index, tiles and checkpoints: entries that are
 * durable per second, and the time that an inclusion proof takes.
 */

import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EvidenceLog } from '@fieldproof/broker/evidence/evidence-log';
import type { AppendOutcome } from '@fieldproof/broker/evidence/log-contract';
import { type Checkpoint, encodeCheckpoint } from '@fieldproof/protocol/checkpoint';
import type { BatchEntry } from '@fieldproof/protocol/log-entries';
import { nativeSha256 } from '@fieldproof/protocol/merkle-node';
import type { Benchmark } from './main.ts';
import { benchCase, median } from './result.ts';

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
  const proofP99Ms: number[] = [];
  const cpuMicros: number[] = [];
  let rssMiB = 0;
  for (let run = 1; run <= (short ? 1 : RUNS); run++) {
    progress(`run ${run}: ${entries} entries`);
    const folder = await mkdtemp(join(tmpdir(), 'fieldproof-bench-'));
    try {
      const opened = await EvidenceLog.open({ folder, origin: ORIGIN, sign });
      const cpu = process.cpuUsage();
      appends.push(entries / (await appendAll(opened, entries)));
      const { user, system } = process.cpuUsage(cpu);
      cpuMicros.push((user + system) / entries);
      await opened.publish();
      const times = await proveSome(opened, proofs);
      proofMs.push(times.reduce((sum, ms) => sum + ms, 0) / proofs);
      proofP99Ms.push(times.sort()[Math.floor(proofs * 0.99)]!);
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
    notes: [
      `CPU time of an append ${median(cpuMicros).toFixed(1)} µs, with the SHA-256 of its body and what the generator takes.`,
      `p99 of a proof ${median(proofP99Ms).toFixed(2)} ms. Each is of another entry, so that its tile comes from the disk.`,
      `Peak resident memory ${rssMiB} MiB, generator included.`,
    ],
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

/** Times of inclusion proofs at the published size, of entries all over the log, ms. */
async function proveSome(opened: EvidenceLog, proofs: number): Promise<Float64Array> {
  const size = opened.checkpoint?.size ?? 0;
  const times = new Float64Array(proofs);
  for (let i = 0; i < proofs; i += 1) {
    const start = performance.now();
    await opened.proofs.inclusion(Math.floor((i * size) / proofs), size);
    times[i] = performance.now() - start;
  }
  return times;
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
