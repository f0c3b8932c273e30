/**
 * The role keys in force at every index of an evidence log, from its `network` entries and the root key alone.
 * docs/spec/identity.md section 2.5, evidence-log.md section 1.3. For whoever verifies old entries, checkpoints and receipts.
 */

import { equalBytes, toHex } from './bytes.ts';
import type { Verify } from './envelope.ts';
import { ProtocolError } from './errors.ts';
import { type NoteVerifier, noteVerifier } from './note-key.ts';
import { openRegistryAction, type RegistryAction, type UnknownAction } from './registry-actions.ts';
import { type Descriptor, openDescriptor } from './statements.ts';

export interface NetworkHistoryOptions {
  readonly network: string;
  /** The root key that devices pin, 32 bytes. */
  readonly rootKey: Uint8Array;
  readonly verify: Verify;
}

/** A descriptor and the entry by which it took effect. */
export interface DescriptorInForce {
  readonly index: number;
  /** The broker's time in the entry, Unix ms. */
  readonly at: number;
  readonly descriptor: Descriptor;
  /** As the root key signed it. */
  readonly envelope: Uint8Array;
}

export class NetworkHistory {
  readonly #options: NetworkHistoryOptions;
  readonly #versions: DescriptorInForce[] = [];

  constructor(options: NetworkHistoryOptions) {
    this.#options = options;
  }

  /** All of them, in the order of the log. A version that was logged twice is there once. */
  get versions(): readonly DescriptorInForce[] {
    return this.#versions;
  }

  /**
   * Takes the next `network` entry, in the order of the log.
   *
   * @throws {ProtocolError} ERR_SIGNATURE_INVALID when the root key has not signed it, ERR_NETWORK_MISMATCH,
   * ERR_DESCRIPTOR_VERSION when it is not newer than the one before, and the shapes' codes.
   */
  add(entry: {
    readonly index: number;
    readonly at: number;
    readonly descriptor: Uint8Array;
  }): Descriptor {
    const { network, rootKey: publicKey, verify } = this.#options;
    const descriptor = openDescriptor(entry.descriptor, { network, publicKey, verify });
    const last = this.#versions.at(-1);
    if (last !== undefined && entry.index <= last.index) {
      throw new ProtocolError(
        'ERR_ARGUMENT',
        `index: expected one above ${last.index}, got ${entry.index}`,
      );
    }
    // A broker that was killed while it logged a version logs it again.
    if (last !== undefined && equalBytes(last.envelope, entry.descriptor)) return last.descriptor;
    if (last !== undefined && descriptor.version <= last.descriptor.version) {
      throw new ProtocolError(
        'ERR_DESCRIPTOR_VERSION',
        `entry ${entry.index}: expected a version above ${last.descriptor.version}, got ${descriptor.version}`,
      );
    }
    const { index, at } = entry;
    this.#versions.push({ index, at, descriptor, envelope: entry.descriptor.slice() });
    return descriptor;
  }

  /**
   * The descriptor in force at an entry: that of the last `network` entry below it. Entry 0 is the first of them.
   *
   * @throws {ProtocolError} ERR_ARGUMENT when there is none yet.
   */
  at(index: number): DescriptorInForce {
    const found = this.#versions.findLast((version) => version.index < index);
    const inForce = found ?? (index === 0 ? this.#versions[0] : undefined);
    if (inForce !== undefined) return inForce;
    throw new ProtocolError('ERR_ARGUMENT', `index ${index}: no network entry below it`);
  }

  /** The key under which a checkpoint of a size verifies: "the `log` key in force at its size". */
  checkpointKey(size: number): NoteVerifier {
    const { keys, origins } = this.at(size).descriptor;
    return noteVerifier(origins.evidence, keys.log);
  }

  /**
   * The `log` keys under which a receipt may verify that names an entry: that in force there, and later ones, since a
   * receipt is signed after the entry it names. Those that a descriptor calls compromised are left out.
   */
  receiptKeys(entry: number): readonly Uint8Array[] {
    const from = this.#versions.indexOf(this.at(entry));
    const compromised = new Set(
      this.#versions.flatMap(({ descriptor }) => (descriptor.compromised ?? []).map(nameOf)),
    );
    const keys = new Map(
      this.#versions.slice(from).map(({ descriptor: { keys } }) => [nameOf(keys.log), keys.log]),
    );
    return [...keys].filter(([name]) => !compromised.has(name)).map(([, key]) => key);
  }

  /**
   * Opens the statement of a `registry` entry under the `registry` key in force at its index.
   *
   * @throws {ProtocolError} as `openRegistryAction`; ERR_MESSAGE_MALFORMED when it is about another action or subject than the entry says.
   */
  openRegistryEntry(entry: {
    readonly index: number;
    readonly action: string;
    readonly subject: string;
    readonly statement: Uint8Array;
  }): RegistryAction | UnknownAction {
    const { network, verify } = this.#options;
    const publicKey = this.at(entry.index).descriptor.keys.registry;
    const said = openRegistryAction(entry.statement, { network, publicKey, verify });
    const name = said.action === 'unknown' ? said.name : said.action;
    if (name === entry.action && said.subject === entry.subject) return said;
    throw new ProtocolError(
      'ERR_MESSAGE_MALFORMED',
      `entry ${entry.index}: expected a statement of ${entry.action}, got one of ${name}`,
    );
  }
}

function nameOf(key: Uint8Array): string {
  return toHex(key);
}
