import { createLogger, eventOf } from '@fieldproof/broker/log';
import { LineLimit } from '@fieldproof/broker/observe/line-limit';
import { LogRing } from '@fieldproof/broker/observe/log-ring';
import { passwordIn, REDACTED, Scrubber } from '@fieldproof/broker/observe/scrubber';
import { verdictSummary } from '@fieldproof/broker/observe/verdict-summary';
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

interface Line {
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

function logger(level = 'trace', scrubber = new Scrubber()) {
  const lines: Line[] = [];
  const clock = { ms: 0 };
  const ring = new LogRing();
  const log = createLogger(level, {
    destination: { write: (line: string) => void lines.push(JSON.parse(line)) },
    limits: { lines: 3, windowMs: 20 },
    monotonicMs: () => clock.ms,
    scrubber,
    ring,
  });
  return { log, lines, clock, ring };
}

describe('lines', () => {
  test('have a stable event: the one that is given, else one made of the message', () => {
    const { log, lines } = logger();
    log.info({ event: 'session-begin', deviceId: 'a' }, 'session: begins');
    log.warn('descriptor: out of date, and the root key is not at hand');
    log.error(Object.assign(new Error('broken'), { code: 'EIO' }));
    expect(lines.map(({ event }) => event)).toEqual([
      'session-begin',
      'descriptor-out-of-date-and-the-root-key-is-not-at-hand',
      'error',
    ]);
    expect(lines[2]).toMatchObject({ err: { message: 'broken', code: 'EIO' } });
    expect(eventOf('…')).toBe('message');
  });

  test('of loggers made from this one are the same', () => {
    const { log, lines } = logger();
    const child = log.child({ reqId: 'r1' });
    for (let i = 0; i < 5; i++) child.warn({ event: 'x' }, 'x');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatchObject({ event: 'x', reqId: 'r1' });
  });

  test('what a stranger put into a field is cut', () => {
    const { log, lines } = logger();
    log.info({ event: 'x', client: 'c'.repeat(10_000) }, 'x');
    expect(String(lines[0]!.client).length).toBeLessThan(600);
  });

  test('the last of them are kept, oldest first, in bounded memory', () => {
    const ring = new LogRing();
    for (let i = 0; i < 2500; i++) ring.push(`line ${i}\n`);
    expect(ring.lines()).toHaveLength(1000);
    expect([ring.lines()[0], ring.lines().at(-1)]).toEqual(['line 1500', 'line 2499']);
    ring.push('x'.repeat(100_000));
    expect(ring.lines().at(-1)).toHaveLength(4096);
  });
});

describe('a flood', () => {
  test('is three lines of each event and code, and then a count', async () => {
    const { log, lines, clock } = logger();
    for (let i = 0; i < 1000; i++) {
      log.info({ event: 'reject', code: 'ERR_A' }, 'reject');
      log.info({ event: 'reject', code: 'ERR_B' }, 'reject');
    }
    expect(lines).toHaveLength(6);
    clock.ms = 20;
    // Told without another line of that kind.
    while (lines.length < 8) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(lines.slice(6)).toMatchObject([
      { event: 'log-lines-suppressed', of: 'reject ERR_A', suppressed: 997 },
      { event: 'log-lines-suppressed', of: 'reject ERR_B', suppressed: 997 },
    ]);
    log.info({ event: 'reject', code: 'ERR_A' }, 'reject');
    expect(lines).toHaveLength(9);
  });

  test('whatever comes when: written and suppressed lines are all lines, and no window has more than its share', () => {
    const arrivals = fc.array(fc.tuple(fc.nat(4), fc.nat(30)), { maxLength: 200 });
    fc.assert(
      fc.property(arrivals, (gaps) => {
        const limit = new LineLimit({ lines: 3, windowMs: 10 });
        let now = 0;
        const written: { kind: string; at: number }[] = [];
        let suppressed = 0;
        for (const [kind, gap] of gaps) {
          now += gap;
          if (limit.take(`k${kind}`, now)) written.push({ kind: `k${kind}`, at: now });
          if (gap > 20) for (const [, count] of limit.ended(now)) suppressed += count;
        }
        for (const [, count] of limit.ended(Number.POSITIVE_INFINITY)) suppressed += count;
        expect(written.length + suppressed).toBe(gaps.length);
        expect(limit.hasSuppressed).toBe(false);
        for (const { kind, at } of written) {
          const near = written.filter((w) => w.kind === kind && w.at >= at && w.at < at + 10);
          // Two windows may touch.
          expect(near.length).toBeLessThanOrEqual(6);
        }
      }),
    );
  });

  test('of ever new kinds takes bounded memory and is limited as one', () => {
    const limit = new LineLimit({ lines: 1, windowMs: 10 });
    let written = 0;
    for (let i = 0; i < 10_000; i++) if (limit.take(`kind ${i}`, 0)) written += 1;
    expect(written).toBeLessThanOrEqual(201);
  });

  test('that are over make room, so that a late kind is not taken for one of a flood', () => {
    const limit = new LineLimit({ lines: 1, windowMs: 10 });
    for (let i = 0; i < 300; i++) limit.take(`kind ${i}`, 0);
    limit.take('other', 0);
    expect(limit.take('late', 10)).toBe(true);
    expect(limit.take('later', 10)).toBe(true);
  });
});

describe('a secret', () => {
  const SECRET = Buffer.from('0123456789abcdefghijklmnopqrstuv').toString('base64url');

  test('is taken out in every spelling', () => {
    const scrubber = new Scrubber();
    scrubber.add(SECRET);
    scrubber.add('p%40ss/w"rd');
    const bytes = Buffer.from(SECRET, 'base64url');
    for (const text of [
      SECRET,
      bytes.toString('hex'),
      bytes.toString('hex').toUpperCase(),
      bytes.toString('base64'),
      Buffer.from(SECRET).toString('base64'),
      Buffer.from(SECRET).toString('hex'),
      'p%40ss/w"rd',
      'p@ss/w"rd',
      JSON.stringify('p@ss/w"rd').slice(1, -1),
    ]) {
      expect(scrubber.scrub(`before ${text} after`)).toBe(`before ${REDACTED} after`);
    }
  });

  test.each([
    ['authorization: Bearer abc.def-ghi', 'authorization: Bearer [redacted]'],
    ['postgres://user:secret@db:5432/x', 'postgres://user:[redacted]@db:5432/x'],
    [
      'fieldproof://h:1/net?root=z6Mk&token=AAAA_BBB-C&plain=1',
      'fieldproof://h:1/net?root=z6Mk&token=[redacted]&plain=1',
    ],
    [
      'no secret: at all, mail a@b.c, http://h:80/p',
      'no secret: at all, mail a@b.c, http://h:80/p',
    ],
  ])('in a form that has one is taken out unknown: %s', (text, clean) => {
    expect(new Scrubber().scrub(text)).toBe(clean);
  });

  test('of a database URL is found, however it was written', () => {
    expect(passwordIn('postgres://user:se%20cret@db/x')).toBe('se%20cret');
    expect(passwordIn('postgres://user:p@ss@db/x')).toBe('p@ss');
    expect(passwordIn('postgres://user:p/w@db/x')).toBe('p/w');
    expect([passwordIn('postgres://db/x'), passwordIn('postgres://u:@db'), passwordIn('')]).toEqual(
      [null, null, null],
    );
  });

  test('does not reach the log nor its ring', () => {
    const scrubber = new Scrubber();
    scrubber.add(SECRET);
    const { log, lines, ring } = logger('trace', scrubber);
    log.error({ err: new Error(`failed with ${SECRET}`), deep: { er: [SECRET] } }, SECRET);
    expect(JSON.stringify([lines, ring.lines()])).not.toContain(SECRET);
    expect(lines).toHaveLength(1);
  });
});

test('verdicts are summed up as what came since the last time, and nothing when nothing came', () => {
  const before = {
    ...{ received: 5, accepted: 3, duplicate: 1, rejected: 1, unsettledRejects: 0, inFlight: 0 },
    rejectedByCode: { ERR_A: 1 },
  };
  const after = {
    ...{ received: 9, accepted: 5, duplicate: 1, rejected: 3, unsettledRejects: 0, inFlight: 0 },
    rejectedByCode: { ERR_A: 1, ERR_B: 2 },
  };
  expect(verdictSummary(before, before)).toBeNull();
  expect(verdictSummary(before, after)).toEqual({
    ...{ received: 4, accepted: 2, duplicate: 0, rejected: 2 },
    codes: { ERR_B: 2 },
  });
});
