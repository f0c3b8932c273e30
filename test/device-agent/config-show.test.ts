/** `fieldproof-agent config show`: what is in force, and from whom. */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NO_RECORD, REMOTE_FILE, saveRemoteRecord } from '@fieldproof/device-agent/remote-file';
import { encodeDesiredState, type Wishes } from '@fieldproof/protocol/desired-state';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import { CONTENT_TYPES, downAad, seal } from '@fieldproof/protocol/envelope';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { agentCli } from '../support/agent-cli.ts';

const YAML = `name: balcony
sensors:
  - driver: simulated
    profile: air
    intervalMs: 5000
  - driver: simulated
    profile: attic
edge:
  temperature: window 1m mean
`;

let data: string;

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'config-show-'));
  await mkdir(join(data, 'state'));
  await writeFile(join(data, 'agent.yaml'), YAML);
});
afterEach(() => rm(data, { recursive: true }));

async function show(...args: string[]) {
  const env = { FIELDPROOF_LINK_WINDOW: '8' };
  const { code, out, err } = await agentCli(['config', 'show', '--data', data, ...args], { env });
  const rows = new Map(
    out.split('\n').map((line) => [line.split(/\s{2,}/)[0]!, line.split(/\s{2,}/).slice(1)]),
  );
  return { code, out, err, rows };
}

async function keep(wishes: Wishes, expires = Date.now() + 3_600_000): Promise<void> {
  const id = new Uint8Array(16);
  const issued = expires - 7_200_000;
  const payload = encodeDesiredState({ id, issued, version: 3, expires, ...wishes });
  const envelope = seal({
    ...{ contentType: CONTENT_TYPES.cbor, payload },
    signer: signerFromSeed(new Uint8Array(32).fill(1)),
    externalAad: downAad('testnet1', 'config', 'device'),
  });
  await saveRemoteRecord(join(data, 'state'), { ...NO_RECORD, newest: 3, inForce: envelope });
}

test('each setting has its origin: file with line, default, variable and flag', async () => {
  const { code, rows } = await show('--set', 'batch.sealEveryMs=20000');
  expect(code).toBe(0);
  expect(rows.get('name')).toEqual(['balcony', 'agent.yaml:1']);
  expect(rows.get('batch.sealEveryMs')).toEqual(['20000', '--set']);
  expect(rows.get('link.window')).toEqual(['8', 'FIELDPROOF_LINK_WINDOW']);
  expect(rows.get('link.heartbeatMs')).toEqual(['50000', 'default']);
  expect(rows.get('sensors.air.intervalMs')).toEqual(['5000', 'agent.yaml:5']);
  expect(rows.get('sensors.attic.intervalMs')).toEqual(['10000', 'default']);
  expect(rows.get('edge.air/temperature')).toEqual(['window 1m mean', 'agent.yaml:9']);
});

test("the operator's settings are shown with version and end", async () => {
  await keep({
    wanted: ['air'],
    intervals: { air: 30_000 },
    edge: { 'air/humidity': 'deadband 2' },
    preferences: { sealEveryMs: 60_000 },
  });
  const { rows } = await show();
  const origin = expect.stringMatching(/^the operator's version 3 until \S+Z$/);
  expect(rows.get('sensors.air.intervalMs')).toEqual(['30000', origin]);
  expect(rows.get('sensors.attic.wanted')).toEqual(['false', origin]);
  expect(rows.get('edge.air/humidity')).toEqual(['deadband 2', origin]);
  expect(rows.get('batch.sealEveryMs')).toEqual(['60000', origin]);
  expect(rows.get('sensors.air.driver')).toEqual(['simulated', 'agent.yaml:3']);
  const json = JSON.parse((await show('--json')).out);
  expect(json.remote).toEqual({ inForce: 3, note: null });
});

test('settings that have ended, do not fit any more or are damaged are not shown as in force', async () => {
  await keep({ intervals: { air: 30_000 } }, Date.now() - 1000);
  expect((await show()).out).toContain("The operator's version 3 has expired.");
  await keep({ intervals: { cellar: 30_000 } });
  expect((await show()).out).toContain('does not fit any more: intervals.cellar');
  await writeFile(join(data, 'agent.yaml'), `${YAML}remote: { allow: false }\n`);
  expect((await show()).out).toContain('remote.allow is false');
  await writeFile(join(data, 'agent.yaml'), YAML);
  await writeFile(join(data, 'state', REMOTE_FILE), 'torn');
  const damaged = await show();
  expect(damaged.out).toContain('cannot be read');
  expect(damaged.rows.get('sensors.air.intervalMs')).toEqual(['5000', 'agent.yaml:5']);
});
