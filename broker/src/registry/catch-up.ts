/** Applies the `registry` entries and births of the evidence log that a crash kept from the registry. */

import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, isBatchEntry } from '@fieldproof/protocol/log-entries';
import { readRegistryAction, seedNumberOf } from '@fieldproof/protocol/registry-actions';
import type { AccessDesk } from './access-desk.ts';
import type { DeviceTexts } from './device-texts.ts';
import type { Directory } from './directory.ts';
import type { Newcomers } from './newcomers.ts';
import type { QuarantineDesk } from './quarantine.ts';
import type { Registry } from './registry.ts';
import type { TokenDesk } from './token-desk.ts';

/** @returns how many entries were applied. */
export async function catchUp(options: {
  readonly evidence: {
    readonly size: number;
    tail(from: number, options: { readonly live: boolean }): AsyncIterable<Uint8Array>;
  };
  readonly registry: Registry;
  readonly directory: Directory;
  readonly quarantine: QuarantineDesk;
  readonly access: AccessDesk;
  readonly tokens: TokenDesk;
  readonly texts: Pick<DeviceTexts, 'eraseOthers'>;
  readonly newcomers: Newcomers;
}): Promise<number> {
  const { evidence, registry, directory, quarantine, access, tokens, texts, newcomers } = options;
  // A log that is shorter than the registry remembers was replaced: all of it is applied again.
  const through = await registry.appliedThrough();
  const from = through < evidence.size ? through + 1 : 0;
  if (from === 0) {
    await directory.forget();
    await quarantine.forget();
  }
  let applied = 0;
  const written = new Set<string>();
  const reader = new FrameReader(from);
  for await (const chunk of evidence.tail(from, { live: false })) {
    reader.push(chunk);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      if (isBatchEntry(frame.entry)) continue;
      const entry = decodeEvidenceEntry(frame.entry);
      if (entry.type === 'time-anchor') {
        const bootSeed = seedNumberOf(entry.bootSeed);
        const boot = { bootCounter: entry.bootCounter, bootSeed };
        quarantine.replayBirth(deviceIdFromPublicKey(entry.device), boot, frame.index);
      }
      if (entry.type !== 'registry') continue;
      await directory.catchUp({ ...entry, index: frame.index });
      const action = readRegistryAction(entry.statement);
      await access.catchUp(action, entry);
      await tokens.catchUp(action, entry);
      newcomers.catchUp(action);
      if (action.action === 'site' || action.action === 'notes') written.add(action.subject);
      applied += 1;
    }
  }
  await tokens.finishCatchUp(from);
  // A crash may have come between the entry and the erasing of the text before it.
  for (const deviceId of written) {
    const device = directory.get(deviceId);
    if (device === null) continue;
    await texts.eraseOthers(deviceId, 'site', device.texts.site);
    await texts.eraseOthers(deviceId, 'notes', device.texts.notes);
  }
  if (await newcomers.finishCatchUp()) await directory.settle(evidence.size);
  return applied;
}
