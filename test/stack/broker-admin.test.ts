import { publicKeyFromSeed } from '@fieldproof/protocol/ed25519';
import { formatJoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { onLoopback } from '@fieldproof/stack/broker-admin';
import { expect, test } from '@jest/globals';

const lan = {
  host: '192.0.2.7',
  port: 7885,
  plain: false,
  network: 'h7dz6lhl',
  rootKey: publicKeyFromSeed(new Uint8Array(32).fill(1)),
  token: new Uint8Array(16).fill(3),
};

test('agents of this machine join over loopback with the same root and token', () => {
  const line = onLoopback(formatJoinLine(lan), 'http://127.0.0.1:7880');
  expect(parseJoinLine(line)).toEqual({ ...lan, host: '127.0.0.1', port: 7880, plain: true });
});

test('also over IPv6', () => {
  const line = onLoopback(formatJoinLine(lan), 'http://[::1]:7880');
  expect(parseJoinLine(line)).toMatchObject({ host: '::1', port: 7880, plain: true });
});
