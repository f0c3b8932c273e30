/** Examples of docs/spec/edge-functions.md. */

import { type CborValue, encode, Float } from '@fieldproof/protocol/cbor';
import { cborCase, type VectorFile } from '../../protocol/vectors/cases/vector-file.ts';
import { edgeOutputs, formatEdgeDefinition, parseEdgeDefinition } from '../src/edge-definition.ts';
import { EdgePipeline } from '../src/edge-pipeline.ts';

type Instant = readonly [timeUs: number, value: number];

const NOON = 1_795_262_400_000_000;
const SECOND = 1_000_000;

/** Decimals from −20 to 19.99 without a pattern, from a linear congruential generator. */
function decimals(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return (Math.floor(state / 65_536) % 4000) / 100 - 20;
  });
}

const series = (stepUs: number, values: readonly number[]): Instant[] =>
  values.map((value, i) => [NOON + i * stepUs, value]);

const walk = (count: number, seed: number): Instant[] => {
  let level = 0;
  return series(
    5 * SECOND,
    decimals(count, seed).map((step) => {
      level += Math.round(step);
      return level / 10;
    }),
  );
};

const disorder: readonly Instant[] = [
  ...([0, 4, 2, 2, 6, 3, 12, 7, 8, 8, 20, 41].map((s) => [NOON + s * SECOND, s / 10]) as Instant[]),
];

/** A square wave of 6.25 Hz, then a gap and the wave again, with intervals that vary a little. */
const vibration: readonly Instant[] = Array.from({ length: 84 }, (_, n) => [
  NOON + n * 10_000 + (n % 3) * 400 + (n >= 20 ? 3 * SECOND : 0),
  n % 16 < 8 ? 1.5 : -0.5,
]);

const CASES: readonly (readonly [name: string, text: string, instants: readonly Instant[]])[] = [
  [
    'window and deadband',
    'window 1m mean,max | deadband 0.2',
    series(20 * SECOND, [21.5, 21.53, 21.48, 21.6, 21.61, 21.9, 22, 22.1, 22.3, 22.2]),
  ],
  ['all figures', 'window 1m count,sum,mean,min,max,first,last,stddev,p1,p50,p99.9', walk(40, 1)],
  [
    'sliding window of twelve steps',
    'window 2m stddev,mean,p90 every 10s',
    series(
      1_700_000,
      decimals(150, 2).map((pascal) => 101_325 + pascal),
    ),
  ],
  [
    'quantiles of more numbers than buckets',
    'window 1h p0.1,p10,p50,p99.9',
    [...series(SECOND, decimals(1400, 3)), [NOON + 3600 * SECOND, 0]],
  ],
  ['relative deadband with a longest silence', 'deadband 10% max 1m', walk(60, 4)],
  ['threshold', 'threshold above 0 release -2 for 10s gap 1m', walk(120, 8)],
  ['threshold below', 'threshold below -1', walk(60, 6)],
  ['rate', 'rate gap 10s | window 1m mean,stddev', walk(60, 7)],
  ['order', 'order 5s | window 10s first,count', disorder],
  ['strict order', 'deadband 0', disorder],
  ['band power', 'bands 64 0-3,3-10,10-25,60-80 | threshold above 0.5', vibration],
  [
    'anomaly',
    'anomaly | deadband 0',
    series(
      300 * SECOND,
      Array.from({ length: 404 }, (_, i) => (i === 400 ? 60 : (i * i) % 13)),
    ),
  ],
  ['anomaly at a lower threshold', 'anomaly at 0.05 | deadband 0', walk(600, 9)],
  ['band power of a square wave', 'bands 64 0-3,3-10,10-25,60-80', vibration],
];

export function edgeVectors(): VectorFile {
  return {
    spec: 'docs/spec/edge-functions.md',
    cases: CASES.map(([name, text, instants]) => {
      const definition = parseEdgeDefinition(text);
      const outputs = edgeOutputs(definition, '').map(({ suffix }) => suffix);
      const results = outputs.map((): CborValue[] => []);
      const pipeline = new EdgePipeline(definition);
      for (const [time, value] of instants) {
        pipeline.push(time, value, (output, timeUs, result) => {
          results[output]!.push([timeUs, new Float(result)]);
        });
      }
      const bytes = encode({
        definition: definition.map(({ type, params }) => [type.id, params]),
        instants: instants.map(([time, value]) => [time, new Float(value)]),
        outputs,
        results,
        state: pipeline.save(),
      });
      const about = `${instants.length} instants, ${results.flat().length} results.`;
      return cborCase({ name, about, inputs: { text: formatEdgeDefinition(definition) } }, bytes);
    }),
  };
}
