/** What a broker's log says of devices, as a reader of the tail finds it. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import {
  type RegistryAction,
  readRegistryAction,
  type UnknownAction,
} from '@fieldproof/protocol/registry-actions';
import type { TestBroker } from './broker.ts';

export interface LoggedAction {
  readonly index: number;
  readonly at: number;
  readonly action: RegistryAction | UnknownAction;
}

/** All `registry` entries, or those about one device or token. */
export async function readRegistryLog(
  { dataDir, running }: Pick<TestBroker, 'dataDir' | 'running'>,
  subject?: string,
): Promise<readonly LoggedAction[]> {
  const token = readFileSync(join(dataDir, 'tokens/admin'), 'utf8').trim();
  const response = await fetch(`${running.addresses.http}/v1/tail?from=0&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  if (!response.ok) throw new Error(await response.text());
  const reader = new FrameReader(0);
  reader.push(new Uint8Array(await response.arrayBuffer()));
  const found: LoggedAction[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    if (isBatchEntry(frame.entry)) continue;
    const entry = decodeEvidenceEntry(frame.entry);
    if (entry.type !== 'registry') continue;
    if (subject !== undefined && entry.subject !== subject) continue;
    const action = readRegistryAction(entry.statement);
    found.push({ index: frame.index, at: entry.at, action });
  }
  return found;
}
