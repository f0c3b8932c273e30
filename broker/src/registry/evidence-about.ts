/** Whether entries of the log show something of a device. docs/spec/registry.md 4.1. */

import { equalBytes } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import type { Frame } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, type EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { BrokerError, rowOf } from '../errors.ts';

/** What devices are suspended for. */
const SEEN = [
  'ERR_BOOT_CLONED',
  'ERR_EQUIVOCATION',
  'ERR_SIGNATURE_INVALID',
  'ERR_TIME_FUTURE',
  'ERR_RATE_DEVICE',
];

export interface EvidenceReader {
  /** Entries that are durable. */
  readonly size: number;
  readFrame(index: number): Promise<Frame>;
}

/**
 * @throws {BrokerError} ERR_INDEX_RANGE for an entry that is not there; ERR_EVIDENCE when a kind other than
 * `operator` has none, or one about something else than the device.
 */
export async function requireEvidence(
  indices: readonly number[],
  accusation: {
    readonly deviceId: string;
    readonly kind: string;
    readonly evidence: EvidenceReader;
  },
): Promise<void> {
  const { deviceId, kind, evidence } = accusation;
  if (kind !== 'operator' && indices.length === 0) {
    throw new BrokerError('ERR_EVIDENCE', needed(kind));
  }
  for (const index of indices) {
    if (index >= evidence.size) {
      const message = `evidence ${index}: the log has entries below ${evidence.size}`;
      throw new BrokerError('ERR_INDEX_RANGE', message);
    }
    if (kind === 'operator') continue;
    const entry = decodeEvidenceEntry((await evidence.readFrame(index)).entry);
    if (!isAbout(entry, deviceId)) {
      throw new BrokerError('ERR_EVIDENCE', `evidence ${index}: not about this device`);
    }
  }
}

/** What is missing; a word that no code is may be a slip of the pen. */
function needed(kind: string): string {
  if (rowOf(kind) !== undefined) return `evidence: expected entries that show ${kind}`;
  return `kind: ${kind} is unknown; there are operator and the codes of docs/errors.md, such as ${SEEN.join(', ')}; a word of your own needs entries that show it as evidence`;
}

/** Whether an entry is of a device or about it. */
export function isAbout(entry: EvidenceEntry, deviceId: string): boolean {
  switch (entry.type) {
    case 'batch':
    case 'time-anchor':
      return equalBytes(entry.device, publicKeyFromDeviceId(deviceId));
    case 'registry':
      return entry.subject === deviceId;
    default:
      return false;
  }
}
