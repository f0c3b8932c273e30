import { formatStatus } from '@fieldproof/broker/cli/status-view';
import { widthOf } from '@fieldproof/broker/cli/text-layout';
import { expect, test } from '@jest/globals';

const STATUS = {
  network: 'h7dz6lhl',
  uptimeMs: 93_784_000,
  devices: 12,
  addresses: { http: 'http://127.0.0.1:7880', mqtt: 'mqtt://127.0.0.1:7883', https: null },
  verdicts: {
    ...{ received: 1200, accepted: 1100, duplicate: 50, rejected: 50, inFlight: 0 },
    rejectedByCode: { ERR_QOS: 20, ERR_SIGNATURE_INVALID: 30 },
  },
  evidence: { entries: 1205, published: 1205 },
  mqtt: { sessions: 9, connections: 11, refused: { 'CONNACK 4': 3 } },
  tls: { daysLeft: 300 },
  problems: [],
};

test('a broker that is well has its numbers, aligned', () => {
  expect(formatStatus(STATUS)).toBe(
    [
      'network      h7dz6lhl, up 1 d 2 h',
      'addresses    http://127.0.0.1:7880',
      '             mqtt://127.0.0.1:7883',
      'devices      12 enrolled, 9 online',
      'connections  11 MQTT',
      'refused      3 CONNACK 4',
      'received     1200 = 1100 accepted + 50 duplicate + 50 rejected',
      'rejected     30 ERR_SIGNATURE_INVALID',
      '             20 ERR_QOS',
      'evidence     1205 entries',
      'certificate  300 days left',
    ].join('\n'),
  );
});

test('problems come first, with what to do, and everything fits 80 columns', () => {
  const shown = formatStatus({
    ...STATUS,
    verdicts: {
      ...STATUS.verdicts,
      inFlight: 7,
      rejectedByCode: Object.fromEntries(
        Array.from({ length: 12 }, (_, i) => [`ERR_${i}`, 20 - i]),
      ),
    },
    evidence: { entries: 9, published: 4 },
    problems: [
      {
        ...{ part: 'log', code: 'ERR_LOG_FULL', detail: 'the disk refuses to be written (ENOSPC)' },
        remedy: 'Keep the envelopes and send them again; the operator must free disk space, soon.',
      },
    ],
  });
  const lines = shown.split('\n');
  expect(lines[0]).toBe('PROBLEM      log: ERR_LOG_FULL');
  expect(lines[1]).toContain('ENOSPC');
  for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(80);
  expect(shown).toContain('+ 7 in flight');
  expect(shown).toContain('5 not yet published');
  // Twelve codes: the eight most frequent, and the sum of the others.
  expect(shown).toContain(`${12 + 11 + 10 + 9} others`);
});

test('the plain profile has its numbers where it is open, or in use', () => {
  const plain = {
    ...{ sessions: 5, online: 3, subscriptions: 7, retained: 2, retainedBytes: 600, queued: 4 },
    ...{ queuedBytes: 3_500_000, overRate: 0, received: 90, delivered: 250 },
    refused: { ERR_PLAIN_FORBIDDEN: 6, ERR_PLAIN_QUEUE: 8 },
  };
  const addresses = { ...STATUS.addresses, plain: 'mqtt://127.0.0.1:7888' };
  const lines = formatStatus({ ...STATUS, addresses, plain }).split('\n');
  expect(lines.slice(-6, -1)).toEqual([
    'plain        3 online, 5 sessions, 7 subscriptions',
    '             90 received, 250 delivered',
    '             2 retained, 4 queued (3.3 MiB)',
    '             8 ERR_PLAIN_QUEUE',
    '             6 ERR_PLAIN_FORBIDDEN',
  ]);
  expect(formatStatus({ ...STATUS, plain })).toContain('3 online, 5 sessions');
  const unused = { ...plain, sessions: 0, received: 0 };
  expect(formatStatus({ ...STATUS, plain: unused })).not.toContain('plain');
});

test('an answer of an earlier version is shown without what it lacks', () => {
  const { problems: _, tls: __, ...early } = STATUS;
  expect(formatStatus(early)).toContain('network      h7dz6lhl');
});
