/**
 * A disk in memory that loses power, or fails, at the operation that a test chooses. It models what a file system
 * promises and nothing more:
 *
 * - Bytes that were written and not synced survive page by page, or not, or in part (torn), in any order.
 * - Names that were made, moved or removed and whose folder was not synced survive up to some point in their order.
 * - A sync that fails leaves the system believing that its pages are clean: later syncs do not write them.
 * - A write that fails may have written its first half. What lies below a folder of `volatile` is gone with the power.
 */

import { dirname } from 'node:path';
import type { Disk, DiskFile } from '@fieldproof/device-agent/disk';

const PAGE = 4096;

type Change =
  | { readonly type: 'write'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly type: 'truncate'; readonly length: number };

interface Inode {
  live: Uint8Array;
  durable: Uint8Array;
  unsynced: Change[];
}

type NameChange =
  | { readonly type: 'put'; readonly path: string; readonly inode: Inode }
  | { readonly type: 'remove'; readonly path: string }
  | { readonly type: 'move'; readonly from: string; readonly to: string };

/** What a test makes of operation `at`, counted from 1. */
export type Plan = (at: number, what: string) => 'pass' | 'cut' | 'EIO' | 'ENOSPC' | 'EROFS';

export class FragileDisk implements Disk {
  plan: Plan = () => 'pass';
  /** Changing operations so far. */
  operations = 0;
  #isDead = false;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #folders = new Set<string>();
  readonly #nameChanges = new Map<string, NameChange[]>();
  readonly #volatile: string;
  readonly #isVolatileCounted: boolean;

  /** @param options.isVolatileCounted - whether operations below `volatile` are numbered too, for the death of a process. */
  constructor(options: { readonly volatile?: string; readonly isVolatileCounted?: boolean } = {}) {
    this.#volatile = options.volatile ?? '/run/';
    this.#isVolatileCounted = options.isVolatileCounted ?? false;
  }

  /** What is there when the power comes back. @param chance - numbers from 0 to below 1. */
  afterPowerCut(chance: () => number): FragileDisk {
    const after = new FragileDisk({ volatile: this.#volatile });
    const names = new Map(this.#durableNames);
    for (const changes of this.#nameChanges.values()) {
      const survive = Math.floor(chance() * (changes.length + 1));
      for (const change of changes.slice(0, survive)) applyName(names, change);
    }
    const seen = new Map<Inode, Uint8Array>();
    for (const [path, inode] of names) {
      if (path.startsWith(this.#volatile)) continue;
      const bytes = seen.get(inode) ?? survivingBytes(inode, chance);
      seen.set(inode, bytes);
      after.put(path, bytes);
    }
    for (const folder of this.#folders) {
      if (!folder.startsWith(this.#volatile)) after.#folders.add(folder);
    }
    return after;
  }

  /** What is there after the death of the process alone. */
  afterKill(): FragileDisk {
    const after = new FragileDisk({ volatile: this.#volatile });
    after.#folders = new Set(this.#folders);
    for (const [path, { live }] of this.#names) after.put(path, live);
    return after;
  }

  put(path: string, bytes: Uint8Array): void {
    const inode = { live: bytes.slice(), durable: bytes.slice(), unsynced: [] };
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  async open(path: string, flags: string): Promise<DiskFile> {
    let inode = this.#names.get(path);
    if (inode === undefined && (flags === 'r' || flags === 'r+')) throw failure('ENOENT', path);
    if (inode !== undefined && flags === 'wx') throw failure('EEXIST', path);
    if (inode === undefined) {
      this.#pass(`create ${path}`);
      inode = { live: new Uint8Array(0), durable: new Uint8Array(0), unsynced: [] };
      this.#rename({ type: 'put', path, inode });
    } else if (flags === 'w+') {
      this.#pass(`truncate ${path}`);
      truncate(inode, 0);
    }
    return this.#file(path, inode);
  }

  async readFile(path: string): Promise<Uint8Array> {
    this.#alive();
    const inode = this.#names.get(path);
    if (inode === undefined) throw failure('ENOENT', path);
    return inode.live.slice();
  }

  async readdir(path: string): Promise<string[]> {
    this.#alive();
    if (!this.#folders.has(path)) throw failure('ENOENT', path);
    const inside = this.paths().filter((each) => each.startsWith(`${path}/`));
    return [...new Set(inside.map((each) => each.slice(path.length + 1).split('/')[0]!))];
  }

  async stat(path: string): Promise<{ size: number; mtimeMs: number }> {
    this.#alive();
    const inode = this.#names.get(path);
    if (inode === undefined && !this.#folders.has(path)) throw failure('ENOENT', path);
    return { size: inode?.live.length ?? 0, mtimeMs: 0 };
  }

  async makeFolder(path: string): Promise<void> {
    this.#alive();
    for (let at = path; at !== '/' && at !== '.'; at = dirname(at)) this.#folders.add(at);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#pass(`rename ${to}`);
    if (!this.#names.has(from)) throw failure('ENOENT', from);
    this.#rename({ type: 'move', from, to });
  }

  async remove(path: string): Promise<void> {
    this.#pass(`remove ${path}`);
    for (const name of this.paths()) {
      if (name !== path && !name.startsWith(`${path}/`)) continue;
      this.#rename({ type: 'remove', path: name });
    }
  }

  async syncFolder(path: string): Promise<void> {
    this.#pass(`syncFolder ${path}`);
    for (const change of this.#nameChanges.get(path) ?? []) applyName(this.#durableNames, change);
    this.#nameChanges.delete(path);
  }

  #file(path: string, inode: Inode): DiskFile {
    const sync = async (): Promise<void> => {
      const fate = this.#fate(`sync ${path}`);
      const dirty = inode.unsynced;
      inode.unsynced = [];
      if (fate !== 'pass') throw failure(fate, path);
      for (const change of dirty) inode.durable = applied(inode.durable, change);
    };
    return {
      read: async (buffer, offset, length, position) => {
        this.#alive();
        const part = inode.live.subarray(position, position + length);
        buffer.set(part, offset);
        return { bytesRead: part.length };
      },
      write: async (bytes, offset, length, position) => {
        const fate = this.#fate(`write ${path}`);
        const count = fate === 'pass' ? length : length >> 1;
        for (let done = 0; done < count; ) {
          const at = position + done;
          const size = Math.min(count - done, PAGE - (at % PAGE));
          const part = bytes.slice(offset + done, offset + done + size);
          const change: Change = { type: 'write', at, bytes: part };
          inode.live = applied(inode.live, change);
          inode.unsynced.push(change);
          done += size;
        }
        if (fate !== 'pass') throw failure(fate, path);
        return { bytesWritten: length };
      },
      truncate: async (length) => {
        this.#pass(`truncate ${path}`);
        truncate(inode, length);
      },
      stat: async () => ({ size: inode.live.length }),
      sync,
      datasync: sync,
      close: async () => {},
    };
  }

  #rename(change: NameChange): void {
    applyName(this.#names, change);
    const folder = dirname(change.type === 'move' ? change.to : change.path);
    const changes = this.#nameChanges.get(folder) ?? [];
    this.#nameChanges.set(folder, [...changes, change]);
  }

  #pass(what: string): void {
    const fate = this.#fate(what);
    if (fate !== 'pass') throw failure(fate, what);
  }

  /** A cut is an error for whoever is running; afterwards nothing works. */
  #fate(what: string): 'pass' | 'EIO' | 'ENOSPC' | 'EROFS' | 'CUT' {
    this.#alive();
    // The memory-backed folder has no card that could fail.
    if (!this.#isVolatileCounted && what.includes(` ${this.#volatile}`)) return 'pass';
    this.operations += 1;
    const fate = this.plan(this.operations, what);
    if (fate !== 'cut') return fate;
    this.#isDead = true;
    return 'CUT';
  }

  #alive(): void {
    if (this.#isDead) throw failure('CUT', 'power');
  }
}

function truncate(inode: Inode, length: number): void {
  const change: Change = { type: 'truncate', length };
  inode.live = applied(inode.live, change);
  inode.unsynced.push(change);
}

function applied(bytes: Uint8Array, change: Change): Uint8Array {
  if (change.type === 'truncate') {
    const cut = new Uint8Array(change.length);
    cut.set(bytes.subarray(0, change.length));
    return cut;
  }
  const longer = new Uint8Array(Math.max(bytes.length, change.at + change.bytes.length));
  longer.set(bytes);
  longer.set(change.bytes, change.at);
  return longer;
}

function survivingBytes({ durable, unsynced }: Inode, chance: () => number): Uint8Array {
  let bytes = durable;
  for (const change of unsynced) {
    const fate = chance();
    if (fate < 0.4) continue;
    if (fate < 0.7 || change.type === 'truncate') bytes = applied(bytes, change);
    else {
      const torn = change.bytes.subarray(0, Math.floor(chance() * change.bytes.length));
      bytes = applied(bytes, { ...change, bytes: torn });
    }
  }
  return bytes;
}

function applyName(names: Map<string, Inode>, change: NameChange): void {
  if (change.type === 'put') names.set(change.path, change.inode);
  else if (change.type === 'remove') names.delete(change.path);
  else {
    const inode = names.get(change.from);
    if (inode === undefined) return;
    names.delete(change.from);
    names.set(change.to, inode);
  }
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
