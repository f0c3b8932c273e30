/** The join line: all a device needs to find, check and join a network. docs/spec/identity.md section 3. */

import { fromBase64url, toBase64url } from './bytes.ts';
import { deviceIdFromPublicKey, publicKeyFromDeviceId } from './did-key.ts';
import { ProtocolError } from './errors.ts';
import { TOKEN_BYTES } from './statements.ts';
import { isNetworkId } from './topics.ts';

export interface JoinLine {
  /** Host name or IP address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** HTTP instead of HTTPS; for loopback addresses only. */
  readonly plain: boolean;
  readonly network: string;
  /** Ed25519 public key of the network's root, 32 bytes. */
  readonly rootKey: Uint8Array;
  /** Enrolment token, 16 bytes. */
  readonly token: Uint8Array;
}

const PREFIX = 'fieldproof://';
const MAX_LENGTH = 512;
/** Visible or not. */
const BLANKS = /[\s\u200b-\u200d\u2060]+/g;
const AROUND = /^["'`<\u2018\u201c]+|["'`>\u2019\u201d]+$/g;

export function formatJoinLine(line: JoinLine): string {
  const host = line.host.includes(':') ? `[${line.host}]` : line.host;
  const root = deviceIdFromPublicKey(line.rootKey);
  const plain = line.plain ? '&plain=1' : '';
  return `${PREFIX}${host}:${line.port}/${line.network}?root=${root}&token=${toBase64url(line.token)}${plain}`;
}

/**
 * Parses a join line. What a mail program or a chat makes of it does not matter: white space within it, also line breaks,
 * and quotes or angle brackets around it.
 *
 * @throws {ProtocolError} ERR_JOIN_LINE, naming the part that is wrong.
 */
export function parseJoinLine(text: string): JoinLine {
  if (text.length > 4 * MAX_LENGTH) throw broken(`expected at most ${MAX_LENGTH} characters`);
  const trimmed = text.replace(BLANKS, '').replace(AROUND, '');
  if (!trimmed.startsWith(PREFIX) || trimmed.length > MAX_LENGTH) {
    throw broken(`expected text that begins with ${PREFIX}`);
  }
  let url: URL;
  try {
    url = new URL(trimmed.replace(PREFIX, 'http://'));
  } catch (cause) {
    throw new ProtocolError('ERR_JOIN_LINE', 'join line: expected an address', { cause });
  }
  const network = url.pathname.slice(1);
  if (!isNetworkId(network)) throw broken('the network id is missing or malformed');
  const port = url.port === '' ? 80 : Number(url.port);
  if (url.hostname === '') throw broken('the host is missing');
  const plain = url.searchParams.get('plain') === '1';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (plain && !isLoopback(host)) {
    throw broken(`plain=1 is for loopback addresses only, got ${host}`);
  }
  return { host, port, plain, network, rootKey: rootOf(url), token: tokenOf(url) };
}

function rootOf(url: URL): Uint8Array {
  try {
    return publicKeyFromDeviceId(url.searchParams.get('root') ?? '');
  } catch (cause) {
    throw new ProtocolError('ERR_JOIN_LINE', 'join line: root is not a key (z6Mk…)', { cause });
  }
}

function tokenOf(url: URL): Uint8Array {
  let token: Uint8Array;
  try {
    token = fromBase64url(url.searchParams.get('token') ?? '');
  } catch (cause) {
    throw new ProtocolError('ERR_JOIN_LINE', 'join line: token is not base64url', { cause });
  }
  if (token.length !== TOKEN_BYTES) {
    throw broken(`token: expected ${TOKEN_BYTES} bytes, got ${token.length}`);
  }
  return token;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function broken(why: string): ProtocolError {
  return new ProtocolError('ERR_JOIN_LINE', `join line: ${why}`);
}
