/**
 * What was issued to devices, by whom and when, and what they reported: a file of JSON lines that only grows
 * (docs/spec/remote-config.md section 5). A line is durable before anything follows from it. A torn last line is cut off,
 * which is said; lines in the middle that cannot be read are passed over, which is said too.
 */
import { type FileHandle, open, readFile } from 'node:fs/promises';

/** A desired state that was issued. */
export interface IssuedRecord {
  readonly type: 'issued';
  readonly device: string;
  readonly version: number;
  /** Unix ms. */
  readonly atMs: number;
  readonly expiresMs: number;
  /** Name of the token. */
  readonly by: string;
  /** Hex. */
  readonly id: string;
  readonly digest: string;
  /** The payload as it is signed, base64url. */
  readonly payload: string;
}

/** What a device reported of one of them, or states in a birth. */
export interface ReportedRecord {
  readonly type: 'reported';
  readonly device: string;
  readonly version: number;
  readonly digest: string;
  /** When the broker received it, Unix ms. */
  readonly atMs: number;
  /** Index in the evidence log. */
  readonly entry: number;
  readonly outcome: 'applied' | 'refused' | 'rolled-back' | 'expired';
  readonly code: string | null;
  readonly reasons: readonly string[];
  readonly more: number;
  /** Version in force after it. */
  readonly inForce: number;
}

export type HistoryRecord = IssuedRecord | ReportedRecord;

export interface OpenedHistory {
  readonly history: ConfigHistory;
  readonly records: readonly HistoryRecord[];
  /** What was wrong with the file. */
  readonly problems: readonly string[];
}

export class ConfigHistory {
  readonly #file: FileHandle;
  #end: number;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(file: FileHandle, end: number) {
    this.#file = file;
    this.#end = end;
  }

  /** Opens the file of `path`, which is made when missing. @throws the file system's error. */
  static async open(path: string): Promise<OpenedHistory> {
    const file = await open(path, 'a', 0o600);
    await file.close();
    const bytes = await readFile(path);
    const problems: string[] = [];
    const end = bytes.lastIndexOf(0x0a) + 1;
    if (end < bytes.length) problems.push(`${path}: a torn last line was cut off`);
    const lines = bytes.subarray(0, end).toString('utf8').split('\n').slice(0, -1);
    const records = lines.flatMap((line, at) => {
      const record = readRecord(line);
      if (record === undefined) problems.push(`${path}: line ${at + 1} cannot be read`);
      return record ?? [];
    });
    const handle = await open(path, 'r+');
    if (end < bytes.length) await handle.truncate(end);
    return { history: new ConfigHistory(handle, end), records, problems };
  }

  /** Resolves when the record is durable. @throws the file system's error; the file then ends where it did. */
  append(record: HistoryRecord): Promise<void> {
    const work = this.#queue.then(async () => {
      const line = Buffer.from(`${JSON.stringify(record)}\n`);
      try {
        await this.#file.write(line, 0, line.length, this.#end);
        await this.#file.datasync();
        this.#end += line.length;
      } catch (error) {
        await this.#file.truncate(this.#end).catch(() => undefined);
        throw error;
      }
    });
    this.#queue = work.catch(() => undefined);
    return work;
  }

  async close(): Promise<void> {
    await this.#queue;
    await this.#file.close();
  }
}

function readRecord(line: string): HistoryRecord | undefined {
  try {
    const record = JSON.parse(line) as Partial<HistoryRecord> | null;
    if (typeof record?.device !== 'string' || typeof record.version !== 'number') return undefined;
    if (typeof record.digest !== 'string' || typeof record.atMs !== 'number') return undefined;
    if (record.type === 'issued' && typeof record.payload === 'string') {
      return record as IssuedRecord;
    }
    return record.type === 'reported' && Array.isArray(record.reasons)
      ? (record as ReportedRecord)
      : undefined;
  } catch {
    return undefined;
  }
}
