/**
 * Appends to the evidence log, with group-commit fsync, leaf hashing, index, tiles and checkpoints: entries that are
 * durable per second, and the time that an inclusion proof takes.
 *
 *     node --import tsx bench/log.ts [entries] [entries in flight]
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AppendOutcome, EvidenceLog } from '@fieldproof/broker/evidence/evidence-log';
import { type Checkpoint, encodeCheckpoint } from '@fieldproof/protocol/checkpoint';
import type { BatchEntry } from '@fieldproof/protocol/log-entries';
import { nativeSha256 } from '@fieldproof/protocol/merkle-node';

const ORIGIN = 'fieldproof/bench/evidence';
const BODY_BYTES = 700;
const DEVICES = 100;
const PROOFS = 1000;
const LAG_INTERVAL_MS = 10;

const total = Number(process.argv[2] ?? 500_000);
const window = Number(process.argv[3] ?? 2_000);
const devices = Array.from({ length: DEVICES }, (_, n) => new Uint8Array(32).fill(n));
const seed = new Uint8Array(4);

const folder = await mkdtemp(join(tmpdir(), 'fieldproof-bench-'));
try {
  const options = { folder, origin: ORIGIN, sign };
  const log = await EvidenceLog.open(options);
  const { seconds, maxLagMs } = await appendAll(log);
  await log.publish();
  const proofMs = await proveSome(log);
  const rssMiB = process.memoryUsage().rss >> 20;
  const closeMs = await timed(() => log.close());
  const reopen = async () => await (await EvidenceLog.open(options)).close();
  const openMs = await timed(reopen);
  await rm(join(folder, 'state.snapshot'));
  const openByScanMs = await timed(reopen);
  const perSecond = Math.round(total / seconds);
  const result = { total, window, perSecond, maxLagMs, proofMs, rssMiB };
  process.stdout.write(`${JSON.stringify({ ...result, closeMs, openMs, openByScanMs })}\n`);
} finally {
  await rm(folder, { recursive: true });
}

/** The key is of no interest here. */
function sign(checkpoint: Checkpoint): string {
  return `${encodeCheckpoint(checkpoint)}\n— ${ORIGIN} ${'A'.repeat(91)}=\n`;
}

async function appendAll(log: EvidenceLog): Promise<{ seconds: number; maxLagMs: number }> {
  let sent = 0;
  let done = 0;
  let maxLagMs = 0;
  const start = performance.now();
  let last = start;
  const lag = setInterval(() => {
    const now = performance.now();
    maxLagMs = Math.max(maxLagMs, now - last - LAG_INTERVAL_MS);
    last = now;
  }, LAG_INTERVAL_MS);
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
      log.appendBatch(entry, body, onOutcome);
    };
    while (sent < Math.min(window, total)) send();
  });
  clearInterval(lag);
  return { seconds: (performance.now() - start) / 1000, maxLagMs: Math.round(maxLagMs) };
}

/** Mean ms of an inclusion proof at the published size. */
async function proveSome(log: EvidenceLog): Promise<number> {
  const size = log.checkpoint?.size ?? 0;
  const start = performance.now();
  for (let i = 0; i < PROOFS; i += 1) {
    await log.inclusionProof(Math.floor((i * size) / PROOFS), size);
  }
  return (performance.now() - start) / PROOFS;
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

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return Math.round(performance.now() - start);
}
