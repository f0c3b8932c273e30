/**
 * The delegations of a gateway's leaves, as they signed them, and the keys under which they have logged in: kept over
 * restarts. A delegation is filed with the network before anything is relayed under it.
 */

import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { type DelegationStatement, readDelegation } from '@fieldproof/protocol/delegation';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
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
const KEYS_SUFFIX = '.keys';
const KEY_BYTES = 32;
/** Keys of one leaf after its first; the oldest are forgotten. */
const MAX_KEYS = 8;

export class Delegations {
  readonly #folder: string;
  readonly #log: Log;
  readonly #leaves = new Map<string, NamedBy>();
  /** After the first, which is in the id; oldest first. */
  readonly #keys = new Map<string, readonly Uint8Array[]>();

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
        this.hold(statement);
        const keys = await readIfPresent(join(this.#folder, leaf + KEYS_SUFFIX));
        if (keys !== undefined) this.#keys.set(leaf, split(keys));
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
    this.hold(statement);
  }

  /** Holds a verified delegation for this run, until the network has said who its leaf is. */
  hold(statement: Uint8Array): void {
    const said = readDelegation(statement);
    const known = this.#leaves.get(said.leaf);
    if (known !== undefined && equalBytes(known.statement, statement)) return;
    this.#leaves.set(said.leaf, { statement, said, isFiled: false, problem: null });
  }

  /** Keys that were the leaf's at one of its logins, oldest first: what it has sealed before a rotation is under those. */
  keysOf(leaf: string): readonly Uint8Array[] {
    return [publicKeyFromDeviceId(leaf), ...(this.#keys.get(leaf) ?? [])];
  }

  /** Keeps the key of a login durably. */
  async keepKey(leaf: string, key: Uint8Array): Promise<void> {
    const known = this.keysOf(leaf);
    if (known.some((each) => equalBytes(each, key))) return;
    const keys = [...known.slice(1), key].slice(-MAX_KEYS);
    await replaceFile(join(this.#folder, leaf + KEYS_SUFFIX), new Uint8Array(Buffer.concat(keys)));
    this.#keys.set(leaf, keys);
  }

  /** Forgets a leaf that the network does not let this gateway relay for. */
  async forget(leaf: string): Promise<void> {
    this.#leaves.delete(leaf);
    this.#keys.delete(leaf);
    for (const suffix of [SUFFIX, KEYS_SUFFIX]) {
      await rm(join(this.#folder, leaf + suffix), { force: true });
    }
  }

  /** The network has refused what was relayed under it: it is filed anew, or with a reason over for good. */
  refused(leaf: string, problem: string | null): void {
    const named = this.#leaves.get(leaf);
    if (named === undefined) return;
    named.isFiled = false;
    named.problem = problem;
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
}

function split(bytes: Uint8Array): readonly Uint8Array[] {
  const count = Math.floor(bytes.length / KEY_BYTES);
  return Array.from({ length: count }, (_, at) =>
    bytes.slice(at * KEY_BYTES, (at + 1) * KEY_BYTES),
  );
}
