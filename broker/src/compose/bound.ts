/** The ports and addresses of the listeners, which are known one after the other as they are bound. */

import type { BrokerConfig } from '../config.ts';
import { type Addresses, type LanNames, lanNamesOf } from '../listeners.ts';

export interface Bound {
  readonly ports: { http: number; https: number; mqtt: number; mqtts: number };
  readonly addresses: { -readonly [K in keyof Addresses]: Addresses[K] };
  readonly lanNames: LanNames;
}

export function nothingBound(config: BrokerConfig, tls: Parameters<typeof lanNamesOf>[1]): Bound {
  return {
    ports: { http: 0, https: 0, mqtt: 0, mqtts: 0 },
    addresses: { http: '', mqtt: '', https: null, mqtts: null, ws: '', wss: null, plain: null },
    lanNames: lanNamesOf(config, tls),
  };
}
