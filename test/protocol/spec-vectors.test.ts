import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fromHex } from '@fieldproof/protocol/bytes';
import { verify as verifyNoble } from '@fieldproof/protocol/ed25519';
import { verify as verifyNode } from '@fieldproof/protocol/ed25519-node';
import { openUp } from '@fieldproof/protocol/envelope';
import { describe, expect, test } from '@jest/globals';
import { generatedFiles } from '../../protocol/vectors/cases/generated-files.ts';
import { REPOSITORY } from '../support/services.ts';

const read = (path: string): string => readFileSync(resolve(REPOSITORY, path), 'utf8');
const files = await generatedFiles(read);

describe('the specification and its vectors', () => {
  test.each([...files.keys()])('%s holds what the code produces', (path) => {
    expect(read(path)).toBe(files.get(path));
  });

  test.each([
    ['node:crypto', verifyNode],
    ['noble', verifyNoble],
  ])('the telemetry envelope as published verifies with %s', (_name, verify) => {
    const { cases } = JSON.parse(read('protocol/vectors/envelope.json')) as {
      cases: { hex: string; inputs: Record<string, string> }[];
    };
    const example = cases[0]!;
    const opened = openUp(fromHex(example.hex), {
      externalAad: fromHex(example.inputs.externalAad!),
      publicKey: fromHex(example.inputs.publicKey!),
      verify,
    });
    expect(opened.stamp.seq).toBe(3);
    expect(opened.contentType).toBe(112);
  });
});
