/**
 * The network descriptor of a running broker: what it says, what the next one would say, and how that comes into force
 * without a restart. docs/spec/identity.md section 2.
 *
 * The order of an install: `descriptor.cose`; the `network` entry, and with it the key of registry entries; a checkpoint
 * under the key in force; everything else that is signed; the names of the key files. A start after any of these steps goes
 * on from there.
 */

import { join } from 'node:path';
import { equalBytes } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import type { Descriptor, RoleName } from '@fieldproof/protocol/statements';
import {
  type DescriptorContent,
  type LoadedDescriptor,
  openSigned,
  RENEW_BEFORE_MS,
} from './descriptor.ts';
import { descriptorChanges } from './descriptor-changes.ts';
import {
  checkNewer,
  DEFAULT_DAYS,
  draftDescriptor,
  refused,
  signDraft,
} from './descriptor-draft.ts';
import { keysSince, noteDescriptor } from './descriptor-log.ts';
import type { Evidence } from './gate/evidence.ts';
import type { KeyFileLayer } from './key-file-layer.ts';
import { compromisedRoles, dropNextKey, finishRotations, prepareNextKey } from './key-rotation.ts';
import { keyInForce, loadKeys, type NetworkKeys, ownKeyInForce, ROLES, readRoot } from './keys.ts';
import type { Logger } from './log.ts';
import type { Registry } from './registry/registry.ts';
import type { RoleSigners } from './role-signers.ts';

export interface DescriptorDeskOptions {
  readonly dataDir: string;
  /** What the descriptor should say of this broker. */
  readonly content: DescriptorContent;
  /** The one in force. */
  readonly loaded: Pick<LoadedDescriptor, 'descriptor' | 'envelope'>;
  readonly signers: RoleSigners;
  readonly evidence: Pick<Evidence, 'append'> & { publish(): Promise<void> };
  readonly registry: Registry;
  readonly files: KeyFileLayer;
  readonly random: (bytes: number) => Uint8Array;
  readonly now: () => number;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly onInstalled?: (descriptor: Descriptor) => void;
}

/** A role key, for operators. */
export interface ShownKey {
  readonly role: RoleName;
  /** `z6Mk…` */
  readonly key: string;
  /** Unix ms; null when it is not known any more. */
  readonly since: number | null;
  /** Whether its seed is in the data folder. */
  readonly here: boolean;
  /** The key that waits to replace it. */
  readonly next: string | null;
  readonly compromised: boolean;
}

export interface DescriptorState {
  readonly version: number;
  readonly issued: number;
  readonly expires: number;
  /** Whether the root key is in the data folder. */
  readonly rootHere: boolean;
  /** What it should say instead. */
  readonly changes: readonly string[];
  /** Why an operator should act; null while nothing is to be done. */
  readonly problem: string | null;
}

export class DescriptorDesk {
  readonly #options: DescriptorDeskOptions;
  #current: Pick<LoadedDescriptor, 'descriptor' | 'envelope'>;
  #changes: readonly string[];
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: DescriptorDeskOptions) {
    this.#options = options;
    this.#current = options.loaded;
    this.#changes = this.#findChanges();
  }

  /** The one in force, as it is served. */
  get current(): Pick<LoadedDescriptor, 'descriptor' | 'envelope'> {
    return this.#current;
  }

  /** What operators should know of it. */
  state(): DescriptorState {
    const { now, dataDir } = this.#options;
    const { descriptor } = this.#current;
    const rootHere = readRoot(dataDir) !== null;
    const changes = this.#findChanges();
    const { version, issued, expires } = descriptor;
    const problem = descriptorProblem({ descriptor, changes, now: now() });
    return { version, issued, expires, rootHere, changes, problem };
  }

  /** What it should say instead, as of the last start or change: keys that wait, addresses. */
  get changes(): readonly string[] {
    return this.#changes;
  }

  /** The next one, unsigned. */
  draft(): Descriptor {
    const { content, dataDir, now } = this.#options;
    const before = this.#current.descriptor;
    const compromised = compromisedRoles(dataDir);
    return draftDescriptor(this.#keys(), { content, before, compromised, now: now() });
  }

  async keys(): Promise<readonly ShownKey[]> {
    const { registry, dataDir } = this.#options;
    const since = await keysSince(registry);
    const named = this.#current.descriptor.keys;
    const { next } = this.#keys();
    const compromised = compromisedRoles(dataDir);
    return ROLES.map((role) => {
      const key = deviceIdFromPublicKey(named[role]);
      const waiting = next[role];
      return {
        role,
        key,
        since: since[key] ?? null,
        here: keyInForce(dataDir, role, named)?.signer != null,
        next: waiting === undefined ? null : deviceIdFromPublicKey(waiting.publicKey),
        compromised: compromised.includes(role),
      };
    });
  }

  /**
   * Prepares the key that replaces a role's, and takes it into force at once where the root key is at hand.
   *
   * @returns whether it is in force; else a draft of the descriptor that names it is to be signed.
   * @throws {BrokerError} ERR_KEY_FILE, ERR_REQUEST, ERR_LOG_FULL.
   */
  rotate(
    role: RoleName,
    how: { readonly isCompromised: boolean; readonly publicKey?: Uint8Array },
  ): Promise<{ readonly key: string; readonly installed: boolean; readonly version: number }> {
    return this.#inTurn(async () => {
      const { dataDir, random, files, now } = this.#options;
      const { publicKey } = prepareNextKey(dataDir, role, { ...how, random, files });
      const key = deviceIdFromPublicKey(publicKey);
      const root = readRoot(dataDir);
      const draft = this.draft();
      if (root === null) return { key, installed: false, version: draft.version };
      const current = this.#current.descriptor;
      const { envelope } = signDraft(draft, { root, days: DEFAULT_DAYS, now: now(), current });
      const { version } = await this.#install(envelope);
      return { key, installed: true, version };
    });
  }

  /**
   * Signs the next one and takes it into force, because the present one ends.
   *
   * @returns false when the root key is not at hand.
   * @throws {BrokerError} ERR_KEY_FILE, ERR_LOG_FULL.
   */
  renew(): Promise<boolean> {
    return this.#inTurn(async () => {
      const { dataDir, now } = this.#options;
      const root = readRoot(dataDir);
      if (root === null) return false;
      const current = this.#current.descriptor;
      const signing = { root, days: DEFAULT_DAYS, now: now(), current };
      await this.#install(signDraft(this.draft(), signing).envelope);
      return true;
    });
  }

  /** Gives a key up that waits. @returns false when none does. */
  cancel(role: RoleName): Promise<boolean> {
    const { dataDir, files } = this.#options;
    return this.#inTurn(async () => dropNextKey(dataDir, role, files));
  }

  /**
   * Takes a signed descriptor into force. The one in force again changes nothing.
   *
   * @throws {BrokerError} ERR_DESCRIPTOR_REFUSED; ERR_LOG_FULL, with everything as before.
   */
  install(envelope: Uint8Array): Promise<Descriptor> {
    return this.#inTurn(() => this.#install(envelope));
  }

  async #install(envelope: Uint8Array): Promise<Descriptor> {
    const { dataDir, signers, evidence, registry, files, now, log } = this.#options;
    const before = this.#current;
    if (equalBytes(envelope, before.envelope)) return before.descriptor;
    const descriptor = openSigned(envelope, this.#keys());
    checkNewer(descriptor, before.descriptor);
    checkInstallable(descriptor, { dataDir, now: now() });
    const keys = {
      registry: ownKeyInForce(dataDir, 'registry', descriptor.keys),
      log: ownKeyInForce(dataDir, 'log', descriptor.keys),
    };
    const path = join(dataDir, 'descriptor.cose');
    files.replace(path, envelope, 0o644);
    const at = now();
    // In the same turn: entries that come behind it are under the key that it names.
    const appended = evidence.append({ type: 'network', at, descriptor: envelope });
    const takeBack = signers.switchStatements(keys.registry);
    let index: number;
    try {
      ({ index } = await appended);
    } catch (error) {
      takeBack();
      try {
        files.replace(path, before.envelope, 0o644);
      } catch (cause) {
        log.error(
          { err: cause },
          'descriptor.cose: not put back; the next start takes the new one',
        );
      }
      throw error;
    }
    if (!equalBytes(before.descriptor.keys.log, descriptor.keys.log)) {
      const isCompromised = isCompromisedIn(descriptor, before.descriptor.keys.log);
      signers.switchCheckpoints(index, { log: keys.log, isCompromised });
      // Whoever sees the new descriptor finds no checkpoint without its key.
      await evidence
        .publish()
        .catch((error: unknown) => log.warn({ err: error }, 'checkpoint: published later'));
    }
    signers.switchTo(keys);
    this.#current = { descriptor, envelope };
    const changes = descriptorChanges(before.descriptor, descriptor);
    log.info({ version: descriptor.version, index, changes }, 'descriptor: a new one is in force');
    this.#options.onInstalled?.(descriptor);
    try {
      finishRotations(dataDir, descriptor.keys, files);
      await noteDescriptor(descriptor, { registry, at });
    } catch (error) {
      log.error({ err: error }, 'descriptor: in force; the next start ends its installation');
    }
    return descriptor;
  }

  #findChanges(): readonly string[] {
    const { version, issued, expires, ...said } = this.draft();
    return descriptorChanges(this.#current.descriptor, said);
  }

  #keys(): NetworkKeys {
    const { dataDir, random } = this.#options;
    return loadKeys(dataDir, random);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn
      .catch(() => {})
      .then(() => {
        this.#changes = this.#findChanges();
      })
      .catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'descriptor: what it should say is not known');
      });
    return turn;
  }
}

/** Whether a descriptor says of a key that it is in wrong hands. */
export function isCompromisedIn({ compromised }: Descriptor, key: Uint8Array): boolean {
  return compromised?.some((each) => equalBytes(each, key)) ?? false;
}

/** Why an operator should have a new one signed; null while nothing is to be done. */
export function descriptorProblem(context: {
  readonly descriptor: Descriptor;
  readonly changes: readonly string[];
  readonly now: number;
}): string | null {
  const { descriptor, changes, now } = context;
  const { expires, version } = descriptor;
  const end = new Date(expires).toISOString();
  if (expires <= now) return `descriptor ${version}: ended on ${end}; devices refuse it`;
  if (changes.length > 0) return `descriptor ${version}: should say ${changes.join('; ')}`;
  if (expires - now <= RENEW_BEFORE_MS) return `descriptor ${version}: ends on ${end}`;
  return null;
}

/**
 * Whether a data folder can follow a descriptor.
 *
 * @throws {BrokerError} ERR_DESCRIPTOR_REFUSED when it has ended, or names a role key that is not here.
 */
export function checkInstallable(
  descriptor: Descriptor,
  { dataDir, now }: { readonly dataDir: string; readonly now: number },
): void {
  if (descriptor.expires <= now) {
    throw refused(
      `expires: expected later than now, got ${new Date(descriptor.expires).toISOString()}`,
    );
  }
  for (const role of ROLES) {
    if (keyInForce(dataDir, role, descriptor.keys) !== undefined) continue;
    const id = deviceIdFromPublicKey(descriptor.keys[role]);
    throw refused(`keys.${role}: expected a key of this data folder, got ${id}`);
  }
}
