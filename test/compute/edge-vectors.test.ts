import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fromHex } from '@fieldproof/protocol/bytes';
import { decode } from '@fieldproof/protocol/cbor';
import { describe, expect, test } from '@jest/globals';
import { edgeFiles } from '../../compute/vectors/generate.ts';
import { REPOSITORY } from '../support/repository.ts';
import { type Instant, referenceResults, type Stage } from './edge-reference.ts';

const read = (path: string): string => readFileSync(resolve(REPOSITORY, path), 'utf8');
const files = edgeFiles(read);

test.each([...files.keys()])('%s holds what the code produces', (path) => {
  expect(read(path)).toBe(files.get(path));
});

describe('the published results are those of a second, naive implementation', () => {
  const { cases } = JSON.parse(read('compute/vectors/edge.json')) as {
    cases: { name: string; hex: string }[];
  };
  test.each(cases)('$name', ({ hex }) => {
    const map = decode(fromHex(hex)) as Map<string, unknown>;
    const definition = (map.get('definition') as [string, Map<string, unknown>][]).map(
      ([id, params]): Stage => [id, Object.fromEntries(params)],
    );
    const published = map.get('results') as Instant[][];
    const computed = referenceResults(definition, map.get('instants') as Instant[]);
    expect(computed.flat().length).toBeGreaterThan(0);
    if (definition.at(-1)![0] !== 'bands-1') expect(published).toEqual(computed);
    else {
      const close = computed.map((list) => list.map(([time, v]) => [time, expect.closeTo(v, 12)]));
      expect(published).toEqual(close);
    }
  });
});
