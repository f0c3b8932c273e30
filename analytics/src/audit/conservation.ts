/**
 * The conservation check: nothing that a device signed is lost, doubled or changed on its way from the outbox to the
 * evidence to the store. Pure over its inputs, which come from files and databases only; no process is asked.
 */
import { equalBytes } from '@fieldproof/protocol/bytes';
import type { Checkpoint } from '@fieldproof/protocol/checkpoint';
import { CompactRange } from '@fieldproof/protocol/compact-range';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import type { Frame } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, type EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { nativeHasher } from '@fieldproof/protocol/merkle-node';
import { Check, type CheckResult } from './checks.ts';
import { DeviceChecks, type DeviceCounts } from './device-checks.ts';
import type { RejectRecord, SegmentProblem } from './evidence-files.ts';
import { ExpectedReadings, type ReadingCounts } from './expected-readings.ts';
import type { DeviceOutbox } from './outbox-files.ts';
import { RelayChecks } from './relay-checks.ts';
import { StoreChecks, type StoreCounts } from './store-checks.ts';
import type { StoredRows } from './stored-readings.ts';
import { type VerdictCounts, Verdicts } from './verdicts.ts';

/** The three places; `evidence-files.ts`, `outbox-files.ts` and `stored-readings.ts` read them from disk. */
export interface ConservationInputs {
  /** Frames of the evidence log, in order; `onProblem` is told what is wrong between them. */
  readonly frames: (onProblem: (problem: SegmentProblem) => void) => AsyncIterable<Frame>;
  readonly rejects: readonly RejectRecord[];
  /** What was wrong with the reject log. */
  readonly rejectProblems?: readonly SegmentProblem[];
  /** The published head, where there is one. */
  readonly checkpoint: Checkpoint | undefined;
  /** Devices whose files are at hand; of others only what is recorded is checked. */
  readonly devices: readonly DeviceOutbox[];
  /** Everything in the store; without it the store is not checked. */
  readonly store?: AsyncIterable<StoredRows> | undefined;
  /** A projection's cursor: what comes behind it need not be stored yet. */
  readonly cursor?: number | undefined;
  /** Of each check. Default 20. */
  readonly maxExamples?: number | undefined;
}

export interface ConservationReport {
  /** Whether no check has a violation. */
  readonly ok: boolean;
  readonly checks: readonly CheckResult[];
  readonly counts: {
    readonly entries: number;
    /** Bytes or records at the very end that a crash cut short; allowed as long as nothing needs them. */
    readonly torn: readonly string[];
    readonly verdicts: VerdictCounts;
    readonly devices: DeviceCounts;
    readonly readings: ReadingCounts;
    readonly store: StoreCounts | null;
  };
}

/** Runs all checks that the inputs allow. */
export async function auditConservation(inputs: ConservationInputs): Promise<ConservationReport> {
  const { maxExamples, devices, cursor, checkpoint } = inputs;
  const log = new Check(
    'log-whole',
    'the segments hold every entry that is published',
    maxExamples,
  );
  const torn: string[] = [];
  const onProblem = ({ kind, index, detail }: SegmentProblem) => {
    if (kind === 'torn') torn.push(detail);
    else log.fail({ index, detail });
  };
  for (const problem of inputs.rejectProblems ?? []) onProblem(problem);

  const verdicts = new Verdicts(maxExamples);
  const relays = new RelayChecks(maxExamples);
  for (const reject of inputs.rejects) verdicts.addReject(reject);
  const expected = new ExpectedReadings();
  const known = new Set(devices.map(({ device }) => device));
  const digests = new Map<number, string>();
  const tree = new CompactRange({ hasher: nativeHasher });
  let entries = 0;
  for await (const frame of inputs.frames(onProblem)) {
    entries = frame.index + 1;
    log.checked++;
    if (tree.size === frame.index) tree.append(nativeHasher.leafHash(frame.entry));
    if (tree.size === checkpoint?.size) checkRoot(tree, checkpoint, log);
    const entry = decoded(frame, log);
    if (entry === undefined) continue;
    verdicts.add(frame, entry);
    relays.add(frame, entry);
    const device = entry.type === 'batch' ? deviceIdFromPublicKey(entry.device) : undefined;
    if (device !== undefined && known.has(device) && entry.type === 'batch') {
      digests.set(frame.index, Buffer.from(entry.digest).toString('hex'));
    }
    if (inputs.store !== undefined) expected.add(frame, device);
  }
  if (checkpoint !== undefined && tree.size < checkpoint.size) {
    const detail = `expected the ${checkpoint.size} entries that are published, got ${tree.size}`;
    log.fail({ index: tree.size, detail }, checkpoint.size - tree.size);
  }

  const deviceChecks = new DeviceChecks(maxExamples);
  for (const outbox of devices) {
    const of = verdicts.devices.get(outbox.device) ?? new Map();
    deviceChecks.add(outbox, of, (index) => digests.get(index));
  }
  const results = [log.result(), ...verdicts.results()];
  if (relays.result().checked > 0) results.push(relays.result());
  if (devices.length > 0) results.push(...deviceChecks.results());
  let storeCounts: StoreCounts | null = null;
  if (inputs.store !== undefined) {
    const storeChecks = new StoreChecks(expected, { cursor, maxExamples });
    for await (const rows of inputs.store) storeChecks.add(rows);
    results.push(...storeChecks.results());
    storeCounts = storeChecks.counts;
  }
  return {
    ok: results.every(({ violations }) => violations === 0),
    checks: results,
    counts: {
      entries,
      torn,
      verdicts: verdicts.counts,
      devices: deviceChecks.counts,
      readings: expected.counts,
      store: storeCounts,
    },
  };
}

function checkRoot(tree: CompactRange, { size, root }: Checkpoint, log: Check): void {
  if (equalBytes(tree.root(), root)) return;
  log.fail({ index: size, detail: `root of the first ${size} entries: not the published one` });
}

function decoded(frame: Frame, log: Check): EvidenceEntry | undefined {
  try {
    return decodeEvidenceEntry(frame.entry);
  } catch (error) {
    log.fail({ index: frame.index, detail: (error as Error).message });
    return undefined;
  }
}
