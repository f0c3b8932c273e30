/** A gateway and its leaves for tests of the broker: a device that carries what others seal, and keeps what comes down for them. */

import { sealDelegation } from '@fieldproof/protocol/delegation';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { downAad, open } from '@fieldproof/protocol/envelope';
import { decodeRelayDown, encodeRelay, type LeafKind } from '@fieldproof/protocol/relay';
import {
  decodeReceipt,
  decodeReject,
  type Receipt,
  type Reject,
} from '@fieldproof/protocol/settlement-messages';
import type { TestDevice } from './device.ts';

/** Files a delegation of a leaf; the response as it is. */
export function delegate(
  leaf: TestDevice,
  gateway: string | null,
  changes: {
    readonly issued?: number;
    readonly expires?: number | null;
    readonly signer?: TestDevice['signer'];
    readonly path?: string;
  } = {},
): Promise<Response> {
  const { issued = Date.now(), expires = null, signer = leaf.signer, path = leaf.id } = changes;
  const body = { leaf: leaf.id, gateway, issued, expires };
  const statement = sealDelegation(body, { network: leaf.network, signer });
  return fileStatement(leaf.http, path, statement);
}

export function fileStatement(http: string, leaf: string, statement: Uint8Array) {
  return fetch(`${http}/v1/devices/${leaf}/delegation`, {
    ...{ method: 'POST', body: Buffer.from(statement) },
    headers: { 'content-type': 'application/cose' },
  });
}

/** What came down for the leaves of a gateway, verified. */
export class RelayedDown {
  readonly receipts: { readonly leaf: string; readonly receipt: Receipt }[] = [];
  readonly rejects: { readonly leaf: string; readonly reject: Reject }[] = [];

  static async on(gateway: TestDevice): Promise<RelayedDown> {
    const down = new RelayedDown();
    const { keys } = await gateway.descriptor();
    gateway.client!.on('message', (topic, message) => {
      if (!topic.endsWith('/relay-down')) return;
      const { leaf, kind, envelope } = decodeRelayDown(Uint8Array.from(message));
      const { payload } = open(envelope, {
        externalAad: downAad(gateway.network, kind, leaf),
        publicKey: keys.log,
        verify,
      });
      if (kind === 'receipt') down.receipts.push({ leaf, receipt: decodeReceipt(payload) });
      if (kind === 'reject') down.rejects.push({ leaf, reject: decodeReject(payload) });
    });
    return down;
  }
}

/** The wrapping of a leaf's envelope, by a gateway. */
export function wrap(
  gateway: TestDevice,
  leaf: string,
  inside: { readonly kind?: LeafKind; readonly envelope: Uint8Array },
): Uint8Array {
  const { kind = 'telemetry', envelope } = inside;
  return gateway.seal({ kind: 'relay', payload: encodeRelay({ leaf, kind, envelope }) });
}

export function idOf(device: TestDevice): string {
  return deviceIdFromPublicKey(device.signer.publicKey);
}
