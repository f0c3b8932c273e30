import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newPhrase } from '@fieldproof/device-agent/owner';
import { publicKeyFromSeed } from '@fieldproof/protocol/ed25519';
import { formatJoinLine } from '@fieldproof/protocol/join-line';
import { DEMO_FLEET } from '@fieldproof/stack/demo-fleet';
import { prepareAgents } from '@fieldproof/stack/enrol-agents';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { parse } from 'yaml';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-agents-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a demo device has its recording in its own folder, so that it runs wherever the program went', async () => {
  const joinLine = formatJoinLine({
    host: '127.0.0.1',
    port: 7880,
    plain: true,
    network: 'h7dz6lhl',
    rootKey: publicKeyFromSeed(new Uint8Array(32).fill(1)),
    token: new Uint8Array(16),
  });
  const phrase = await newPhrase((length) => new Uint8Array(length).fill(7));
  const context = { folder, joinLine, phrase };
  const folders = await prepareAgents(DEMO_FLEET, context);
  expect(folders).toHaveLength(DEMO_FLEET.length);
  for (const [index, dataDir] of folders.entries()) {
    const text = readFileSync(join(dataDir, 'agent.yaml'), 'utf8');
    const { sensors } = parse(text) as { sensors: { file: string }[] };
    expect(sensors[0]?.file).toMatch(/^[a-z-]+\.csv$/);
    const recording = readFileSync(join(dataDir, sensors[0]!.file), 'utf8');
    expect(recording).toBe(readFileSync(DEMO_FLEET[index]!.recording!, 'utf8'));
    // It is the owner's from then on.
    writeFileSync(join(dataDir, sensors[0]!.file), 'mine');
  }
  await prepareAgents(DEMO_FLEET, context);
  for (const dataDir of folders) {
    const { sensors } = parse(readFileSync(join(dataDir, 'agent.yaml'), 'utf8')) as {
      sensors: { file: string }[];
    };
    expect(readFileSync(join(dataDir, sensors[0]!.file), 'utf8')).toBe('mine');
  }
});
