/** Lets a device in: session rules, then its login. */

import type { AuthenticateError, Client, ConnectPacket } from 'aedes';
import type { Session } from '../../gate/session.ts';
import { judgeConnect } from '../connect-rules.ts';
import type { LoginVerdict } from '../login.ts';

export interface AuthenticateOptions {
  readonly judgeLogin: (deviceId: string, password: Uint8Array | undefined) => LoginVerdict;
  readonly onSession: (client: Client, session: Session) => void;
  /** @returns how much later it is told, ms. */
  readonly onRefused: (client: Client, returnCode: number, reason: string) => number;
}

type Done = (error: AuthenticateError | null, success: boolean | null) => void;

/** The two hooks that see a CONNECT: Aedes shows the packet to the first and the password to the second. */
export function createAuthenticate(options: AuthenticateOptions) {
  const connects = new WeakMap<Client, ConnectPacket>();

  const preConnect = (
    client: Client,
    packet: ConnectPacket,
    done: (error: Error | null, success: boolean) => void,
  ): void => {
    connects.set(client, packet);
    done(null, true);
  };

  const authenticate = (
    client: Client,
    username: string | undefined,
    password: Buffer | undefined,
    done: Done,
  ): void => {
    const packet = connects.get(client);
    connects.delete(client);
    const refuse = (returnCode: number, reason: string): void => {
      const delayMs = options.onRefused(client, returnCode, reason);
      const error = Object.assign(new Error(reason), { returnCode }) as AuthenticateError;
      if (delayMs === 0) done(error, false);
      else setTimeout(done, delayMs, error, false).unref();
    };
    const code = judgeConnect({
      clientId: packet?.clientId ?? '',
      username,
      clean: packet?.clean === true,
      hasWill: packet?.will !== undefined,
    });
    if (code !== 0) {
      refuse(code, 'session rules');
      return;
    }
    const verdict = options.judgeLogin(client.id, password);
    if ('returnCode' in verdict) {
      refuse(verdict.returnCode, verdict.reason);
      return;
    }
    options.onSession(client, verdict.session);
    done(null, true);
  };

  return { preConnect, authenticate };
}
