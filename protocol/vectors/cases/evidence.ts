/** Examples of docs/spec/evidence-log.md and ledger-log.md. */

import { sha256 } from '@noble/hashes/sha2.js';
import { encodeUtf8, toHex } from '../../src/bytes.ts';
import { encode } from '../../src/cbor.ts';
import { signCheckpoint } from '../../src/checkpoint.ts';
import { publicKeyFromDeviceId } from '../../src/did-key.ts';
import { CONTENT_TYPES, type Stamp, seal, statementAad } from '../../src/envelope.ts';
import { encodeFrame } from '../../src/frame.ts';
import {
  type EvidenceEntry,
  encodeEvidenceEntry,
  encodeLedgerEntry,
  type LedgerEntry,
} from '../../src/log-entries.ts';
import { portableHasher, rootFromLeafHashes } from '../../src/merkle.ts';
import { inclusionProof } from '../../src/merkle-proof.ts';
import { noteVerifier } from '../../src/note-key.ts';
import { sealDescriptor } from '../../src/statements.ts';
import { sealTelemetry, senmlPayload, stampOf } from './envelope.ts';
import { descriptor, network } from './identity.ts';
import { device, exampleBytes, log, NOON, owner, registry, root } from './people.ts';
import { cborCase, type VectorFile } from './vector-file.ts';

const stamp: Stamp = stampOf(3);
const boot = { bootCounter: stamp.bootCounter, bootSeed: stamp.bootSeed };
const deviceKey = publicKeyFromDeviceId(device.id);
const body = sealTelemetry(senmlPayload, CONTENT_TYPES.senml, stamp);
/** The entry that the example receipt and proof speak of. */
const BATCH_INDEX = 3;

const beforeRestart: readonly EvidenceEntry[] = [
  { type: 'network', at: NOON, descriptor: sealDescriptor(descriptor, { signer: root }) },
  {
    type: 'registry',
    at: NOON + 100,
    action: 'rename',
    subject: device.id,
    statement: seal({
      contentType: CONTENT_TYPES.cbor,
      payload: encode({ action: 'rename', subject: device.id, name: 'roof-north' }),
      externalAad: statementAad(network, 'registry'),
      signer: registry,
    }),
  },
  {
    type: 'time-anchor',
    device: deviceKey,
    ...boot,
    offsetMs: NOON - stamp.bootMs,
    boundMs: 35,
    at: NOON,
  },
  {
    type: 'batch',
    device: deviceKey,
    ...boot,
    seq: stamp.seq,
    kind: 'telemetry',
    gateway: null,
    at: NOON + 200,
    size: body.length,
    digest: sha256(body),
  },
  { type: 'reject-tally', fromMs: NOON, toMs: NOON + 60_000, counts: [['ERR_TIME_FUTURE', 2]] },
  {
    type: 'tombstone',
    at: NOON + 70_000,
    index: BATCH_INDEX,
    digest: sha256(body),
    reason: 'asked for by the owner',
  },
];

const evidence: readonly EvidenceEntry[] = [
  ...beforeRestart,
  {
    type: 'generation',
    at: NOON + 80_000,
    generation: 1,
    size: beforeRestart.length,
    root: treeOf(beforeRestart).root,
    reason: 'restored from a backup',
  },
];

const ledger: readonly LedgerEntry[] = [
  {
    type: 'policy',
    at: NOON,
    version: 1,
    hash: exampleBytes('policy', 32),
    policy: encode({ text: 'example' }),
  },
  {
    type: 'data-grant',
    at: NOON,
    owner: owner.publicKey,
    grant: exampleBytes('grant envelope', 32),
  },
  {
    type: 'job',
    at: NOON,
    jobId: exampleBytes('job', 32),
    job: exampleBytes('job envelope', 32),
  },
  {
    type: 'decision',
    at: NOON,
    taskId: exampleBytes('task', 32),
    verdict: 'valid',
    digest: exampleBytes('outcome', 32),
    detail: new Map([['replicas', 2]]),
  },
  {
    type: 'account',
    at: NOON,
    reference: 'example',
    movements: [
      ['escrow', -5_000_000n],
      [owner.id, 5_000_000n],
    ],
  },
  {
    type: 'secret',
    at: NOON,
    epoch: 12,
    commitment: sha256(exampleBytes('secret', 32)),
    reveal: null,
  },
  {
    type: 'header',
    at: NOON,
    epoch: 12,
    evidenceSize: 7,
    evidenceRoot: treeOf(evidence).root,
    policyHash: exampleBytes('policy', 32),
    pool: 1_000_000_000n,
    status: 'final',
    rows: 2,
    rewardRoot: exampleBytes('rewards', 32),
  },
  {
    type: 'row',
    epoch: 12,
    device: deviceKey,
    microCredits: 600_000_000n,
    reasons: new Map([['slots', 288]]),
  },
];

function treeOf(log: readonly EvidenceEntry[]): {
  readonly entries: readonly Uint8Array[];
  readonly leafHashes: readonly Uint8Array[];
  readonly root: Uint8Array;
} {
  const entries = log.map((entry) => encodeEvidenceEntry(entry));
  const leafHashes = entries.map((entry) => portableHasher.leafHash(entry));
  return { entries, leafHashes, root: rootFromLeafHashes(leafHashes) };
}

/** The tree of the seven entries above, its checkpoint, and the leaf of the batch. */
export function evidenceExample(): {
  readonly index: number;
  readonly leafHash: Uint8Array;
  readonly size: number;
  readonly root: Uint8Array;
  readonly checkpoint: string;
} {
  const { leafHashes, root: treeRoot } = treeOf(evidence);
  const origin = descriptor.origins.evidence;
  return {
    index: BATCH_INDEX,
    leafHash: leafHashes[BATCH_INDEX] as Uint8Array,
    size: leafHashes.length,
    root: treeRoot,
    checkpoint: signCheckpoint(
      { origin, size: leafHashes.length, root: treeRoot },
      { verifier: noteVerifier(origin, log.publicKey), sign: log.sign },
    ),
  };
}

export async function evidenceVectors(): Promise<VectorFile> {
  const { entries, leafHashes } = treeOf(evidence);
  const { checkpoint, leafHash, root: treeRoot } = evidenceExample();
  const frame = encodeFrame({
    index: BATCH_INDEX,
    entry: entries[BATCH_INDEX] as Uint8Array,
    body,
  });
  const proof = await inclusionProof(BATCH_INDEX, entries.length, (level, index) =>
    rootFromLeafHashes(leafHashes.slice(index << level, (index + 1) << level)),
  );
  return {
    spec: 'docs/spec/evidence-log.md',
    cases: [
      ...entries.map((bytes, index) =>
        cborCase(
          {
            name: `entry ${index}: ${evidence[index]?.type}`,
            about: 'Its leaf hash is SHA-256(00 ‖ entry).',
            inputs: { leafHash: toHex(leafHashes[index] as Uint8Array) },
          },
          bytes,
        ),
      ),
      {
        name: 'frame',
        about: `Entry ${BATCH_INDEX} and the telemetry envelope of envelope.md.`,
        hex: toHex(frame),
      },
      {
        name: 'checkpoint',
        about: 'Of the seven entries; the bytes are its UTF-8 text.',
        inputs: { publicKey: toHex(log.publicKey), root: toHex(treeRoot) },
        hex: toHex(encodeUtf8(checkpoint)),
        diagnostic: checkpoint.trimEnd(),
      },
      {
        name: 'inclusion proof',
        about: `Entry ${BATCH_INDEX} in the tree of size ${entries.length}; the bytes are the proof's hashes one after the other.`,
        inputs: { leafHash: toHex(leafHash), root: toHex(treeRoot) },
        hex: proof.map(toHex).join(''),
      },
    ],
  };
}

export function ledgerVectors(): VectorFile {
  return {
    spec: 'docs/spec/ledger-log.md',
    cases: ledger.map((entry, index) =>
      cborCase(
        { name: `entry ${index}: ${entry.type}`, about: 'Signed parts are stand-in bytes.' },
        encodeLedgerEntry(entry),
      ),
    ),
  };
}
