import {
  decodePolicy,
  encodePolicy,
  policyHash,
  policyProblems,
} from '@fieldproof/compute/rewards/policy';
import { encode } from '@fieldproof/protocol/cbor';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';

const YAML = `
format: 1
version: 1
from: 1800000000000
text: The first policy.
epoch: { originMs: 1800000000000, lengthMs: 86400000, slotMs: 300000, graceMs: 600000, horizonMs: 86400000 }
telemetry:
  pool: 1000000000
  fullPoints: 0
  sources: [sensor]
  metrics:
    air/temperature: { weight: 10, cadenceMs: 10000, resolution: 0.1, quality: outdoor }
  fillPpm: 900000
  density:
    occupiedPpm: 500000
    levels: [{ resolution: 7, n: 4, target: 5, max: 10 }, { resolution: 6, n: 4, target: 25, max: 50 }]
  relocation: { freezeEpochs: 7, rampEpochs: 7 }
  lonePpm: 500000
  caps: { devicePpm: 100000, ownerPpm: 300000 }
quality:
  outdoor:
    bounds: [-40, 60]
    jump: { limit: 5, withinMs: 60000 }
    stuck: { afterMs: 14400000, readings: 10, except: [[0, 0]] }
    duplicate: { readings: 60, values: 10, slots: 12 }
    buddies: { resolution: 5, owners: 3, spread: 2.5, timesMad: 6 }
stewards: { keys: [], needed: 0, noticeEpochs: 1 }
`;

type Draft = Record<string, never> & {
  epoch: Record<string, unknown>;
  telemetry: Record<string, Record<string, unknown>>;
  quality: Record<string, Record<string, unknown>>;
  stewards: Record<string, unknown>;
};

const draft = () => parse(YAML) as Draft;

function problemsAfter(change: (policy: Draft) => void): readonly string[] {
  const policy = draft();
  change(policy);
  return policyProblems(policy);
}

describe('a policy', () => {
  test('goes from YAML to canonical bytes and back', () => {
    const encoded = encodePolicy(draft());
    const policy = decodePolicy(encoded);
    expect(encodePolicy(policy)).toEqual(encoded);
    expect(policy.telemetry.metrics['air/temperature']).toEqual({
      ...{ weight: 10, cadenceMs: 10_000, resolution: 0.1, quality: 'outdoor' },
    });
    expect(policy.quality.outdoor!.stuck!.except).toEqual([[0, 0]]);
    expect(policyHash(encoded)).toHaveLength(32);
  });

  test('is the same whatever the order of its keys', () => {
    const turned = Object.fromEntries(Object.entries(draft()).reverse());
    expect(encodePolicy(turned)).toEqual(encodePolicy(draft()));
  });

  test('all mistakes are told at once, with their place', () => {
    const problems = problemsAfter((policy) => {
      policy.epoch.slotMs = 'often';
      policy.telemetry.caps!.devicePpm = 1_000_001;
      policy.telemetry.metrics!.Air = { weight: 1 };
      policy.quality.outdoor!.bouns = [1, 2];
      delete policy.stewards.needed;
    });
    expect(problems).toEqual([
      'epoch.slotMs: expected a whole number from 1 to 3155760000000, got "often"',
      'telemetry.metrics.Air: expected a name like profile/metric, got "Air"',
      'telemetry.metrics.Air.cadenceMs: expected a whole number from 1 to 3155760000000, got nothing',
      'telemetry.metrics.Air.resolution: expected a number above 0, got nothing',
      'telemetry.metrics.Air.quality: expected text of 1 to 64 characters, got nothing',
      'telemetry.caps.devicePpm: expected a whole number from 0 to 1000000, got 1000001',
      'quality.outdoor.bouns: unknown, expected bounds, jump, stuck, duplicate, buddies',
      'stewards.needed: expected a whole number from 0 to 64, got nothing',
    ]);
  });

  test('what no single value says is told too', () => {
    const problems = problemsAfter((policy) => {
      policy.epoch.slotMs = 300_001;
      policy.epoch.graceMs = 86_400_001;
      policy.telemetry.metrics!['air/humidity'] = {
        ...{ weight: 1, cadenceMs: 1, resolution: 1, quality: 'indoor' },
      };
      (policy.telemetry.density!.levels as unknown[]).reverse();
      policy.quality.outdoor!.bounds = [60, -40];
      policy.stewards.needed = 1;
    });
    expect(problems).toEqual([
      'epoch.slotMs: expected a divisor of lengthMs 86400000, got 300001',
      'epoch.graceMs: expected at most horizonMs 86400000, got 86400001',
      'telemetry.metrics.air/humidity.quality: expected one of quality (outdoor), got "indoor"',
      'telemetry.density.levels: expected falling resolutions',
      'quality.outdoor.bounds: expected the smaller one first, got 60, -40',
      'stewards.needed: expected at most 0, the number of keys',
    ]);
  });

  test('of another shape is refused, not read half', () => {
    for (const value of [null, 7, 'policy', [], new Map([['format', 2]]), { __proto__: {} }]) {
      expect(policyProblems(value)).not.toEqual([]);
    }
    expect(() => decodePolicy(encode([1]))).toThrow('policy: expected a map of format, version');
    expect(() => decodePolicy(new Uint8Array(60_001))).toThrow(
      expect.objectContaining({ code: 'ERR_POLICY' }),
    );
    expect(() => encodePolicy({})).toThrow(expect.objectContaining({ code: 'ERR_POLICY' }));
  });

  test('no key of it leads to a prototype', () => {
    const problems = problemsAfter((policy) => {
      Object.defineProperty(policy.quality, '__proto__', { value: {}, enumerable: true });
      policy.telemetry.metrics!['air/temperature'] = {
        ...{ weight: 1, cadenceMs: 1, resolution: 1, quality: 'toString' },
      };
    });
    expect(problems).toContain(
      'telemetry.metrics.air/temperature.quality: expected one of quality (outdoor, __proto__), got "toString"',
    );
  });
});
