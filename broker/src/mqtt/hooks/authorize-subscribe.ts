/** A device subscribes to its own down kinds and `state`, nothing else. docs/spec/topics.md section 3. */

import { formatTopic, isDownKind } from '@fieldproof/protocol/topics';
import type { Client, Subscription } from 'aedes';

/** Whether a device may subscribe to a filter. `$SYS` and `$share` fail for not being topics of ours. */
export function maySubscribe(
  filter: string,
  device: { readonly network: string; readonly deviceId: string },
): boolean {
  // Compared, not parsed: an error for each filter of others would cost thirty times as much.
  const own = formatTopic({ ...device, kind: 'state' }).slice(0, -'state'.length);
  if (!filter.startsWith(own)) return false;
  const kind = filter.slice(own.length);
  return kind === '+' || kind === 'state' || isDownKind(kind);
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
