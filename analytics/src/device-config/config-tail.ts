/**
 * Hears in the evidence what devices make of desired states: their births and `config-…` events. Begun with the first
 * state that is issued, so that a network without any pays nothing.
 *
 * The cursor says where to go on after a restart. It may be behind: what is heard twice changes nothing.
 */
import { readFile } from 'node:fs/promises';
import { decodeBatchEntry, isBatchEntry } from '@fieldproof/protocol/batch-entry';
import { configOfBirth, configReportOf } from '@fieldproof/protocol/config-report';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { CONTENT_TYPES, parseEnvelope } from '@fieldproof/protocol/envelope';
import { FieldproofError } from '@fieldproof/protocol/errors';
import type { Frame } from '@fieldproof/protocol/frame';
import { decodeBirth, decodeEvent } from '@fieldproof/protocol/messages';
import type { Logger } from 'pino';
import { entryHash, sleepMs, type TailSource, tail } from '../projection/tail-client.ts';
import { replaceFile } from '../replace-file.ts';
import type { ConfigDesk } from './config-desk.ts';

const SAVE_EVERY_MS = 30_000;
/** After a failure that does not pass by itself, such as a token that is refused. */
const AGAIN_MS = 60_000;

export interface ConfigTailOptions {
  readonly desk: ConfigDesk;
  readonly source: TailSource;
  /** File of the cursor. */
  readonly path: string;
  /** Where to begin when there is no cursor: the end of the log. */
  readonly end: () => Promise<number>;
  readonly clock: () => number;
  readonly log: Logger;
}

interface Cursor {
  readonly next: number;
  /** SHA-256 of the entry before, hex; null when it is not known. */
  readonly before: string | null;
}

export class ConfigTail {
  readonly #options: ConfigTailOptions;
  readonly #ends = new AbortController();
  #cursor: Cursor | undefined;
  #saved: Cursor | undefined;
  #savedMs = 0;
  #started: Promise<void> | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ConfigTailOptions) {
    this.#options = options;
  }

  /**
   * Begins to listen; again is harmless. Resolves when it is known from where on, so that what is issued afterwards cannot
   * be answered unheard.
   */
  start(): Promise<void> {
    this.#started ??= this.#begin();
    return this.#started;
  }

  async #begin(): Promise<void> {
    const { path, end, log } = this.#options;
    this.#cursor = (await loadCursor(path)) ?? {
      // Without a broker that says where the log ends, all of it is read: slow, and right.
      next: await end().catch(() => 0),
      before: null,
    };
    await this.#save().catch((err: unknown) => log.warn({ err }, 'desired states: cursor'));
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#ends.abort();
    await this.#started;
    await this.#running;
    await this.#save().catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { source, log } = this.#options;
    const { signal } = this.#ends;
    while (!signal.aborted) {
      const { next, before } = this.#cursor!;
      try {
        const from = { from: next, ...(before === null ? {} : { before }) };
        for await (const frames of tail({ ...source, ...from, signal })) await this.#hear(frames);
      } catch (err) {
        const code = err instanceof FieldproofError ? err.code : '';
        log.warn({ err }, 'desired states: the evidence log cannot be read');
        if (code === 'ERR_TAIL_RANGE' || code === 'ERR_TAIL_FORKED') {
          // Another log, or one that went back: read anew, what was heard before stays.
          this.#cursor = { next: 0, before: null };
          continue;
        }
      }
      if (!signal.aborted) await sleepMs(AGAIN_MS, signal);
    }
  }

  async #hear(frames: readonly Frame[]): Promise<void> {
    const { clock } = this.#options;
    for (const frame of frames) if (isHeard(frame)) await this.#hearOne(frame);
    const last = frames.at(-1);
    if (last === undefined) return;
    this.#cursor = { next: last.index + 1, before: entryHash(last) };
    if (clock() - this.#savedMs < SAVE_EVERY_MS) return;
    await this.#save();
  }

  async #hearOne({ entry, body, index }: Frame): Promise<void> {
    const { desk, log } = this.#options;
    try {
      const { kind, device: key, at: atMs } = decodeBatchEntry(entry);
      const device = deviceIdFromPublicKey(key);
      if (!desk.knows(device) || body[0] === 0) return;
      const { contentType, payload } = parseEnvelope(body);
      if (contentType !== CONTENT_TYPES.cbor) return;
      const where = { entry: index, atMs };
      if (kind === 'birth')
        return await desk.born(device, configOfBirth(decodeBirth(payload)), where);
      const report = configReportOf(decodeEvent(payload));
      if (report !== undefined) await desk.reported(device, report, where);
    } catch (err) {
      log.debug({ err, index }, 'desired states: an entry was passed over');
    }
  }

  async #save(): Promise<void> {
    const cursor = this.#cursor;
    if (cursor === undefined || cursor === this.#saved) return;
    this.#savedMs = this.#options.clock();
    await replaceFile(this.#options.path, `${JSON.stringify(cursor)}\n`);
    this.#saved = cursor;
  }
}

/** Most entries are telemetry: those cost no more than this. */
function isHeard({ entry }: Frame): boolean {
  if (!isBatchEntry(entry)) return false;
  try {
    const { kind } = decodeBatchEntry(entry);
    return kind === 'birth' || kind === 'event';
  } catch {
    return false;
  }
}

async function loadCursor(path: string): Promise<Cursor | undefined> {
  try {
    const { next, before } = JSON.parse(await readFile(path, 'utf8')) as Partial<Cursor>;
    if (!Number.isSafeInteger(next) || (next as number) < 0) return undefined;
    const isHash = typeof before === 'string' && /^[0-9a-f]{64}$/.test(before);
    return { next: next as number, before: isHash ? before : null };
  } catch {
    return undefined;
  }
}
