/** A device subscribes to its own down kinds and `state`, nothing else. docs/spec/topics.md section 3. */

import { isDownKind, parseTopic } from '@fieldproof/protocol/topics';
import type { Client, Subscription } from 'aedes';

/** Whether a device may subscribe to a filter. `$SYS` and `$share` fail for not being topics of ours. */
export function maySubscribe(
  filter: string,
  device: { readonly network: string; readonly deviceId: string },
): boolean {
  try {
    const { network, deviceId, kind } = parseTopic(filter);
    if (network !== device.network || deviceId !== device.deviceId) return false;
    return kind === '+' || kind === 'state' || isDownKind(kind);
  } catch {
    return false;
  }
}

export function createAuthorizeSubscribe(options: {
  readonly network: string;
  readonly maxSubscriptions: number;
  readonly onTooMany: (client: Client) => void;
}) {
  const { network, maxSubscriptions, onTooMany } = options;
  return (
    client: Client,
    subscription: Subscription,
    done: (error: Error | null, subscription?: Subscription | null) => void,
  ): void => {
    // null is SUBACK 0x80.
    if (!maySubscribe(subscription.topic, { network, deviceId: client.id })) {
      done(null, null);
      return;
    }
    const { subscriptions } = client as Client & { readonly subscriptions: object };
    const held = Object.keys(subscriptions);
    if (held.length >= maxSubscriptions && !held.includes(subscription.topic)) {
      onTooMany(client);
      done(null, null);
      return;
    }
    done(null, subscription);
  };
}
