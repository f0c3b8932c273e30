/**
 * Everything that `npm start` starts is killed, paused, cut off and given wrong clocks, at instants by chance under
 * load, on both stores. It comes back without a hand, and `fieldproof audit conservation` finds nothing lost, doubled
 * or changed. SEED repeats a run; `npm run soak` runs longer.
 */

import { describe, expect, test } from '@jest/globals';
import { describeWith } from '../support/services.ts';
import type { Store } from './broken-network.ts';
import type { PlanCounts } from './fault-plan.ts';
import { hitsAfterProgress, hitsUnderLoad, reportLines } from './fault-report.ts';
import { faultSession } from './fault-session.ts';
import { seedFromEnvironment } from './seeded-random.ts';

const SEED = seedFromEnvironment();
const COUNTS: PlanCounts = {
  ...{ killBroker: 3, killControl: 2, killFlows: 2, killAgents: 4, killSeveral: 3 },
  ...{ killSupervisor: 1, killLoad: 34, pause: 14, proxy: 28, clock: 20, influx: 2 },
};
/** Of each store; together more than 200. */
const AT_LEAST = 101;

async function survives(store: Store): Promise<void> {
  const report = await faultSession({
    ...{ seed: SEED, store, durationMs: 30_000, counts: COUNTS, fleet: false },
    load: { processes: 4, agents: 2, sensors: 2 },
  });
  const { hits, recoveries, audit, readings, receipts } = report;
  process.stdout.write(
    `\nSEED=${SEED}, ${store}: ${readings} readings, ${receipts} new receipts\n${reportLines(hits, recoveries).join('\n')}\n`,
  );
  const seed = `SEED=${SEED}`;
  expect({ seed, problems: report.problems }).toEqual({ seed, problems: [] });
  expect(hitsUnderLoad(hits).length).toBeGreaterThanOrEqual(AT_LEAST);
  expect(hitsAfterProgress(hits, 'kill broker')).toBeGreaterThanOrEqual(3);
  for (const name of ['kill control', 'kill flows', 'kill agent']) {
    expect(hitsAfterProgress(hits, name)).toBeGreaterThanOrEqual(2);
  }
  expect(hitsAfterProgress(hits, 'kill npm start')).toBe(COUNTS.killSupervisor);
  expect(readings).toBeGreaterThan(1000);
  expect(receipts).toBeGreaterThan(0);

  // Everything came back, drained, ended in order, and is whole.
  expect(report.exitCode).toBe(0);
  const failed = audit.report?.checks.filter(({ violations }) => violations > 0);
  expect({ seed, failed, text: report.auditText }).toEqual({ seed, failed: [], text: '' });
  expect(audit).toMatchObject({ code: 0, report: { ok: true } });
  for (const { name, checked } of audit.report!.checks) {
    expect({ name, isChecked: checked > 0 }).toEqual({ name, isChecked: true });
  }
  const { devices, readings: expected, store: stored } = audit.report!.counts;
  expect(devices.recorded).toBeGreaterThan(100);
  // Only what was signed at the very end, of agents that end, may be on its way.
  expect(devices.waiting).toBeLessThanOrEqual(2 * 9);
  // A boot with a wrong clock that was killed before it was ever online has no place in time (envelope.md 3.3).
  expect(expected.unanchored).toBeLessThan(devices.recorded / 4);
  expect(stored!.stored).toBeGreaterThan(1000);
  expect(stored!.notYet).toBeLessThan(500);
  expect({ seed, misplaced: report.misplaced }).toEqual({ seed, misplaced: 0 });
  expect({ seed, badLines: report.badLines }).toEqual({ seed, badLines: [] });
}

describe('a network that is broken all the time', () => {
  test('loses nothing, with the embedded store', () => survives('embedded'), 900_000);
});

describeWith(['influxd'], 'a network that is broken all the time, InfluxDB too', () => {
  test('loses nothing', () => survives('influx'), 900_000);
});
