/**
 * A state on the disk that changes often and a little: a snapshot, and behind it a journal of changes, so that what is
 * written follows what changes and not what there is.
 *
 * `<path>` is crc32c u32 | CBOR {format, generation, state}, replaced as a whole; the one before it is kept as
 * `<path>.previous`, and the first one twice. `<path>.journal-<generation>` holds the changes since that snapshot: length u32 | crc32c u32 | CBOR
 * for each. A snapshot followed by its journal and all later ones gives the state, so a damaged snapshot gives way to
 * the one before without a loss. A torn end of a journal is dropped, which is said. Changes have to bear being applied
 * to a state that has them. Files of another format are copied to `<path>.kept-1` and the like before others take their
 * place. It belongs to one process.
 */
import { constants } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { crc32c } from '@fieldproof/protocol/crc32c';
import { Decoder, Encoder } from 'cbor-x';

const FORMAT = 3;
const HEAD_BYTES = 8;
/** A journal is worth a snapshot when it is longer than this and than twice the snapshot. */
const LONG_JOURNAL_BYTES = 1 << 20;
const encoder = new Encoder({ useRecords: false, mapsAsObjects: true });
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true });

interface Snapshot {
  readonly format: number;
  readonly generation: number;
  readonly state: unknown;
}

/** What was found. */
export interface LoadedState {
  readonly journal: StateJournal;
  /** As it was given to `replace`; undefined when there is none. */
  readonly state: unknown;
  /** As they were given to `append` since, in order. */
  readonly changes: readonly unknown[];
  /** What was wrong with the files, if anything. */
  readonly problems: readonly string[];
  /** Says which file is of another format, and where it is kept. What it holds is not in `state`. */
  readonly otherFormat?: string;
}

interface Found {
  /** Of the snapshot that was read, and of the last journal. */
  readonly snapshot: number;
  readonly journal: number;
  readonly journalBytes: number;
  readonly snapshotBytes: number;
  /** Whether the file at `path` may take the place of the one before. */
  readonly isCurrentGood: boolean;
}

export class StateJournal {
  readonly #path: string;
  #isCurrentGood: boolean;
  #snapshot: number;
  #generation: number;
  #file: FileHandle | undefined;
  #journalBytes: number;
  #snapshotBytes: number;
  /** Records that are not known to be durable. */
  #pending: Buffer[] = [];

  private constructor(path: string, found: Found) {
    this.#path = path;
    this.#isCurrentGood = found.isCurrentGood;
    this.#snapshot = found.snapshot;
    this.#generation = found.journal;
    this.#journalBytes = found.journalBytes;
    this.#snapshotBytes = found.snapshotBytes;
  }

  /**
   * Reads what there is. Never throws for what the files hold.
   *
   * @throws the file system's error when files of another format cannot be kept.
   */
  static async load(path: string): Promise<LoadedState> {
    const problems: string[] = [];
    let other: { readonly otherFormat?: string } = {};
    for (const file of [path, `${path}.previous`]) {
      let bytes: Buffer | undefined;
      let snapshot: Snapshot;
      try {
        bytes = await readFile(file);
        snapshot = decodeSnapshot(bytes);
      } catch (cause) {
        const { code, message } = cause as NodeJS.ErrnoException;
        if (cause instanceof OtherFormat) {
          // That kept the one before, too.
          if (other.otherFormat !== undefined) continue;
          const kept = await keepAside(path, bytes!);
          other = { otherFormat: `${file}: ${message}; kept as ${kept}` };
        } else if (code !== 'ENOENT') problems.push(`${file}: ${message}`);
        continue;
      }
      const { state, generation } = snapshot;
      const changes: unknown[] = [];
      let journalBytes = 0;
      let journal = generation;
      for (let next = generation; ; next++) {
        const found = await readJournal(journalPath(path, next));
        if (found === undefined) break;
        for (const record of found.records) changes.push(record);
        if (found.problem !== undefined) problems.push(found.problem);
        journal = next;
        journalBytes = found.goodBytes;
      }
      const found = { snapshot: generation, journal, journalBytes, snapshotBytes: bytes.length };
      return {
        journal: new StateJournal(path, { ...found, isCurrentGood: file === path }),
        state,
        changes,
        problems,
        ...other,
      };
    }
    if (problems.length === 0 && other.otherFormat === undefined && (await hasChanges(path))) {
      problems.push(`${path}: expected a snapshot before its journal, got none`);
    }
    const found = { snapshot: 0, journal: 0, journalBytes: 0, snapshotBytes: 0 };
    const journal = new StateJournal(path, { ...found, isCurrentGood: false });
    return { journal, state: undefined, changes: [], problems, ...other };
  }

  /** Whether there is a snapshot, so that changes can follow it. */
  get hasSnapshot(): boolean {
    return this.#snapshot > 0;
  }

  /** Whether the journal has grown so long that a snapshot is worth its while. */
  get isLong(): boolean {
    return this.#journalBytes > Math.max(LONG_JOURNAL_BYTES, 2 * this.#snapshotBytes);
  }

  /**
   * Makes a whole state durable, which holds at least all changes so far. The value is encoded before this returns.
   * Calls of `replace` and `append` must not overlap.
   *
   * @throws the file system's error: everything is as it was.
   */
  async replace(state: unknown): Promise<void> {
    const path = this.#path;
    const generation = this.#generation + 1;
    const body = encoder.encode({ format: FORMAT, generation, state } satisfies Snapshot);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(crc32c(body));
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeThrough(`${path}.tmp`, [head, body]);
    if (this.#snapshot === 0) {
      // There is none before it: what damages the first one must not take all that it holds.
      await writeThrough(`${path}.previous.tmp`, [head, body]);
      await rename(`${path}.previous.tmp`, `${path}.previous`);
    }
    // Of a snapshot that could not be read: not what follows this one.
    await removeJournals(path, (other) => other > generation);
    const journal = await open(journalPath(path, generation), 'w', 0o600);
    try {
      if (this.#isCurrentGood) await rename(path, `${path}.previous`);
      this.#isCurrentGood = false;
      await rename(`${path}.tmp`, path);
    } catch (error) {
      await journal.close();
      throw error;
    }
    // From here on the new snapshot counts, whether or not its name is durable: both ways lead to this state.
    await this.close();
    const kept = this.#snapshot;
    this.#isCurrentGood = true;
    this.#snapshot = generation;
    this.#generation = generation;
    this.#file = journal;
    this.#journalBytes = 0;
    this.#snapshotBytes = body.length;
    await syncFolder(path);
    await removeJournals(path, (other) => other < kept);
  }

  /**
   * Makes a change durable, behind those whose attempts failed. The value is encoded before this returns.
   *
   * @throws the file system's error: the change is kept, and the next call writes it too.
   */
  async append(change: unknown): Promise<void> {
    const body = encoder.encode(change);
    const record = Buffer.allocUnsafe(HEAD_BYTES + body.length);
    record.writeUInt32BE(body.length);
    record.writeUInt32BE(crc32c(body), 4);
    record.set(body, HEAD_BYTES);
    this.#pending.push(record);
    const file = await this.#openJournal();
    const bytes = this.#pending.length === 1 ? record : Buffer.concat(this.#pending);
    for (let at = 0; at < bytes.length; ) {
      // In place, so that what a failed attempt has left is written over.
      const position = this.#journalBytes + at;
      at += (await file.write(bytes, at, bytes.length - at, position)).bytesWritten;
    }
    await file.datasync();
    this.#journalBytes += bytes.length;
    this.#pending = [];
  }

  /** Ends; everything that resolved is durable. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** The journal that was found, cut behind its last good record. */
  async #openJournal(): Promise<FileHandle> {
    if (this.#file !== undefined) return this.#file;
    const path = journalPath(this.#path, this.#generation);
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      await file.truncate(this.#journalBytes);
      await syncFolder(path);
    } catch (error) {
      await file.close();
      throw error;
    }
    this.#file = file;
    return file;
  }
}

/** A good snapshot that another release wrote. */
class OtherFormat extends Error {}

function decodeSnapshot(bytes: Buffer): Snapshot {
  const body = bytes.subarray(4);
  if (bytes.length < 4 || bytes.readUInt32BE(0) !== crc32c(body)) {
    throw new Error('checksum does not match');
  }
  const snapshot = decoder.decode(body) as Snapshot;
  if (snapshot.format !== FORMAT) {
    throw new OtherFormat(`expected format ${FORMAT}, got ${snapshot.format}`);
  }
  return snapshot;
}

function journalPath(path: string, generation: number): string {
  return `${path}.journal-${generation}`;
}

interface FoundJournal {
  readonly records: readonly unknown[];
  readonly goodBytes: number;
  readonly problem?: string;
}

/** The good records of a journal; undefined when there is none. */
async function readJournal(path: string): Promise<FoundJournal | undefined> {
  const records: unknown[] = [];
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    return { records, goodBytes: 0, problem: `${path}: ${message}` };
  }
  let at = 0;
  while (at + HEAD_BYTES <= bytes.length) {
    const end = at + HEAD_BYTES + bytes.readUInt32BE(at);
    const body = bytes.subarray(at + HEAD_BYTES, end);
    // Zeros, which a power cut may leave, would be an empty record with the right checksum.
    if (body.length === 0 || end > bytes.length) break;
    if (crc32c(body) !== bytes.readUInt32BE(at + 4)) break;
    records.push(decoder.decode(body));
    at = end;
  }
  const found = { records, goodBytes: at };
  if (at === bytes.length) return found;
  const what = `dropped ${bytes.length - at} bytes of an unfinished record at ${at}`;
  return { ...found, problem: `${path}: ${what}` };
}

/**
 * Copies all files of a state to a name of their own, unless that was done before. They stay where they are until
 * others take their place, so that a crash in between meets them again.
 */
async function keepAside(path: string, snapshot: Buffer): Promise<string> {
  let kept = '';
  for (let n = 1; ; n++) {
    kept = `${path}.kept-${n}`;
    const found = await readFile(kept).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    if (found === undefined) break;
    if (found.equals(snapshot)) return kept;
  }
  const base = basename(path);
  for (const name of await readdir(dirname(path))) {
    const end = name.slice(base.length);
    if (!name.startsWith(base) || !/^\.(previous|journal-\d+)$/.test(end)) continue;
    await copyFile(join(dirname(path), name), `${kept}${end}`);
  }
  await writeThrough(`${kept}.tmp`, [snapshot]);
  await rename(`${kept}.tmp`, kept);
  await syncFolder(path);
  return kept;
}

/** Whether some journal holds anything; the first replacement makes an empty one before its snapshot. */
async function hasChanges(path: string): Promise<boolean> {
  const prefix = `${basename(path)}.journal-`;
  const names = await readdir(dirname(path)).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(prefix))) {
    const size = await stat(join(dirname(path), name)).then(
      (found) => found.size,
      () => 1,
    );
    if (size > 0) return true;
  }
  return false;
}

async function removeJournals(path: string, isOld: (generation: number) => boolean): Promise<void> {
  const prefix = `${basename(path)}.journal-`;
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(prefix) || !isOld(Number(name.slice(prefix.length)))) continue;
    await rm(join(dirname(path), name), { force: true });
  }
}

async function writeThrough(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    for (const part of parts) await file.writeFile(part);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r');
  await folder.sync().finally(() => folder.close());
}
