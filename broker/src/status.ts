/** What `fieldproof-broker status` and dashboards show. */

import { type BrokerError, remedyOf } from './errors.ts';
import type { Counters } from './gate/counters.ts';
import type { Addresses } from './listeners.ts';
import type { MqttStatus } from './mqtt/mqtt-status.ts';
import type { PlainStatus } from './mqtt/plain/plain-status.ts';
import type { Directory } from './registry/directory.ts';
import type { TlsStatus } from './tls/certificates.ts';

export interface StatusOptions {
  readonly network: string;
  readonly startedAt: number;
  readonly addresses: Addresses;
  readonly counters: Counters;
  readonly mqtt: () => MqttStatus;
  readonly plain: () => PlainStatus;
  readonly evidence: {
    readonly size: number;
    readonly pendingBytes: number;
    readonly isRefusing: boolean;
    readonly problem: BrokerError | null;
    readonly checkpoint: { readonly size: number } | null;
  };
  readonly http: { readonly dropped: number; readonly stalled: number };
  readonly directory: Directory;
  readonly tls: () => TlsStatus | null;
  readonly now: () => number;
}

function describe({ code, message }: BrokerError) {
  return { code, message, remedy: remedyOf(code) };
}

/** Makes the function that takes a snapshot. */
export function createStatus(options: StatusOptions) {
  return () => {
    const { network, startedAt, addresses, counters, mqtt, http, evidence, directory } = options;
    const { tls, now } = options;
    return {
      network,
      startedAt,
      uptimeMs: now() - startedAt,
      addresses: { ...addresses },
      /** received = accepted + duplicate + rejected + inFlight. */
      verdicts: counters.values(),
      evidence: {
        entries: evidence.size,
        published: evidence.checkpoint?.size ?? 0,
        pendingBytes: evidence.pendingBytes,
        writable: !evidence.isRefusing,
        /** Since a write failed, until one goes well, of an entry or of a probe: code, message and remedy. */
        problem: evidence.problem && describe(evidence.problem),
      },
      mqtt: mqtt(),
      /** The plain profile. */
      plain: options.plain(),
      /** Connections above the limit, and readers that were cut off. */
      http: { ...http },
      /** The server certificate; null without `lan`. */
      tls: tls(),
      devices: directory.count,
    };
  };
}
