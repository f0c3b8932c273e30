/**
 * Sees to it that the network descriptor does not end unnoticed while the broker runs: it is signed anew where the root
 * key is at hand, else operators are told every day. docs/spec/identity.md 2.3: devices refuse one that has ended.
 */

import type { Descriptor } from '@fieldproof/protocol/statements';
import { descriptorProblem } from '../descriptor-desk.ts';
import { remedyOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { type Family, single } from './exposition.ts';
import { type OpenProblem, openProblem } from './health.ts';

export interface DescriptorWatchOptions {
  readonly descriptor: () => Descriptor;
  /** What it should say instead: keys that wait to replace those in it, addresses. */
  readonly changes: () => readonly string[];
  /** Signs and installs the next one. @returns false when the root key is not at hand. */
  readonly renew: () => Promise<boolean>;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly now: () => number;
}

const CODE = 'ERR_DESCRIPTOR_STALE';
const AGAIN_MS = 86_400_000;
const PREFIX = 'fieldproof_broker_descriptor_';

export class DescriptorWatch {
  readonly #options: DescriptorWatchOptions;
  #toldAt = Number.NEGATIVE_INFINITY;
  #isRenewing = false;

  constructor(options: DescriptorWatchOptions) {
    this.#options = options;
  }

  /** Never rejects. */
  async check(): Promise<void> {
    const { descriptor, changes, renew, now, log } = this.#options;
    const isEnding = () => descriptorProblems(descriptor(), { changes: [], now: now() }).length > 0;
    if (this.#isRenewing) return;
    this.#isRenewing = true;
    try {
      if (isEnding() && (await renew())) return;
    } catch (error) {
      log.error({ event: 'descriptor-not-renewed', err: error }, 'descriptor: not signed anew');
    } finally {
      this.#isRenewing = false;
    }
    const [problem] = descriptorProblems(descriptor(), { changes: changes(), now: now() });
    if (problem === undefined) return;
    // Also when the clock was set back.
    if (Math.abs(now() - this.#toldAt) < AGAIN_MS) return;
    this.#toldAt = now();
    const { detail } = problem;
    const fields = { event: 'descriptor-ends', code: CODE, detail, remedy: remedyOf(CODE) };
    if (problem.part === 'descriptor') log.error(fields, detail);
    else log.warn(fields, detail);
  }
}

/**
 * `descriptor` when it has ended, which keeps a broker from being ready; `change` when it should say something else;
 * `renewal` when it is time for another.
 */
export function descriptorProblems(
  descriptor: Descriptor,
  { changes, now }: { readonly changes: readonly string[]; readonly now: number },
): readonly OpenProblem[] {
  const detail = descriptorProblem({ descriptor, changes, now });
  if (detail === null) return [];
  if (descriptor.expires <= now) return [openProblem('descriptor', CODE, detail)];
  return [openProblem(changes.length > 0 ? 'change' : 'renewal', CODE, detail)];
}

export function descriptorFamilies({ expires, version }: Descriptor): readonly Family[] {
  return [
    single('gauge', `${PREFIX}expiry_timestamp_seconds`, {
      help: 'When the network descriptor ends, Unix time.',
      value: expires / 1000,
    }),
    single('gauge', `${PREFIX}version`, { help: 'Its version.', value: version }),
  ];
}
