/**
 * Whether what gateways have carried was theirs to carry: the leaf had named each of them by then, as the registry
 * entries say. docs/spec/registry.md 8.3. The gateway's signature around an envelope is in its own entry, kind `relay`;
 * an envelope without one is counted, and no fault of the log: a broker may have been killed in between.
 */

import { createHash } from 'node:crypto';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { MAX_RELAY_BYTES, parseEnvelope } from '@fieldproof/protocol/envelope';
import type { Frame } from '@fieldproof/protocol/frame';
import type { EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { readRegistryAction } from '@fieldproof/protocol/registry-actions';
import {
  applyRegistryAction,
  type RegisteredDevice,
  relayProblem,
} from '@fieldproof/protocol/registry-device';
import { decodeRelay } from '@fieldproof/protocol/relay';
import { Check, type CheckResult } from './checks.ts';

type Naming = Pick<RegisteredDevice, 'delegation'>;

export class RelayChecks {
  readonly #named: Check;
  readonly #devices = new Map<string, RegisteredDevice>();
  /** What was so of a leaf before its last change, and when that came. */
  readonly #before = new Map<string, { readonly naming: Naming; readonly untilMs: number }>();
  /** Digests of relayed envelopes whose gateway's entry has not come. */
  readonly #unsigned = new Set<string>();

  constructor(maxExamples?: number) {
    this.#named = new Check(
      'relays',
      'every relayed envelope came through a gateway that its leaf had named',
      maxExamples,
    );
  }

  /** Relayed envelopes without the gateway's own entry around them. */
  get unsigned(): number {
    return this.#unsigned.size;
  }

  /** Takes in the next frame, decoded. */
  add({ index, body }: Frame, entry: EvidenceEntry): void {
    if (entry.type === 'registry') this.#addAction(index, entry);
    if (entry.type !== 'batch') return;
    if (entry.kind === 'relay') this.#addRelay(body);
    if (entry.gateway === null) return;
    this.#named.checked++;
    this.#unsigned.add(Buffer.from(entry.digest).toString('hex'));
    const leaf = deviceIdFromPublicKey(entry.device);
    const gateway = deviceIdFromPublicKey(entry.gateway);
    if (this.#mayRelay(leaf, gateway, entry.at)) return;
    this.#named.fail({ device: leaf, seq: entry.seq, index, detail: `not named: ${gateway}` });
  }

  result(): CheckResult {
    return this.#named.result();
  }

  #mayRelay(leaf: string, gateway: string, at: number): boolean {
    const device = this.#devices.get(leaf);
    const before = this.#before.get(leaf);
    if (device !== undefined && relayProblem(device, gateway, at) === null) return true;
    // It may have been received before a change that was logged first.
    return before !== undefined && at <= before.untilMs
      ? relayProblem(before.naming, gateway, at) === null
      : false;
  }

  #addAction(index: number, entry: Extract<EvidenceEntry, { readonly type: 'registry' }>): void {
    const { at, subject, statement } = entry;
    const device = this.#devices.get(subject) ?? null;
    let after: RegisteredDevice | null;
    try {
      after = applyRegistryAction(device, readRegistryAction(statement), { at, index });
    } catch {
      return;
    }
    if (after === null || after === device) return;
    this.#devices.set(subject, after);
    if (device === null || after.delegation === device.delegation) return;
    this.#before.set(subject, { naming: { delegation: device.delegation }, untilMs: at });
  }

  #addRelay(body: Uint8Array): void {
    try {
      const { envelope } = decodeRelay(parseEnvelope(body, MAX_RELAY_BYTES).payload);
      this.#unsigned.delete(createHash('sha256').update(envelope).digest('hex'));
    } catch {
      // An erased body says nothing.
    }
  }
}
