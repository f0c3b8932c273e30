import { publicKeyFromSeed } from '@fieldproof/protocol/ed25519';
import { formatJoinLine, type JoinLine, parseJoinLine } from '@fieldproof/protocol/join-line';
import { describe, expect, test } from '@jest/globals';

const line: JoinLine = {
  host: '192.168.1.20',
  port: 7885,
  plain: false,
  network: 'h7dz6lhl',
  rootKey: publicKeyFromSeed(new Uint8Array(32).fill(1)),
  token: Uint8Array.from({ length: 16 }, (_, i) => i),
};
const text = formatJoinLine(line);

describe('a join line', () => {
  test.each<[string, JoinLine]>([
    ['an IPv4 address', line],
    ['a host name', { ...line, host: 'gateway.local' }],
    ['an IPv6 address', { ...line, host: 'fd00::20' }],
    ['plain HTTP on loopback', { ...line, host: '127.0.0.1', plain: true }],
    ['plain HTTP on IPv6 loopback', { ...line, host: '::1', plain: true }],
  ])('with %s reads back as it was written', (_name, value) => {
    expect(parseJoinLine(formatJoinLine(value))).toEqual(value);
  });

  test('may be pasted with white space around it', () => {
    expect(parseJoinLine(`  ${text}\r\n`)).toEqual(line);
  });

  test.each([
    ['broken over lines and indented', text.replace(/.{30}/g, '$&\r\n    ')],
    ['in quotes', `"${text}"`],
    ['in angle brackets', `<${text}>`],
    ['with marks that nobody sees', `\ufeff\u200b${text}\u2060`],
  ])('may be pasted %s, as mail programs make it', (_name, pasted) => {
    expect(parseJoinLine(pasted)).toEqual(line);
  });

  test.each([
    ['nothing', ''],
    ['another scheme', text.replace('fieldproof', 'https')],
    ['no token', text.replace(/&token=.*/, '')],
    ['a short token', text.replace(/token=.*/, 'token=AAEC')],
    ['a token that is not base64url', text.replace(/token=../, 'token=!!')],
    ['no root', text.replace(/root=[^&]*&/, '')],
    ['a root with one character changed', text.replace(/root=z6Mk./, 'root=z6Mk0')],
    ['no network', text.replace('/h7dz6lhl', '')],
    ['a network in capitals', text.replace('h7dz6lhl', 'H7DZ6LHL')],
    ['plain HTTP elsewhere than on loopback', `${text}&plain=1`],
    ['a line cut in the middle', text.slice(0, 70)],
    ['a line of a thousand characters', text + 'x'.repeat(1000)],
  ])('with %s is refused by name', (_name, broken) => {
    expect(() => parseJoinLine(broken)).toThrow(expect.objectContaining({ code: 'ERR_JOIN_LINE' }));
  });
});
