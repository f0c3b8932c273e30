import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAdminClient } from '@fieldproof/broker/cli/admin-client';
import { createLogger } from '@fieldproof/broker/log';
import {
  isPlainLine,
  isPlainText,
  plainJson,
  plainLine,
  plainLines,
} from '@fieldproof/broker/plain-text';
import {
  checkAgent,
  checkAppealText,
  checkLabel,
  checkReason,
  checkText,
} from '@fieldproof/broker/registry/device-fields';
import { afterAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

/** What moves a cursor, turns letters round or breaks a line unseen. */
const UNSEEN = [
  ...['\u0000', '\u0007', '\b', '\r', '\u000b', '\u001b[2J', '\u007f', '\u0085', '\u009b31m'],
  ...['\u2028', '\u2029', '\u202a', '\u202e', '\u202c', '\u2066', '\u2067', '\u2069'],
  ...['\ud800', '\udfff'],
];
const FINE = ['roof', 'Dach “Süd”', '屋上', 'سقف\u200f', 'גג 5', 'e\u0301', '👩‍🌾', 'a\u00a0b'];

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-plain-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('what people write or a device says', () => {
  test.each(UNSEEN.map((part) => [JSON.stringify(part), part]))('is refused with %s', (_, part) => {
    const refused = expect.objectContaining({ code: 'ERR_REQUEST' });
    for (const text of [part, `a${part}`, `${part}b`, `a${part}b`]) {
      expect(() => checkReason(text)).toThrow(refused);
      expect(() => checkLabel('name', text)).toThrow(refused);
      expect(() => checkAgent(text)).toThrow(refused);
      expect(() => checkText(text)).toThrow(refused);
      expect(() => checkAppealText(text)).toThrow(refused);
    }
  });

  test('is refused when it is no text, empty, of spaces only, or too long', () => {
    const refused = expect.objectContaining({ code: 'ERR_REQUEST' });
    for (const value of [
      undefined,
      null,
      7,
      {},
      ['a'],
      true,
      '',
      '  ',
      '\u3000',
      'x'.repeat(257),
    ]) {
      expect(() => checkReason(value)).toThrow(refused);
      expect(() => checkLabel('group', value)).toThrow(refused);
    }
    expect(checkReason('x'.repeat(256))).toHaveLength(256);
    expect(() => checkLabel('name', 'x'.repeat(65))).toThrow(refused);
  });

  test.each(FINE)('may be %s', (text) => {
    expect([checkReason(text), checkLabel('name', text), checkAgent(text)]).toEqual(
      Array(3).fill(text),
    );
    expect(checkText(`${text}\n\t${text}`)).toBe(`${text}\n\t${text}`);
  });
});

describe('what is shown', () => {
  test('is without what moves a cursor, and the lines of it are as many as before', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(...UNSEEN, '\n', ...FINE), fc.string()), {
          maxLength: 20,
        }),
        (parts) => {
          const text = parts.join('');
          expect(isPlainLine(plainLine(text))).toBe(true);
          expect(isPlainText(plainLines(text))).toBe(true);
          expect(plainLines(text).split('\n')).toHaveLength(text.split('\n').length);
          const json = plainJson(JSON.stringify({ text }, null, 2));
          expect(isPlainText(json)).toBe(true);
          expect(JSON.parse(json)).toEqual({ text });
        },
      ),
    );
  });

  test('so are lines of the log, which say the same', () => {
    const lines: string[] = [];
    const log = createLogger('info', { destination: { write: (line) => void lines.push(line) } });
    const detail = 'red \u009b31m and \u202eback\u0007';
    log.info({ event: 'reject', detail }, 'reject');
    expect(lines.map((line) => isPlainText(line))).toEqual([true]);
    expect(JSON.parse(lines[0]!)).toMatchObject({ detail });
  });

  test('so is what somebody says in the place of a broker, and what is no answer of one is said to be none', async () => {
    const answers = [
      JSON.stringify({ code: 'ERR_\u001b[2J', detail: 'a\n\u202eb' }),
      '<html>',
      'null',
      '{"code":7}',
    ];
    const server = createServer((_, response) => response.writeHead(400).end(answers.shift()));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const token = join(folder, 'token');
    writeFileSync(token, 'x');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = createAdminClient({ dataDir: folder, url, tokenFile: token });
    const first = await client.call('GET', '/').catch((error: unknown) => error);
    expect(first).toMatchObject({ code: 'ERR_ [2J', message: 'a b' });
    for (let i = 0; i < 3; i += 1) {
      await expect(client.call('GET', '/')).rejects.toMatchObject({
        code: 'ERR_BROKER_UNREACHABLE',
      });
    }
    await new Promise((resolve) => server.close(resolve));
  });
});
