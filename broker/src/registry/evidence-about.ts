/** Whether entries of the log show something of a device. docs/spec/registry.md 4.1. */

import { equalBytes } from '@fieldproof/protocol/bytes';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import type { Frame } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, type EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { BrokerError } from '../errors.ts';

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
    throw new BrokerError('ERR_EVIDENCE', `evidence: expected entries that show ${kind}`);
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
