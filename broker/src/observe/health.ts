/**
 * What is wrong with the broker now, as far as it can tell: for `/readyz`, `status` and support bundles. Each problem
 * has a code of the table and what to do about it.
 */

import { statfs } from 'node:fs/promises';
import { type BrokerErrorCode, remedyOf } from '../errors.ts';

/** `start`, `registry`, `disk` and `log` keep a broker from being ready; the others do not. */
export type Part = 'start' | 'registry' | 'disk' | 'log' | 'tls' | 'webhook';

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
/** How long the database may take. */
const DATABASE_MS = 3000;
const NEEDED: ReadonlySet<Part> = new Set<Part>(['start', 'registry', 'disk', 'log']);

export class Health {
  readonly #options: HealthOptions;
  #asked: Promise<readonly OpenProblem[]> | null = null;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** All that is wrong; what takes time to find out is as of the last second. Never rejects. */
  async problems(): Promise<readonly OpenProblem[]> {
    const { isReady, evidence, more, now } = this.#options;
    if (this.#asked === null || now() - this.#askedAt >= GOOD_FOR_MS) {
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

  async #registry(): Promise<readonly OpenProblem[]> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error('late')), DATABASE_MS);
      timer.unref();
    });
    try {
      await Promise.race([this.#options.askDatabase(), late]);
      return [];
    } catch {
      // What the driver says may name the server: the log has it.
      return [
        openProblem('registry', 'ERR_REGISTRY_DATABASE', 'registry: the database gives no answer'),
      ];
    } finally {
      clearTimeout(timer);
    }
  }

  async #disk(): Promise<readonly OpenProblem[]> {
    const { dataDir, minFreeBytes, freeBytes = freeBytesOf } = this.#options;
    if (minFreeBytes === 0) return [];
    const free = await freeBytes(dataDir).catch(() => null);
    if (free !== null && free >= minFreeBytes) return [];
    const found = free === null ? 'a folder that cannot be read' : `${free}`;
    const detail = `data folder: expected ${minFreeBytes} bytes free, got ${found}`;
    return [openProblem('disk', 'ERR_DISK_LOW', detail)];
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
