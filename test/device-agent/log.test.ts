import { lineLog } from '@fieldproof/device-agent/log';
import { describe, expect, test } from '@jest/globals';

function logged(format: 'text' | 'json', reason: string): string {
  let written = '';
  const log = lineLog({
    ...{ level: 'info', format, nowMs: () => 0 },
    write: (line) => {
      written += line;
    },
  });
  log.warn('sensor failed', { reason });
  log.debug('not at this level');
  return written;
}

describe('a log line', () => {
  test.each([
    ['a terminal sequence', '\x1b]0;owned\x07'],
    ['a carriage return', 'x\r2026-01-01T00:00:00.000Z error all is lost'],
    ['a line of its own', 'x\n2026-01-01T00:00:00.000Z error all is lost'],
    ['the other direction', 'x\u202etxt.exe'],
    ['a separator of lines', 'x\u2028y'],
  ])('stays one line of plain text, whatever a server or a sensor says: %s', (_what, reason) => {
    for (const format of ['text', 'json'] as const) {
      const line = logged(format, reason);
      expect(line).toMatch(/sensor failed/);
      if (format === 'text') expect(line).toMatch(/^[^\p{Cc}\p{Zl}\u202e]+\n$/u);
      else expect(line.trimEnd()).not.toMatch(/\p{Cc}/u);
    }
  });
});
