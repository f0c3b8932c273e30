import { describe, expect, test } from '@jest/globals';
import { faultPlan, type PlanOptions } from './fault-plan.ts';

const OPTIONS: PlanOptions = {
  durationMs: 60_000,
  counts: {
    ...{ killBroker: 3, killControl: 2, killFlows: 2, killAgents: 4, killSeveral: 5 },
    ...{ killSupervisor: 1, killLoad: 30, pause: 6, proxy: 14, clock: 10, influx: 2 },
  },
  ...{ loadProcesses: 4, clockDevices: 4, fleet: true },
};

describe('a plan of faults', () => {
  test('is the same for the same seed, and another for another', () => {
    expect(faultPlan(7, OPTIONS)).toEqual(faultPlan(7, OPTIONS));
    expect(faultPlan(7, OPTIONS)).not.toEqual(faultPlan(8, OPTIONS));
  });

  test('holds what was asked for, in the order of time, spread over the run', () => {
    const plan = faultPlan(7, OPTIONS);
    expect(plan).toHaveLength(79);
    const times = plan.map(({ atMs }) => atMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times[0]).toBeGreaterThanOrEqual(0);
    expect(times.at(-1)).toBeLessThan(OPTIONS.durationMs);
    const brokers = plan.flatMap((fault) =>
      fault.kind === 'kill' && fault.targets.join() === 'broker' ? [fault.atMs] : [],
    );
    expect(brokers.map((atMs) => Math.floor(atMs / 20_000))).toEqual([0, 1, 2]);
  });

  test('kills several different processes at once', () => {
    const several = faultPlan(7, OPTIONS).flatMap((fault) =>
      fault.kind === 'kill' && fault.targets.length > 1 ? [fault.targets] : [],
    );
    expect(several).toHaveLength(5);
    for (const targets of several) expect(new Set(targets).size).toBe(targets.length);
  });
});
