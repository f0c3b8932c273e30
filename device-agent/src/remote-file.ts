/**
 * What the device remembers of desired states: `state/remote-config.cbor`, replaced as a whole and sealed with a hash. The
 * states themselves are kept as they were signed and are verified again when they are loaded.
 */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { decode, encode } from '@fieldproof/protocol/cbor';
import { CONFIG_OUTCOMES, type ConfigOutcome } from '@fieldproof/protocol/config-report';
import {
  anything,
  array,
  bytes,
  type Decoded,
  type Decoder,
  nullable,
  optional,
  record,
  text,
  uint,
} from '@fieldproof/protocol/fields';
import { encodeMessage, PAYLOAD_LIMITS } from '@fieldproof/protocol/messages';
import { type Disk, systemDisk } from './disk.ts';
import { isUnreadable, readIfPresent, replaceFile } from './durable-file.ts';
import { codeOf, reasonOf } from './errors.ts';
import type { Log } from './log.ts';

export const REMOTE_FILE = 'remote-config.cbor';

const outcome: Decoder<ConfigOutcome> = (value, path) => {
  const found = CONFIG_OUTCOMES.find((each) => each === text(16)(value, path));
  if (found === undefined) throw new Error(`${path}: expected an outcome`);
  return found;
};

const envelope = bytes({ max: 60_000 });

const shape = record({
  /** Newest version that was judged; older ones are refused. */
  newest: uint(),
  /** Key id of `control` under which that was: versions begin anew with another key. */
  key: optional(bytes(8)),
  /** The envelope in force. */
  inForce: nullable(envelope),
  /** Unix ms of the device, for people. */
  sinceMs: uint(),
  /** Set while the state in force has not proved itself: where a roll-back leads, who is watched, starts since. */
  trial: nullable(
    record({ before: nullable(envelope), watched: array(text(32), 64), starts: uint() }),
  ),
  /** What was reported of the newest version. */
  last: nullable(
    record({
      digest: bytes(32),
      id: nullable(bytes(16)),
      outcome,
      code: nullable(text(64)),
      reasons: array(text(400), 256),
    }),
  ),
});

export type RemoteRecord = Decoded<typeof shape>;

export const NO_RECORD: RemoteRecord = {
  ...{ newest: 0, inForce: null, sinceMs: 0, trial: null, last: null },
};

/** Reads the file. One that is damaged is put aside as `…-damaged`, told, and counts as none. */
export async function loadRemoteRecord(
  folder: string,
  { log, disk = systemDisk }: { readonly log: Log; readonly disk?: Disk },
): Promise<RemoteRecord> {
  const path = join(folder, REMOTE_FILE);
  try {
    const file = await readIfPresent(path, disk);
    return file === undefined ? NO_RECORD : decodeRemoteRecord(file);
  } catch (error) {
    const code = codeOf(error) ?? '';
    if (/^E[A-Z]+$/.test(code) && !isUnreadable(error)) throw error;
    log.error(
      'remote configuration: the file is damaged and was put aside; settings are those of agent.yaml',
      {
        reason: reasonOf(error),
      },
    );
    await disk.rename(path, `${path}-damaged`);
    return NO_RECORD;
  }
}

/** @throws the file system's error; the file is then as it was. */
export async function saveRemoteRecord(
  folder: string,
  record: RemoteRecord,
  disk: Disk = systemDisk,
): Promise<void> {
  const content = encodeMessage(record);
  await replaceFile(join(folder, REMOTE_FILE), encode([sha256(content), content]), { disk });
}

/** @throws {ProtocolError} for all but what `saveRemoteRecord` wrote. */
export function decodeRemoteRecord(file: Uint8Array): RemoteRecord {
  const pair = decode(file, PAYLOAD_LIMITS);
  const [hash, content] = array(anything, 2)(pair, 'file');
  const bytesOf = bytes({ max: 1 << 20 });
  const record = bytesOf(content ?? null, 'content');
  if (!equalBytes(bytesOf(hash ?? null, 'hash'), sha256(record))) {
    throw new Error('content: expected that of its hash');
  }
  return shape(decode(record, PAYLOAD_LIMITS), '');
}

function sha256(content: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(content).digest());
}
