import { AnalyticsError } from '@fieldproof/analytics/errors';
import type { ProjectionStatus } from '@fieldproof/analytics/projection/projection';
import { statusOf } from '@fieldproof/flows/telemetry-service';
import { expect, test } from '@jest/globals';

const HEALTHY: ProjectionStatus = {
  connected: true,
  nextIndex: 12,
  cursorIndex: 10,
  lastEntryMs: 5000,
  unacknowledged: 0,
  ignored: 0,
  consumers: 2,
  readings: 40,
  deadLetters: 0,
  erased: 0,
  unprojectable: {},
  waiting: 0,
  droppedWaiting: 0,
  problem: undefined,
  oldestUnstoredMs: undefined,
  isAtEnd: true,
};

test.each([
  ['health in green', {}, 'green', 'index 10'],
  ['a lag', { unacknowledged: 3 }, 'green', 'index 10 · lag 15 s · 3 unacknowledged'],
  [
    'that messages do not come back',
    { unacknowledged: 3, ignored: 2 },
    'yellow',
    '2 sent again, something keeps them · index 10 · lag 15 s · 3 unacknowledged',
  ],
  ['boots without time', { waiting: 7 }, 'green', 'index 10 · 7 without time'],
  ['what is too much to wait', { droppedWaiting: 2 }, 'green', 'index 10 · 2 never placed'],
  ['what cannot be read', { unprojectable: { ERR_X: 4 } }, 'green', 'index 10 · 4 unreadable'],
  ['dead letters in red', { deadLetters: 1 }, 'red', '1 set aside · index 10'],
  ['that nothing stores it', { consumers: 0 }, 'yellow', 'nothing stores this · index 10'],
  [
    'a refused token in red',
    { connected: false, problem: new AnalyticsError('ERR_TAIL_AUTH', 'broker: refused') },
    'red',
    'ERR_TAIL_AUTH: broker: refused',
  ],
] as const)('the status shows %s', (_what, changes, fill, text) => {
  expect(statusOf({ ...HEALTHY, ...changes }, 20_000)).toMatchObject({ fill, text });
});
