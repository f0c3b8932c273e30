/**
 * Counts what the agent writes to the card, by kind, and says how much that is a day.
 *
 * A card is worn by pages, not by bytes, so both are counted. The model, for ext4 in its usual ordered mode on 4 KiB pages: a
 * write dirties the pages that it touches; a sync (fsync, fdatasync, of a file or a folder) writes those, and four more
 * for the journal (descriptor, metadata, commit) and for the metadata in its place. What is never synced is written by the
 * system sometime, and counts its pages and one more when the file is closed. Leaves out what the card's own
 * controller makes of that: erase blocks are its affair, and it tells nobody.
 */

import { basename, dirname, join, sep } from 'node:path';
import type { Clock } from './clock.ts';
import type { Disk, DiskFile } from './disk.ts';

export const PAGE_BYTES = 4096;
const SYNC_PAGES = 4;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Before that a day's figure is a guess: a start writes more than an hour of work. */
const MIN_WINDOW_MS = HOUR_MS;

export type WriteKind =
  | 'outbox'
  | 'boot'
  | 'receipt'
  | 'parked'
  | 'identity'
  | 'raw'
  | 'status'
  | 'other';

export interface WriteCount {
  /** As they were handed to the system. */
  readonly bytes: number;
  /** 4 KiB pages of the card, by the model above. */
  readonly pages: number;
  readonly syncs: number;
}

export interface WriteStatus extends WriteCount {
  /** Bytes of pages a day, over the last 24 hours or since the start; null in the first hour. */
  readonly bytesPerDay: number | null;
  readonly budgetBytesPerDay: number;
  readonly kinds: Readonly<Partial<Record<WriteKind, WriteCount>>>;
}

export class WriteMeter {
  readonly #clock: Clock;
  readonly #budget: number;
  readonly #startMs: number;
  readonly #kinds = new Map<WriteKind, WriteCount>();
  /** Pages by hour since the start, the last 24. */
  readonly #hours = new Map<number, number>();

  constructor(options: { readonly clock: Clock; readonly budgetBytesPerDay: number }) {
    this.#clock = options.clock;
    this.#budget = options.budgetBytesPerDay;
    this.#startMs = options.clock.monotonicMs();
  }

  count(kind: WriteKind, { bytes = 0, pages = 0, syncs = 0 }: Partial<WriteCount>): void {
    const before = this.#kinds.get(kind) ?? { bytes: 0, pages: 0, syncs: 0 };
    this.#kinds.set(kind, {
      bytes: before.bytes + bytes,
      pages: before.pages + pages,
      syncs: before.syncs + syncs,
    });
    const hour = Math.floor((this.#clock.monotonicMs() - this.#startMs) / HOUR_MS);
    this.#hours.set(hour, (this.#hours.get(hour) ?? 0) + pages);
    for (const old of this.#hours.keys()) if (old < hour - 24) this.#hours.delete(old);
  }

  status(): WriteStatus {
    const total = { bytes: 0, pages: 0, syncs: 0 };
    for (const { bytes, pages, syncs } of this.#kinds.values()) {
      total.bytes += bytes;
      total.pages += pages;
      total.syncs += syncs;
    }
    return {
      ...total,
      bytesPerDay: this.#bytesPerDay(),
      budgetBytesPerDay: this.#budget,
      kinds: Object.fromEntries(this.#kinds),
    };
  }

  /** Of whole hours and the one that runs, up to a day back. */
  #bytesPerDay(): number | null {
    const ranMs = this.#clock.monotonicMs() - this.#startMs;
    if (ranMs < MIN_WINDOW_MS) return null;
    const hour = Math.floor(ranMs / HOUR_MS);
    const firstHour = Math.max(0, hour - 23);
    let pages = 0;
    for (const [at, count] of this.#hours) if (at >= firstHour) pages += count;
    return Math.round((pages * PAGE_BYTES * DAY_MS) / (ranMs - firstHour * HOUR_MS));
  }
}

/**
 * A disk that counts.
 *
 * @param kindOf - which kind a file is; undefined for what does not lie on the card.
 */
export function meteredDisk(
  disk: Disk,
  meter: WriteMeter,
  kindOf: (path: string) => WriteKind | undefined,
): Disk {
  const noteSync = (path: string): void => {
    const kind = kindOf(path);
    if (kind !== undefined) meter.count(kind, { pages: SYNC_PAGES, syncs: 1 });
  };
  return {
    readFile: (path) => disk.readFile(path),
    readdir: (path) => disk.readdir(path),
    stat: (path) => disk.stat(path),
    makeFolder: (path) => disk.makeFolder(path),
    rename: (from, to) => disk.rename(from, to),
    open: async (path, flags, mode) => {
      const file = await disk.open(path, flags, mode);
      const kind = kindOf(path);
      return kind === undefined || flags === 'r' ? file : meteredFile(file, meter, kind);
    },
    remove: async (path) => {
      await disk.remove(path);
      const kind = kindOf(path);
      if (kind !== undefined) meter.count(kind, { pages: 1 });
    },
    syncFolder: async (path) => {
      await disk.syncFolder(path);
      noteSync(path);
    },
  };
}

/** Which kind a file of the data folder is. */
export function writeKinds(
  dataDir: string,
  memoryFolder: string | undefined,
): (path: string) => WriteKind | undefined {
  const state = join(dataDir, 'state');
  const folders: readonly [string, WriteKind][] = [
    [join(state, 'outbox'), 'outbox'],
    [join(state, 'parked'), 'parked'],
    [join(state, 'raw'), 'raw'],
  ];
  return (path) => {
    if (memoryFolder !== undefined && isIn(path, memoryFolder)) return undefined;
    const found = folders.find(([folder]) => isIn(path, folder));
    if (found !== undefined) return found[1];
    const name = basename(path);
    if (name.startsWith('boot')) return 'boot';
    if (name.startsWith('receipt')) return 'receipt';
    if (name.startsWith('status.json')) return 'status';
    if (dirname(path) === dataDir || /^(credential|descriptor|place|state$)/.test(name)) {
      return 'identity';
    }
    return 'other';
  };
}

function isIn(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder + sep);
}

function meteredFile(file: DiskFile, meter: WriteMeter, kind: WriteKind): DiskFile {
  const dirty = new Set<number>();
  const flush = (extra: { readonly pages: number; readonly syncs: number }): void => {
    if (dirty.size === 0) return;
    meter.count(kind, { pages: dirty.size + extra.pages, syncs: extra.syncs });
    dirty.clear();
  };
  return {
    read: (...args) => file.read(...args),
    write: async (bytes, offset, length, position) => {
      const result = await file.write(bytes, offset, length, position);
      meter.count(kind, { bytes: result.bytesWritten });
      const last = position + result.bytesWritten - 1;
      for (let at = position; at <= last; at += PAGE_BYTES) dirty.add(Math.floor(at / PAGE_BYTES));
      if (result.bytesWritten > 0) dirty.add(Math.floor(last / PAGE_BYTES));
      return result;
    },
    truncate: async (length) => {
      await file.truncate(length);
      dirty.add(Math.floor(length / PAGE_BYTES));
    },
    stat: () => file.stat(),
    sync: async () => {
      await file.sync();
      flush({ pages: SYNC_PAGES, syncs: 1 });
    },
    datasync: async () => {
      await file.datasync();
      flush({ pages: SYNC_PAGES, syncs: 1 });
    },
    close: async () => {
      await file.close();
      flush({ pages: 1, syncs: 0 });
    },
  };
}
