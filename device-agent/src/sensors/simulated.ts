/**
 * A made-up room: temperature, humidity and pressure that swing with the day, from a seed. Tagged
 * `simulated`, so that nobody pays for it.
 */

import { integer, section } from '../schema.ts';
import type { MetricSpec, SensorDriver } from './sensor.ts';

interface SimulatedOptions {
  readonly seed: number;
}

const METRICS: readonly MetricSpec[] = [
  { metric: 'temperature', unit: 'Cel', resolution: 0.01 },
  { metric: 'humidity', unit: '%RH', resolution: 0.1 },
  { metric: 'pressure', unit: 'Pa', resolution: 10 },
];

const DAY_MS = 86_400_000;

export const simulatedDriver: SensorDriver<SimulatedOptions> = {
  source: 'simulated',
  options: section<SimulatedOptions>({
    seed: integer({ min: 0, max: 2 ** 32 - 1, byDefault: 1 }),
  }),
  async create({ options, bootMs }) {
    const next = xorshift32(options.seed);
    const phase = next();
    let wander = 0;
    return {
      kind: 'pull',
      source: 'simulated',
      metrics: METRICS,
      async read() {
        wander = 0.98 * wander + 0.2 * (next() - 0.5);
        const swing = Math.sin(2 * Math.PI * (bootMs() / DAY_MS + phase));
        return [
          { metric: 'temperature', value: 21 + 4 * swing + wander },
          { metric: 'humidity', value: 50 - 12 * swing + 2 * wander },
          { metric: 'pressure', value: 101_325 + 300 * swing + 40 * wander },
        ];
      },
    };
  },
};

/** Marsaglia's xorshift, 32 bits: numbers from 0 to 1, the same for the same seed everywhere. */
function xorshift32(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  const step = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
  for (let warmUp = 0; warmUp < 8; warmUp += 1) step();
  return step;
}
