/**
 * A file system in memory that can be cut off from power: it knows which bytes and which names were synced, and
 * fails any operation that a test picks.
 */

import { dirname } from 'node:path';
import type { FileLayer, LogFile } from '@fieldproof/broker/evidence/file-layer';

interface Inode {
  live: Uint8Array;
  durable: Uint8Array;
}

export interface Operation {
  readonly name: 'write' | 'sync' | 'truncate' | 'rename' | 'open' | 'remove' | 'syncFolder';
  readonly path: string;
}

/** What becomes of an operation: undefined lets it pass; a number of a write's bytes are written before it fails. */
export type Fault = (operation: Operation) => { readonly written?: number } | undefined;

export class MemoryFiles implements FileLayer {
  /** Every operation that changes something, in order. */
  readonly operations: Operation[] = [];
  fault: Fault = () => undefined;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #locks = new Set<string>();

  /** What is there after a power cut: synced bytes under synced names, and of each file so much of the rest. */
  afterPowerCut(survives: (path: string, unsynced: number) => number = () => 0): MemoryFiles {
    const after = new MemoryFiles();
    for (const [path, { live, durable }] of this.#durableNames) {
      const extra = Math.max(live.length - durable.length, 0);
      const kept = live.length < durable.length ? durable : live.slice(0, durable.length);
      const bytes = Buffer.concat([
        extra > 0 ? durable : kept,
        live.subarray(durable.length, durable.length + survives(path, extra)),
      ]);
      after.put(path, Uint8Array.from(bytes));
    }
    return after;
  }

  /** A copy of what is there, as after the death of the process. */
  afterKill(): MemoryFiles {
    const after = new MemoryFiles();
    for (const [path, { live }] of this.#names) after.put(path, live.slice());
    return after;
  }

  put(path: string, bytes: Uint8Array): void {
    const inode = { live: bytes, durable: bytes };
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  get(path: string): Uint8Array {
    const inode = this.#names.get(path);
    if (inode === undefined) throw notFound(path);
    return inode.live;
  }

  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  async open(path: string, mode: 'read' | 'write'): Promise<LogFile> {
    await this.#pass({ name: 'open', path });
    let inode = this.#names.get(path);
    if (inode === undefined) {
      if (mode === 'read') throw notFound(path);
      inode = { live: new Uint8Array(0), durable: new Uint8Array(0) };
      this.#names.set(path, inode);
    }
    return this.#file(path, inode);
  }

  async readFile(path: string): Promise<Uint8Array | undefined> {
    return this.#names.get(path)?.live.slice();
  }

  async list(folder: string): Promise<string[]> {
    const inside = this.paths().filter((path) => path.startsWith(`${folder}/`));
    return [...new Set(inside.map((path) => path.slice(folder.length + 1).split('/')[0]!))];
  }

  async makeFolder(): Promise<void> {}

  async rename(from: string, to: string): Promise<void> {
    await this.#pass({ name: 'rename', path: to });
    const inode = this.#names.get(from);
    if (inode === undefined) throw notFound(from);
    this.#names.delete(from);
    this.#names.set(to, inode);
  }

  async remove(path: string): Promise<void> {
    await this.#pass({ name: 'remove', path });
    for (const name of this.paths()) {
      if (name === path || name.startsWith(`${path}/`)) this.#names.delete(name);
    }
  }

  async syncFolder(folder: string): Promise<void> {
    await this.#pass({ name: 'syncFolder', path: folder });
    for (const path of [...this.#durableNames.keys()]) {
      if (dirname(path) === folder && !this.#names.has(path)) this.#durableNames.delete(path);
    }
    for (const [path, inode] of this.#names) {
      if (dirname(path) === folder) this.#durableNames.set(path, inode);
    }
  }

  async lock(path: string): Promise<() => Promise<void>> {
    if (this.#locks.has(path)) throw new Error(`${path} is locked`);
    this.#locks.add(path);
    return async () => {
      this.#locks.delete(path);
    };
  }

  async #pass(operation: Operation): Promise<{ readonly written?: number } | undefined> {
    await new Promise((resolve) => setImmediate(resolve));
    this.operations.push(operation);
    const failed = this.fault(operation);
    if (failed !== undefined && operation.name !== 'write') throw full(operation);
    return failed;
  }

  #file(path: string, inode: Inode): LogFile {
    return {
      size: async () => inode.live.length,
      read: async (position, length) => inode.live.slice(position, position + length),
      write: async (position, bytes) => {
        const failed = await this.#pass({ name: 'write', path });
        const part = bytes.subarray(0, failed === undefined ? bytes.length : (failed.written ?? 0));
        const longer = new Uint8Array(Math.max(inode.live.length, position + part.length));
        longer.set(inode.live);
        longer.set(part, position);
        inode.live = longer;
        if (failed !== undefined) throw full({ name: 'write', path });
      },
      sync: async () => {
        await this.#pass({ name: 'sync', path });
        inode.durable = inode.live.slice();
      },
      truncate: async (length) => {
        await this.#pass({ name: 'truncate', path });
        const cut = new Uint8Array(length);
        cut.set(inode.live.subarray(0, length));
        inode.live = cut;
      },
      close: async () => {},
    };
  }
}

function full({ name, path }: Operation): Error {
  return Object.assign(new Error(`ENOSPC: no space left on device, ${name} '${path}'`), {
    code: 'ENOSPC',
  });
}

function notFound(path: string): Error {
  return Object.assign(new Error(`ENOENT: no such file or directory '${path}'`), {
    code: 'ENOENT',
  });
}
