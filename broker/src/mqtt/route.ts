/**
 * Which broker a CONNECT is for: that of the devices, or the plain one of people and generic tools.
 * docs/spec/topics.md section 5.
 *
 * Whoever names a device id goes to the devices' broker, which asks for that device's signature; so nobody can be
 * in the plain broker under the name of a device.
 */

import { isDeviceIdText } from '@fieldproof/protocol/topics';
import type { Connect } from './connect-packet.ts';
import { judgeConnect } from './connect-rules.ts';

/** Where a connection came in: how it is carried, or the listener of the plain profile. */
export interface Origin {
  /** Of the peer, for the log. */
  readonly address: string;
  readonly listener: 'tcp' | 'tls' | 'ws' | 'wss' | 'plain';
}

/** Who a client of the plain profile is. */
export interface PlainLogin {
  /** Name of its access token; null: anonymous. */
  readonly name: string | null;
  /** Whether it would be let in now: tokens are revoked, and end. */
  readonly isGood: () => boolean;
}

export type Route =
  | { readonly to: 'device' }
  | { readonly to: 'plain'; readonly login: PlainLogin }
  | { readonly to: 'nobody'; readonly connack: 2 | 4 | 5; readonly reason: string };

/** An access token that was found good: its name and what it allows. */
export interface AccessTokenFacts {
  readonly name: string;
  readonly scopes: readonly string[];
}

export interface RouteRules {
  /** Null: the text is no access token. */
  readonly judgeAccessToken: (text: string) => AccessTokenFacts | null;
  /** Whether the plain listener takes clients without an access token. */
  readonly plainAnonymous: boolean;
}

/** Scopes of the access tokens that let into the plain profile. */
const MQTT_SCOPES = ['mqtt', 'admin'];
/** The user name that goes with any access token, as its own name does. */
const ANY_TOKEN = 'token';

const ANONYMOUS: PlainLogin = { name: null, isGood: () => true };

export function routeConnect(connect: Connect, origin: Origin, rules: RouteRules): Route {
  const { clientId, username, password, clean } = connect;
  if (isDeviceIdText(clientId) || (username !== undefined && isDeviceIdText(username))) {
    return { to: 'device' };
  }
  if (username !== undefined && password !== undefined) {
    const text = password.toString('utf8');
    const judge = () => judgeToken(rules.judgeAccessToken(text), username);
    const name = judge();
    if (name !== null) return { to: 'plain', login: { name, isGood: () => judge() !== null } };
  }
  if (origin.listener === 'plain') {
    if (rules.plainAnonymous) return { to: 'plain', login: ANONYMOUS };
    return { to: 'nobody', connack: username === undefined ? 5 : 4, reason: 'ERR_UNAUTHORIZED' };
  }
  // A password for a name that no device has: a token that is not or no longer good.
  if (password !== undefined) return { to: 'nobody', connack: 4, reason: 'ERR_UNAUTHORIZED' };
  const code = judgeConnect({ clientId, username, clean, hasWill: connect.will !== null });
  return { to: 'nobody', connack: code === 0 ? 5 : code, reason: 'session rules' };
}

/** The name of a token that lets in under a user name, else null. */
function judgeToken(token: AccessTokenFacts | null, username: string): string | null {
  if (token === null || (username !== ANY_TOKEN && username !== token.name)) return null;
  return token.scopes.some((scope) => MQTT_SCOPES.includes(scope)) ? token.name : null;
}
