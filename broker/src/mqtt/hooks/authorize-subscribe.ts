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

export function createAuthorizeSubscribe(network: string) {
  return (
    client: Client,
    subscription: Subscription,
    done: (error: Error | null, subscription?: Subscription | null) => void,
  ): void => {
    const allowed = maySubscribe(subscription.topic, { network, deviceId: client.id });
    // null is SUBACK 0x80.
    done(null, allowed ? subscription : null);
  };
}
