/** What an audit found: checks with how much each looked at, what is wrong, and the first examples of it. */

export interface Violation {
  /** `z6Mk…`, where it is about a device. */
  readonly device?: string;
  /** Boot counter and seed in hex, `7-a1b2c3d4`. */
  readonly boot?: string;
  readonly seq?: number;
  /** Index in the evidence log. */
  readonly index?: number;
  /** What was expected and what was found. */
  readonly detail: string;
}

export interface CheckResult {
  /** Stable, for `--json`. */
  readonly name: string;
  /** The sentence that holds when there are no violations. */
  readonly claim: string;
  /** Things looked at; 0 means that nothing could be said. */
  readonly checked: number;
  readonly violations: number;
  /** The first of them. */
  readonly examples: readonly Violation[];
}

/** Examples kept of each check when nothing else is asked for. */
export const DEFAULT_EXAMPLES = 20;

/** Counts what one check sees. */
export class Check {
  readonly #name: string;
  readonly #claim: string;
  readonly #maxExamples: number;
  readonly #examples: Violation[] = [];
  #violations = 0;
  checked = 0;

  constructor(name: string, claim: string, maxExamples = DEFAULT_EXAMPLES) {
    this.#name = name;
    this.#claim = claim;
    this.#maxExamples = maxExamples;
  }

  /** Notes something that is wrong, `count` times over. */
  fail(violation: Violation, count = 1): void {
    this.#violations += count;
    if (this.#examples.length < this.#maxExamples) this.#examples.push(violation);
  }

  result(): CheckResult {
    return {
      name: this.#name,
      claim: this.#claim,
      checked: this.checked,
      violations: this.#violations,
      examples: this.#examples,
    };
  }
}
