/** Decodes a CONNECT of MQTT 3.1.1 that `packet-rules.ts` has found well-formed. Section 3.1. */

import { Fields } from './fields.ts';

export interface Will {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
}

export interface Connect {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
  readonly clean: boolean;
  /** 0: none. */
  readonly keepAliveSeconds: number;
  readonly will: Will | null;
}

/** @param body - what follows the Remaining Length; checked. What is returned owns its bytes. */
export function decodeConnect(body: Uint8Array): Connect {
  const fields = new Fields(body);
  fields.string();
  fields.byte();
  const flags = fields.byte()!;
  const keepAliveSeconds = fields.uint16()!;
  const clientId = text(fields);
  const will =
    (flags & 0x04) === 0
      ? null
      : {
          topic: text(fields),
          payload: bytes(fields),
          qos: ((flags >> 3) & 3) as 0 | 1 | 2,
          retain: (flags & 0x20) !== 0,
        };
  const username = (flags & 0x80) === 0 ? undefined : text(fields);
  const password = (flags & 0x40) === 0 ? undefined : bytes(fields);
  return { clientId, username, password, clean: (flags & 2) !== 0, keepAliveSeconds, will };
}

function bytes(fields: Fields): Buffer {
  return Buffer.from(fields.string()!);
}

function text(fields: Fields): string {
  return bytes(fields).toString('utf8');
}
