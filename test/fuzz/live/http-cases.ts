/** Requests to every route: mutated paths, headers, methods and bodies, half of them not finished. */

import { connect } from 'node:net';
import type { Chance } from '../chance.ts';
import { Finding } from '../finding.ts';
import { whenLate } from '../patience.ts';
import type { LiveBroker } from './live-broker.ts';

const ID = 'z6MkfDRC7Y5TSZ2h4PFbNWJcfQfo5SzijZ4qtwbkWrUQuyzY';
const PUBLIC = [
  ...['/v1/descriptor', '/v1/hello?nonce=AAAAAAAAAAAAAAAAAAAAAA', '/log/evidence/checkpoint'],
  ...['/log/evidence/tile/0/000', '/healthz', '/readyz', '/mqtt', `/v1/devices/${ID}/standing`],
];
const POSTS = ['/v1/enrol', '/v1/appeal', '/v1/rotate', '/v1/transfer'];
/** Nobody gets these without a token. */
const GUARDED = [
  ...['/v1/tail?from=0&live=0', '/v1/entries/0', `/v1/bodies/${'0'.repeat(64)}`],
  ...[`/v1/down/${ID}/task`, '/admin/status', '/admin/devices', '/admin/tokens', '/admin/keys'],
  ...[`/admin/devices/${ID}/suspend`, `/admin/devices/${ID}/transfer`, '/admin/descriptor'],
  ...['/admin/appeals', '/admin/keys/log/rotate', '/admin/webhook/test'],
];
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'get', 'X'];
const TRICKS = [
  (path: string) => path.replaceAll('/', '//'),
  (path: string) => path.replace('/', '/%2e%2e/'),
  (path: string) => `/log/evidence/../..${path}`,
  (path: string) => `/log/evidence/tile/%2e%2e%2f%2e%2e${path}`,
  (path: string) => path.replace('a', '%61'),
  (path: string) => `${path}%00`,
  (path: string) => `${path};x`,
  (path: string) => `${path}?from=1e9&from=-1&live=2`,
  (path: string) => path.toUpperCase(),
  (path: string) => `http://elsewhere${path}`,
  (path: string) => `${path}/${'x'.repeat(9000)}`,
  (path: string) => `${path}%ff%fe`,
];
const LIMIT_MS = 20_000;

export async function httpCase(broker: LiveBroker, chance: Chance): Promise<void> {
  const isGuarded = chance.oneIn(2);
  const path = isGuarded ? chance.pick(GUARDED) : chance.pick([...PUBLIC, ...POSTS]);
  const method = chance.oneIn(3) ? chance.pick(METHODS) : POSTS.includes(path) ? 'POST' : 'GET';
  const target = chance.oneIn(2) ? chance.pick(TRICKS)(path) : path;
  const body = chance.oneIn(2) ? bodyOf(chance) : Buffer.alloc(0);
  const headers = headersOf(body, chance);
  const request = Buffer.concat([
    Buffer.from(`${method} ${target} HTTP/1.1\r\n${headers}\r\n`),
    body,
  ]);
  const isHalf = chance.oneIn(6);
  const bytes = isHalf ? request.subarray(0, chance.int(request.length)) : request;
  const answer = await exchange(broker.http, bytes, isHalf);
  const [, status = ''] = /^HTTP\/1\.1 (\d{3})/.exec(answer) ?? [];
  const input = bytes.toString('latin1').slice(0, 2000);
  if (/^5/.test(status) && status !== '503' && status !== '505') {
    throw new Finding(`http: ${status}: ${answer.slice(-300)}`, input);
  }
  if (/ERR_INTERNAL|node:internal|\.ts:\d/.test(answer)) {
    throw new Finding(`http: an answer from inside: ${answer.slice(-300)}`, input);
  }
  const isAdmin = /\/(admin|v1\/(tail|entries|bodies|down))/i.test(decoded(target));
  if (isGuarded && isAdmin && /^2/.test(status) && method !== 'OPTIONS') {
    throw new Finding(`http: ${status} without a token`, input);
  }
}

function headersOf(body: Buffer, chance: Chance): string {
  const lines = ['host: fuzz', 'connection: close'];
  if (body.length > 0) {
    const lie = chance.oneIn(6) ? chance.odd() : body.length;
    lines.push(chance.oneIn(5) ? 'transfer-encoding: chunked' : `content-length: ${lie}`);
    lines.push(`content-type: ${chance.pick(['application/cose', 'application/json', 'x', ''])}`);
  }
  if (chance.oneIn(3)) {
    const token = chance.pick([
      '',
      'x',
      'A'.repeat(43),
      Buffer.from(chance.bytes(32)).toString('base64url'),
    ]);
    lines.push(`authorization: ${chance.pick(['Bearer ', 'bearer', 'Basic ', ''])}${token}`);
  }
  if (chance.oneIn(5)) lines.push(`x-forwarded-for: ${chance.pick(['127.0.0.1', '::1', 'x'])}`);
  if (chance.oneIn(6)) lines.push(`x: ${'y'.repeat(chance.pick([10, 9000, 20_000]))}`);
  if (chance.oneIn(8)) {
    lines.push('upgrade: websocket', 'sec-websocket-key: x', 'sec-websocket-version: 13');
  }
  if (chance.oneIn(12)) lines.push('transfer-encoding: chunked', 'content-length: 3');
  return `${lines.join('\r\n')}\r\n`;
}

function bodyOf(chance: Chance): Buffer {
  const way = chance.int(5);
  if (way === 0) return Buffer.from(chance.bytes(chance.int(300)));
  if (way === 1)
    return Buffer.from(
      chance.pick(['{}', '[]', 'null', '{"uses":1e99}', '{"__proto__":1}', '{', '"']),
    );
  if (way === 2) return Buffer.alloc(chance.pick([1, 65_536, 65_537, 100_000]), 0x81);
  if (way === 3) return Buffer.from('d28443a10126a0f640', 'hex');
  return Buffer.from(
    `{"uses":${chance.odd()},"hours":-1,"reason":"${'z'.repeat(chance.int(3000))}"}`,
  );
}

/** Sends the bytes; what is only half goes away after a moment. */
function exchange(url: string, bytes: Buffer, isHalf: boolean): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    // A length that lies makes the server wait for more, which is right; so nothing is said after a while.
    const timer = setTimeout(() => socket.destroy(), isHalf ? 5 : 300);
    const callOff = whenLate(LIMIT_MS, () => {
      reject(new Finding('http: the connection never ends', bytes.toString('latin1')));
    });
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      callOff();
      resolve(Buffer.concat(chunks).toString('latin1'));
    });
    socket.write(bytes);
  });
}

function decoded(target: string): string {
  try {
    return decodeURIComponent(target);
  } catch {
    return target;
  }
}
