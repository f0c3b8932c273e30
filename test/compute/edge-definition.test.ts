import {
  checkEdgeDefinition,
  decodeEdgeDefinition,
  edgeOutputs,
  encodeEdgeDefinition,
  formatEdgeDefinition,
  formatEdgeProblem,
  parseEdgeDefinition,
} from '@fieldproof/compute/edge-definition';
import { encode } from '@fieldproof/protocol/cbor';
import { describe, expect, test } from '@jest/globals';

const canonical = (text: string): string => formatEdgeDefinition(parseEdgeDefinition(text));

describe('the text of edge functions', () => {
  test.each([
    ['window 1m mean,max | deadband 0.2', 'window 1m mean,max | deadband 0.2'],
    ['window 60s mean->deadband 0.20', 'window 1m mean | deadband 0.2'],
    ['  window 1h p50,p99.9 every 60000ms → rate', 'window 1h p50,p99.9 every 1m | rate'],
    ['deadband max 1h', undefined],
    ['deadband 5% max 3600s', 'deadband 5% max 1h'],
    ['threshold above -5->rate', 'threshold above -5 | rate'],
    [
      'threshold below +2.5e0 gap 1m for 10s release 3',
      'threshold below 2.5 release 3 for 10s gap 1m',
    ],
    ['bands 1024 0.5-4,10-50|threshold above 1', 'bands 1024 0.5-4,10-50 | threshold above 1'],
    ['order 5s|rate gap 90s', 'order 5s | rate gap 90s'],
    ['deadband -0', 'deadband 0'],
    ['window 1m -> deadband 0.2', 'window 1m mean | deadband 0.2'],
    ['window 1m every 1s', 'window 1m mean every 1s'],
  ])('%s', (text, expected) => {
    if (expected === undefined) expect(checkEdgeDefinition(text)).not.toEqual([]);
    else {
      expect(canonical(text)).toBe(expected);
      expect(canonical(expected)).toBe(expected);
      const definition = parseEdgeDefinition(text);
      expect(decodeEdgeDefinition(encodeEdgeDefinition(definition))).toEqual(definition);
    }
  });

  test('names all problems at once, with position, what stands there and what was expected', () => {
    const text =
      'window 1x mean,p100 | smooth 3 | threshold above 5 release 6 | deadband 1 maxx 5s | rate gap';
    const problems = checkEdgeDefinition(text);
    expect(problems.map(({ position, got }) => [position, got])).toEqual([
      [8, '1x'],
      [16, 'p100'],
      [23, 'smooth'],
      [60, '6'],
      [75, 'maxx'],
      [text.length + 1, ''],
    ]);
    expect(problems[2]!.expected).toBe(
      'a function (order, window, deadband, threshold, rate, bands, anomaly)',
    );
    expect(problems[4]!.expected).toBe('max, | or the end');
    expect(() => parseEdgeDefinition(text)).toThrow(
      expect.objectContaining({
        code: 'ERR_EDGE_DEFINITION',
        message: expect.stringMatching(/^in "window 1x mean,p100": expected a duration from 1ms/),
      }),
    );
  });

  test.each([
    [
      'rate | windov 1m',
      'in "windov 1m": expected a function (order, window, deadband, threshold, rate, bands, anomaly), got "windov" (window?)',
    ],
    ['threshold abvoe 5', 'in "threshold abvoe 5": expected above or below, got "abvoe" (above?)'],
    [
      'threshold above 5 hold 1m',
      'in "threshold above 5 hold 1m": expected release, for, gap, | or the end, got "hold"',
    ],
    [
      'window 1m every 7s',
      'in "window 1m every 7s": expected a duration that divides the window\'s length into 1 to 120 steps, got "7s"',
    ],
    ['window 1m avg', /got "avg" \(mean\?\)$/],
    ['window 1m mean,stdev', /got "stdev" \(stddev\?\)$/],
    ['deadband', /^in "deadband": expected a difference .*, got nothing more$/],
    ['rate |', /^expected a function .*, got nothing$/],
    ['\u001b[31mred', /^in "\uFFFD\[31mred": .*, got "\uFFFD\[31mred"$/],
    [`${'rate|'.repeat(9)}rate`, 'expected at most 8 functions, got 10 functions'],
  ])('%j is told by its words', (text, message) => {
    const [problem, ...more] = checkEdgeDefinition(text).map(formatEdgeProblem);
    expect(more).toEqual([]);
    if (typeof message === 'string') expect(problem).toBe(message);
    else expect(problem).toMatch(message);
  });

  test('that asks for gigabytes is refused before anything is made of it', () => {
    const fields = Array.from({ length: 16 }, (_, i) => `p${i + 1}`).join(',');
    const wide = Array.from({ length: 8 }, () => `window 1m ${fields}`).join(' | ');
    expect(checkEdgeDefinition(wide)).toMatchObject([{ got: '256 results' }]);
    const stage = ['window-1', { lengthUs: 60_000_000, fields: fields.split(',') }];
    expect(() => decodeEdgeDefinition(encode(Array(8).fill(stage)))).toThrow(
      'at most 64 results, got 256 results',
    );
    const deep = 'window 2h p50,p95,p99 every 1m';
    expect(checkEdgeDefinition(`${deep} | window 2h mean,max every 1m`)).toEqual([]);
    expect(checkEdgeDefinition(`${deep} | window 2h p50 every 1m`)).toMatchObject([
      { got: 'functions that hold 506880 numbers' },
    ]);
    expect(checkEdgeDefinition(`${deep} | bands 4096 0-1`)).toEqual([]);
  });

  test.each([
    ['', 1],
    ['|', 1],
    ['rate |', 7],
    ['window', 7],
    ['window 1m every', 16],
    ['window every 1s', 8],
    ['window 1m mean,mean', 11],
    ['window 1m mean every 7s', 22],
    ['window 1d mean every 1m', 22],
    ['window 0s mean', 8],
    ['window 1.5m mean', 8],
    ['window 1m p0', 11],
    ['window 1m p50.0', 11],
    ['deadband NaN', 10],
    ['deadband Infinity', 10],
    ['deadband 1e999', 10],
    ['deadband -1', 10],
    ['deadband 1 max 1s max 2s', 19],
    ['threshold beside 3', 11],
    ['threshold below 5 release 4', 27],
    ['bands 100 1-2', 7],
    ['bands 8192 1-2', 7],
    ['bands 64 2-1', 10],
    ['bands 64 01-2', 10],
    ['rate | order 5s', 8],
    [Array(9).fill('rate').join('|'), 1],
    ['window 1m p1,p2,p3,p4,p5,p6,p7,p8,p9 | window 1h p1,p2,p3,p4,p5,p6,p7,p8', 1],
    ['x'.repeat(2000), 1],
  ])('%j is refused at %i', (text, position) => {
    expect(checkEdgeDefinition(text)[0]?.position).toBe(position);
  });

  test('knows names and units of the results', () => {
    const definition = parseEdgeDefinition('window 1m mean,count | rate');
    expect(edgeOutputs(definition, 'm')).toEqual([
      { suffix: 'mean.rate', unit: 'm/s' },
      { suffix: 'count.rate', unit: '1/s' },
    ]);
    expect(edgeOutputs(parseEdgeDefinition('deadband 1'), 'Cel')).toEqual([
      { suffix: '', unit: 'Cel' },
    ]);
  });

  test.each([
    ['no CBOR', Uint8Array.of(0xff)],
    ['no array', encode(1)],
    ['no function', encode([])],
    ['an unknown function', encode([['window-2', {}]])],
    ['an inherited name', encode([['__proto__', {}]])],
    ['a missing parameter', encode([['deadband-1', {}]])],
    ['an unknown parameter', encode([['deadband-1', { band: 1, x: 1 }]])],
    ['a parameter out of range', encode([['deadband-1', { band: -1 }]])],
    ['an undefined parameter', encode([['rate-1', new Map([['gapUs', undefined]])]])],
    ['a conflict', encode([['threshold-1', { side: 'above', level: 1, release: 2 }]])],
    [
      'order in the middle',
      encode([
        ['rate-1', {}],
        ['order-1', { waitUs: 1000 }],
      ]),
    ],
    ['a third item', encode([['rate-1', {}, 0]])],
    ['too many bytes', encode('x'.repeat(5000))],
  ])('CBOR with %s is refused', (_name, bytes) => {
    expect(() => decodeEdgeDefinition(bytes)).toThrow(
      expect.objectContaining({ code: 'ERR_EDGE_DEFINITION' }),
    );
  });
});
