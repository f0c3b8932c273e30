/** Sessions this broker grants: clean, without a will, under the device's own name. docs/spec/topics.md 3.2, identity.md 6. */

import { isDeviceIdText } from '@fieldproof/protocol/topics';

export interface ConnectFacts {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly clean: boolean;
  readonly hasWill: boolean;
}

/** The CONNACK return code that refuses a CONNECT, or 0 when its login is to be checked. */
export function judgeConnect(connect: ConnectFacts): 0 | 2 | 4 | 5 {
  if (connect.hasWill) return 5;
  if (!connect.clean) return 2;
  if (connect.username === undefined) return 4;
  if (connect.username !== connect.clientId) return 4;
  // Nothing that is no device id can be enrolled.
  if (!isDeviceIdText(connect.clientId)) return 5;
  return 0;
}
