/** Suspension, its end, and what its owner may say against it. docs/spec/registry.md section 4. */

import { openAppeal } from '@fieldproof/protocol/appeal';
import { publicKeyFromDidKey } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import {
  MAX_SUSPENSION_EVIDENCE,
  type RegistryAction,
} from '@fieldproof/protocol/registry-actions';
import { isSuspended } from '@fieldproof/protocol/registry-device';
import { BrokerError } from '../errors.ts';
import type { Nonces } from '../nonces.ts';
import { checkRequestLength, DAY_MS } from './desk.ts';
import { checkAppealText } from './device-fields.ts';
import type { Directory } from './directory.ts';
import { type EvidenceReader, requireEvidence } from './evidence-about.ts';
import type { Device } from './registry.ts';

export interface SuspensionOptions {
  readonly network: string;
  readonly directory: Directory;
  readonly evidence: EvidenceReader;
  readonly nonces: Nonces;
  /** How long appeals are heard; 0: not at all. */
  readonly appealDays: number;
  /** Ends the session of a device. */
  readonly disconnect: (deviceId: string) => void;
  readonly now: () => number;
}

/** An accusation. `until` is null or Unix ms. */
export interface SuspensionRequest {
  readonly reason: string;
  readonly kind: string;
  /** Indices of entries of the log. */
  readonly evidence: readonly number[];
  readonly until: number | null;
}

export interface RecordedAppeal {
  readonly device: string;
  readonly suspension: number;
  /** Index and time of the entry. */
  readonly appeal: number;
  readonly at: number;
}

export class SuspensionDesk {
  private readonly options: SuspensionOptions;

  constructor(options: SuspensionOptions) {
    this.options = options;
  }

  /**
   * Suspends a device and ends its session. A suspension before it is replaced: its appeal has no object any more.
   *
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_STANDING, ERR_REQUEST, ERR_EVIDENCE, ERR_INDEX_RANGE, ERR_LOG_FULL.
   */
  suspend(deviceId: string, request: SuspensionRequest): Promise<Device> {
    const { directory, evidence, appealDays, disconnect, now } = this.options;
    const { reason, kind, until } = request;
    return directory.inTurn(deviceId, async () => {
      if (directory.require(deviceId).status === 'unenrolled') {
        throw new BrokerError('ERR_STANDING', `device ${deviceId}: unenrolled`);
      }
      if (until !== null && until <= now()) {
        throw new BrokerError('ERR_REQUEST', 'until: expected a time to come');
      }
      const indices = [...new Set(request.evidence)].sort((a, b) => a - b);
      if (indices.length > MAX_SUSPENSION_EVIDENCE) {
        const message = `evidence: expected at most ${MAX_SUSPENSION_EVIDENCE} entries`;
        throw new BrokerError('ERR_REQUEST', message);
      }
      await requireEvidence(indices, { deviceId, kind, evidence });
      const device = await directory.record({
        action: 'suspend',
        subject: deviceId,
        reason,
        kind,
        evidence: indices,
        until,
        appealUntil: appealDays === 0 ? 0 : now() + appealDays * DAY_MS,
      });
      disconnect(deviceId);
      return device;
    });
  }

  /** @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_STANDING, ERR_LOG_FULL. */
  resume(deviceId: string, reason: string | undefined): Promise<Device> {
    const { directory, now } = this.options;
    return directory.inTurn(deviceId, async () => {
      if (!isSuspended(directory.require(deviceId), now())) {
        throw new BrokerError('ERR_STANDING', `device ${deviceId}: not suspended`);
      }
      const action: RegistryAction = { action: 'resume', subject: deviceId };
      return directory.record(reason === undefined ? action : { ...action, reason });
    });
  }

  /**
   * Records an owner's appeal.
   *
   * @param statement - COSE_Sign1 by the owner key.
   * @throws {ProtocolError} when it is malformed or its signature does not verify.
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_NONCE_INVALID, ERR_REQUEST, ERR_APPEAL_CLOSED,
   * ERR_LOG_FULL.
   */
  async appeal(statement: Uint8Array): Promise<RecordedAppeal> {
    const { network, directory, nonces } = this.options;
    checkRequestLength(statement);
    const ownerKey = (id: string) => publicKeyFromDidKey(directory.require(id).owner);
    const { device, nonce, text } = openAppeal(statement, { network, verify, ownerKey });
    checkAppealText(text);
    nonces.check(nonce);
    return directory.inTurn(device, async () => {
      // The owner may have changed while others had their turn.
      const { suspension } = openAppeal(statement, { network, verify, ownerKey });
      this.requireAppealable(directory.require(device), suspension);
      nonces.use(nonce);
      const action: RegistryAction = { action: 'appeal', subject: device, suspension, statement };
      const { index, at } = (await directory.record(action)).suspension!.appeal!;
      return { device, suspension, appeal: index, at };
    });
  }

  /** @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_STANDING, ERR_LOG_FULL. */
  decide(
    deviceId: string,
    { outcome, reason }: { readonly outcome: 'lifted' | 'upheld'; readonly reason: string },
  ): Promise<Device> {
    const { directory } = this.options;
    return directory.inTurn(deviceId, async () => {
      const { suspension } = directory.require(deviceId);
      const appeal = suspension?.appeal ?? null;
      if (appeal === null || suspension?.decision) {
        throw new BrokerError('ERR_STANDING', `device ${deviceId}: no appeal without a decision`);
      }
      const { index } = appeal;
      return directory.record({
        action: 'decision',
        subject: deviceId,
        appeal: index,
        outcome,
        reason,
      });
    });
  }

  /** "once for each suspension", "until appealUntil". */
  private requireAppealable({ suspension }: Device, index: number): void {
    if (suspension === null || suspension.index !== index) {
      const last = suspension === null ? 'there is none' : `the last one is ${suspension.index}`;
      throw new BrokerError('ERR_APPEAL_CLOSED', `suspension ${index}: ${last}`);
    }
    if (suspension.appeal !== null) {
      const { index: appeal } = suspension.appeal;
      throw new BrokerError(
        'ERR_APPEAL_CLOSED',
        `suspension ${index}: appealed by entry ${appeal}`,
      );
    }
    if (this.options.now() < suspension.appealUntil) return;
    const end = new Date(suspension.appealUntil).toISOString();
    const message = suspension.appealUntil === 0 ? 'appeals are not heard' : `appeals ended ${end}`;
    throw new BrokerError('ERR_APPEAL_CLOSED', `suspension ${index}: ${message}`);
  }
}
