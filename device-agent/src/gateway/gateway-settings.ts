/** The section `gateway` of the configuration. */

import { integer, section, text } from '../schema.ts';

export interface GatewaySettings {
  /** `host:port` to listen at for leaves, or `off`. */
  readonly listen: string;
  /** `any` leaf that has named this gateway, or ids separated by commas. */
  readonly leaves: string;
  readonly maxLeaves: number;
  readonly maxConnections: number;
  /** Bytes of all leaves, and of each, that wait in the outbox; what is above is not acknowledged. */
  readonly maxBytes: number;
  readonly maxBytesPerLeaf: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;

export const GATEWAY_SETTINGS = section<GatewaySettings>({
  listen: text({
    pattern: /^(?:off|(?:\[[0-9a-f:.]+\]|[^\s/:@?#[\]]+):\d{1,5})$/i,
    is: 'off or host:port, such as 0.0.0.0:1884',
    byDefault: 'off',
  }),
  leaves: text({
    pattern: /^(?:any|z6Mk[1-9A-HJ-NP-Za-km-z]{44}(?:,z6Mk[1-9A-HJ-NP-Za-km-z]{44}){0,255})$/,
    is: 'any, or device ids with commas between them',
    byDefault: 'any',
  }),
  maxLeaves: integer({ min: 1, max: 1000, byDefault: 32 }),
  maxConnections: integer({ min: 1, max: 4000, byDefault: 64 }),
  maxBytes: integer({ min: 64 * KIB, max: 2 ** 40, byDefault: 96 * MIB }),
  maxBytesPerLeaf: integer({ min: 64 * KIB, max: 2 ** 40, byDefault: 16 * MIB }),
});
