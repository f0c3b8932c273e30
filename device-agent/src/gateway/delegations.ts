/** The delegations of a gateway's leaves, as they signed them: kept over restarts, and filed with the network. */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type DelegationStatement, readDelegation } from '@fieldproof/protocol/delegation';
import { isDeviceIdText } from '@fieldproof/protocol/topics';
import { makeFolder, readIfPresent, removeLeftovers, replaceFile } from '../durable-file.ts';
import { reasonOf } from '../errors.ts';
import type { HttpAnswer } from '../http-call.ts';
import type { Log } from '../log.ts';

/** A leaf that has named this gateway. */
export interface NamedBy {
  readonly statement: Uint8Array;
  readonly said: DelegationStatement;
  /** Whether the network has it, as far as this run knows. */
  isFiled: boolean;
  /** Why the network does not take it: another one is newer, or it does not know the leaf. */
  problem: string | null;
}

const SUFFIX = '.cose';

export class Delegations {
  readonly #folder: string;
  readonly #log: Log;
  readonly #leaves = new Map<string, NamedBy>();

  constructor(options: { readonly folder: string; readonly log: Log }) {
    this.#folder = options.folder;
    this.#log = options.log;
  }

  /** Reads what earlier runs kept; they verified it. */
  async open(): Promise<void> {
    await makeFolder(this.#folder);
    await removeLeftovers(this.#folder);
    for (const name of await readdir(this.#folder)) {
      const leaf = name.slice(0, -SUFFIX.length);
      if (!name.endsWith(SUFFIX) || !isDeviceIdText(leaf)) continue;
      try {
        const statement = new Uint8Array((await readIfPresent(join(this.#folder, name)))!);
        this.#hold(statement);
      } catch (error) {
        this.#log.warn('kept delegation is damaged', { leaf, reason: reasonOf(error) });
      }
    }
  }

  get(leaf: string): NamedBy | undefined {
    return this.#leaves.get(leaf);
  }

  all(): ReadonlyMap<string, NamedBy> {
    return this.#leaves;
  }

  /** Keeps a verified delegation durably, in place of the leaf's last one. */
  async keep(statement: Uint8Array): Promise<void> {
    const { leaf } = readDelegation(statement);
    await replaceFile(join(this.#folder, leaf + SUFFIX), statement);
    this.#hold(statement);
  }

  /**
   * Files one with the network, unless it is.
   *
   * @param post - sends it to a path.
   * @returns whether the network has it now, or has said that it will not.
   * @throws {AgentError} ERR_AGENT_UNREACHABLE and what else `post` throws.
   */
  async file(
    leaf: string,
    post: (path: string, statement: Uint8Array) => Promise<HttpAnswer>,
  ): Promise<boolean> {
    const named = this.#leaves.get(leaf);
    if (named === undefined || named.isFiled) return true;
    const { status, problem } = await post(`/v1/devices/${leaf}/delegation`, named.statement);
    const fields = { leaf, reason: `${problem?.code ?? status} ${problem?.detail ?? ''}`.trim() };
    if (status >= 200 && status < 300) {
      named.isFiled = true;
      named.problem = null;
      this.#log.info('relays for a leaf', { leaf });
      return true;
    }
    if (status === 429 || status >= 500) {
      this.#log.warn('delegation not filed yet', fields);
      return false;
    }
    if (named.problem === null) this.#log.warn('the network does not let us relay', fields);
    named.problem = fields.reason;
    return true;
  }

  #hold(statement: Uint8Array): void {
    const said = readDelegation(statement);
    this.#leaves.set(said.leaf, { statement, said, isFiled: false, problem: null });
  }
}
