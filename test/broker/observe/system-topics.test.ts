import {
  type SystemSnapshot,
  SystemTopics,
  systemSnapshot,
} from '@fieldproof/broker/observe/system-topics';
import { expect, test } from '@jest/globals';

const SNAPSHOT: SystemSnapshot = {
  verdicts: {
    ...{ received: 3, accepted: 1, duplicate: 1, rejected: 1, unsettledRejects: 0, inFlight: 0 },
    rejectedByCode: { ERR_QOS: 1 },
  },
  evidence: { entries: 5, published: 4, pendingBytes: 0, writable: true, problem: null },
  mqtt: { connections: 2, sessions: 1, paused: 0, pendingBytes: 0, refused: { size: 1 } },
  devices: {
    ...{ good: 1, expired: 0, suspended: 0, unenrolled: 0, online: 1, away: 0 },
    quarantinedBoots: 0,
  },
};

test('the first time every subject has a message, with its time', () => {
  const messages = new SystemTopics('net').changes(SNAPSHOT, 7);
  expect(messages.map(({ topic }) => topic)).toEqual([
    '$SYS/fieldproof/net/verdicts',
    '$SYS/fieldproof/net/evidence',
    '$SYS/fieldproof/net/mqtt',
    '$SYS/fieldproof/net/devices',
  ]);
  expect(JSON.parse(messages[0]!.payload)).toEqual({ at: 7, ...SNAPSHOT.verdicts });
  expect(JSON.parse(messages[3]!.payload)).toEqual({ at: 7, ...SNAPSHOT.devices });
});

test('after that only what has changed', () => {
  const topics = new SystemTopics('net');
  topics.changes(SNAPSHOT, 7);
  expect(topics.changes(structuredClone(SNAPSHOT), 8)).toEqual([]);
  const changed = { ...SNAPSHOT, evidence: { ...SNAPSHOT.evidence, entries: 6 } };
  expect(topics.changes(changed, 9).map(({ topic }) => topic)).toEqual([
    '$SYS/fieldproof/net/evidence',
  ]);
  expect(topics.changes(changed, 10)).toEqual([]);
});

test('a log that failed is not writable until a write goes well, also between two attempts', () => {
  const evidence = (problem: { readonly code: string } | null) => ({
    ...{ size: 5, pendingBytes: 0, isRefusing: false, checkpoint: null, problem },
  });
  const writable = (problem: { readonly code: string } | null) =>
    systemSnapshot({
      counters: { values: () => SNAPSHOT.verdicts },
      evidence: evidence(problem),
      mqtt: { status: () => SNAPSHOT.mqtt },
      deviceCounts: () => ({ standings: SNAPSHOT.devices, online: 1 }),
      quarantine: { count: 0 },
      outages: { count: 0 },
    }).evidence.writable;
  expect(writable({ code: 'ERR_LOG_FULL' })).toBe(false);
  expect(writable(null)).toBe(true);
});
