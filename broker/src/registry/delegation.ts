/** Which gateway may relay for a leaf, as the leaf says. docs/spec/registry.md section 8. */

import { openDelegation, readDelegation } from '@fieldproof/protocol/delegation';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { BrokerError } from '../errors.ts';
import type { RateLimiter } from '../rate-limit.ts';
import { checkRequestLength, DAY_MS, requireEnrolled } from './desk.ts';
import type { Directory } from './directory.ts';
import type { Device } from './registry.ts';

export interface DelegationOptions {
  readonly network: string;
  readonly directory: Directory;
  /** Of the delegations of each leaf. */
  readonly limit: Pick<RateLimiter, 'take'>;
  readonly now: () => number;
}

/** A clock that is further ahead would keep its leaf from ever naming another gateway with a right one. */
const MAX_AHEAD_MS = DAY_MS;

export class DelegationDesk {
  private readonly options: DelegationOptions;

  constructor(options: DelegationOptions) {
    this.options = options;
  }

  /**
   * Files a delegation, a COSE_Sign1 by the leaf's current key. Filed again it changes nothing.
   *
   * @param leaf - the device that it has to be of.
   * @throws {ProtocolError} when it is malformed or its signature does not verify.
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN of leaf or gateway, ERR_DELEGATION_STALE, ERR_DELEGATION_RATE, ERR_REQUEST,
   * ERR_LOG_FULL.
   */
  async file(leaf: string, statement: Uint8Array): Promise<Device> {
    const { network, directory, limit, now } = this.options;
    checkRequestLength(statement);
    if (readDelegation(statement).leaf !== leaf) {
      throw new BrokerError('ERR_REQUEST', `leaf: expected ${leaf.slice(0, 64)}`);
    }
    return directory.inTurn(leaf, async () => {
      const device = requireEnrolled(directory, leaf);
      const { publicKey } = device;
      const { gateway, issued, expires } = openDelegation(statement, {
        ...{ network, publicKey, verify },
      });
      const known = device.delegation;
      if (known?.issued === issued && known.gateway === gateway && known.expires === expires) {
        return device;
      }
      if (known !== null && issued <= known.issued) {
        const message = `issued: expected above ${known.issued}, got ${issued}`;
        throw new BrokerError('ERR_DELEGATION_STALE', message);
      }
      if (issued > now() + MAX_AHEAD_MS) {
        throw new BrokerError('ERR_REQUEST', 'issued: expected at most a day from now');
      }
      if (expires !== null && expires <= now()) {
        throw new BrokerError('ERR_REQUEST', 'expires: expected a time to come');
      }
      if (gateway !== null) requireEnrolled(directory, gateway);
      const waitMs = limit.take(leaf);
      if (waitMs > 0) {
        const message = `device ${leaf}: wait ${Math.ceil(waitMs / 1000)} s`;
        throw new BrokerError('ERR_DELEGATION_RATE', message, { retryAfterMs: waitMs });
      }
      const action = { action: 'delegate' as const, subject: leaf, gateway, issued, expires };
      return directory.record({ ...action, statement });
    });
  }

  /**
   * Takes the delegation of a leaf back, for an operator. The leaf may sign another.
   *
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_STANDING when there is none, ERR_LOG_FULL.
   */
  withdraw(leaf: string, reason: string | undefined): Promise<Device> {
    const { directory } = this.options;
    return directory.inTurn(leaf, async () => {
      const known = directory.require(leaf).delegation;
      if (known === null || known.gateway === null) {
        throw new BrokerError('ERR_STANDING', `device ${leaf}: nobody relays for it`);
      }
      const { issued } = known;
      return directory.record({
        ...{ action: 'delegate', subject: leaf, gateway: null, issued, expires: null },
        ...(reason !== undefined && { reason }),
      });
    });
  }
}
