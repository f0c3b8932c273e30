/**
 * What is wrong with the broker now, as far as it can tell: for `/readyz`, `status` and support bundles. Each problem
 * has a code of the table and what to do about it.
 */

import { statfs } from 'node:fs/promises';
import { type BrokerErrorCode, remedyOf } from '../errors.ts';

/** `start`, `registry`, `disk`, `log` and `descriptor` keep a broker from being ready; the others do not. */
export type Part =
  | 'start'
  | 'registry'
  | 'disk'
  | 'log'
  | 'descriptor'
  | 'renewal'
  | 'change'
  | 'tls'
  | 'webhook';

export interface OpenProblem {
  readonly part: Part;
  readonly code: string;
  readonly detail: string;
  readonly remedy: string;
}

export interface HealthOptions {
  readonly isReady: () => boolean;
  /** Asks the registry's database something; rejects when there is no answer. */
  readonly askDatabase: () => Promise<unknown>;
  readonly dataDir: string;
  /** Free space below which the broker is not ready; 0: any will do. */
  readonly minFreeBytes: number;
  readonly evidence: {
    readonly problem: { readonly code: string; readonly message: string } | null;
  };
  /** What other parts have to say. */
  readonly more?: () => readonly OpenProblem[];
  readonly now: () => number;
  /** Bytes free where a folder is. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

/** Anybody may ask, so an answer is good for a while. */
const GOOD_FOR_MS = 1000;
/** How long the database and the disk may take. */
const ANSWER_MS = 3000;
const NEEDED: ReadonlySet<Part> = new Set<Part>(['start', 'registry', 'disk', 'log', 'descriptor']);
/** Told to anybody, as what they are about is public; the others, which may tell of a stolen key, are for operators. */
const PUBLIC: ReadonlySet<Part> = new Set<Part>(['renewal', 'tls']);

export class Health {
  readonly #options: HealthOptions;
  #asked: Promise<readonly OpenProblem[]> | null = null;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Questions without an answer: none is asked again before it has one, or a dead disk or database would collect them. */
  #database: Promise<unknown> | null = null;
  #free: Promise<number> | null = null;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** All that is wrong; what takes time to find out is as of the last second. Never rejects. */
  async problems(): Promise<readonly OpenProblem[]> {
    const { isReady, evidence, more, now } = this.#options;
    // Also when the clock was set back.
    if (this.#asked === null || Math.abs(now() - this.#askedAt) >= GOOD_FOR_MS) {
      this.#askedAt = now();
      this.#asked = Promise.all([this.#registry(), this.#disk()]).then((found) => found.flat());
    }
    const found = await this.#asked;
    const { problem } = evidence;
    return [
      ...(isReady() ? [] : [openProblem('start', 'ERR_NOT_READY', 'broker: starting or stopping')]),
      ...(problem === null ? [] : [openProblem('log', problem.code, problem.message)]),
      ...found,
      ...(more?.() ?? []),
    ];
  }

  /** Those of them that keep it from being ready. */
  async reasons(): Promise<readonly OpenProblem[]> {
    return (await this.problems()).filter(({ part }) => NEEDED.has(part));
  }

  /** Those that do not yet. */
  async warnings(): Promise<readonly OpenProblem[]> {
    return (await this.problems()).filter(({ part }) => PUBLIC.has(part));
  }

  async #registry(): Promise<readonly OpenProblem[]> {
    try {
      this.#database ??= this.#options.askDatabase().finally(() => {
        this.#database = null;
      });
      await inTime(this.#database);
      return [];
    } catch {
      // What the driver says may name the server: the log has it.
      return [
        openProblem('registry', 'ERR_REGISTRY_DATABASE', 'registry: the database gives no answer'),
      ];
    }
  }

  async #disk(): Promise<readonly OpenProblem[]> {
    const { dataDir, minFreeBytes, freeBytes = freeBytesOf } = this.#options;
    if (minFreeBytes === 0) return [];
    this.#free ??= freeBytes(dataDir).finally(() => {
      this.#free = null;
    });
    const free = await inTime(this.#free).catch(() => null);
    if (free !== null && free >= minFreeBytes) return [];
    const found = free === null ? 'a folder that cannot be read' : `${free}`;
    const detail = `data folder: expected ${minFreeBytes} bytes free, got ${found}`;
    return [openProblem('disk', 'ERR_DISK_LOW', detail)];
  }
}

/** What a promise gives, or a rejection when it takes too long. */
async function inTime<T>(asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('late')), ANSWER_MS);
    timer.unref();
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A problem with the remedy of its code. */
export function openProblem(
  part: Part,
  code: BrokerErrorCode | (string & {}),
  detail: string,
): OpenProblem {
  return { part, code, detail, remedy: remedyOf(code) };
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
