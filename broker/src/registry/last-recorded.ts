/** When the log has last recorded an envelope of a device: what outlives a restart without being kept anywhere else. */

import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import type { EvidenceLog } from '../evidence/evidence-log.ts';

/** @returns Unix ms; null when there is no envelope of it, or the disk does not give it. */
export async function lastRecorded(
  evidence: Pick<EvidenceLog, 'receiptFor' | 'readFrame'>,
  deviceId: string,
): Promise<number | null> {
  const newest = evidence.receiptFor(publicKeyFromDeviceId(deviceId)).entry;
  if (newest === null) return null;
  try {
    const entry = decodeEvidenceEntry((await evidence.readFrame(newest.index)).entry);
    return entry.type === 'batch' ? entry.at : null;
  } catch {
    return null;
  }
}
