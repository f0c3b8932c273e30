/** The agent with another key, and in the place of another device: id and history stay, and nothing is lost. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { agentCli } from '../support/agent-cli.ts';
import { until } from '../support/network.ts';

const PHRASE = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
const folder = mkdtempSync(join(tmpdir(), 'fieldproof-identity-'));
const words = join(folder, 'words');
const agents: Agent[] = [];
let broker: TestBroker;
let made = 0;

beforeAll(async () => {
  broker = await startTestBroker();
  writeFileSync(words, PHRASE);
});

afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.stop();
});

afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true });
});

const cli = (...args: string[]) => agentCli(args);

async function join1(joinLine: string): Promise<{ data: string; deviceId: string }> {
  const data = join(folder, `agent-${made++}`);
  const flags = ['--join', joinLine, '--owner-phrase-file', words, '--json'];
  const { code, out, err } = await cli('init', '--data', data, ...flags);
  expect([code, err]).toEqual([0, '']);
  return { data, deviceId: (JSON.parse(out) as { deviceId: string }).deviceId };
}

async function run(data: string): Promise<Agent> {
  const config = await checkConfig({
    sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 100 }],
    batch: { sealEveryMs: 100 },
    link: { backoffMinMs: 50, backoffMaxMs: 1000 },
  });
  const agent = new Agent({ config, dataDir: data, statusFile: false });
  agents.push(agent);
  await agent.start();
  return agent;
}

/** Batches of a device in the log. */
async function recorded(deviceId: string) {
  const token = readFileSync(join(broker.dataDir, 'tokens/service'), 'utf8').trim();
  const response = await fetch(`${broker.running.addresses.http}/v1/tail?from=0&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = new FrameReader(0);
  reader.push(new Uint8Array(await response.arrayBuffer()));
  const found = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    const entry = decodeEvidenceEntry(frame.entry);
    if (entry.type !== 'batch' || deviceIdFromPublicKey(entry.device) !== deviceId) continue;
    found.push({ ...entry, envelope: parseEnvelope(Uint8Array.from(frame.body)) });
  }
  return found;
}

const swapLine = async (deviceId: string): Promise<string> => {
  const { body } = await broker.admin('POST', `/admin/devices/${deviceId}/swap`, {});
  return (body as { joinLine: string }).joinLine;
};

const more = async (deviceId: string, than: number, kind = 'telemetry') =>
  until(`more than ${than} ${kind} of ${deviceId}`, async () => {
    const found = (await recorded(deviceId)).filter((entry) => entry.kind === kind);
    return found.length > than ? found : null;
  });

test('a spare part takes the place of a device at init, and goes on as that device', async () => {
  const old = await join1(await broker.joinLine());
  const first = await run(old.data);
  const before = await more(old.deviceId, 0);
  await first.stop();
  const spare = await join1(await swapLine(old.deviceId));
  const agent = await run(spare.data);
  const last = await until('the new hardware is recorded', async () => {
    const [entry] = (await recorded(old.deviceId))
      .filter(({ kind }) => kind === 'telemetry')
      .slice(-1);
    return entry!.bootCounter > before[0]!.bootCounter ? entry : null;
  });
  expect(agent.status()).toMatchObject({ device: old.deviceId, enrolled: true });
  expect(last.bootCounter).toBeGreaterThan(before[0]!.bootCounter + 999);
  expect(last.envelope.kid).not.toEqual(before[0]!.envelope.kid);
  expect(await recorded(spare.deviceId)).toEqual([]);
  // Nothing of the new hardware is refused, and the next start is a boot behind it.
  await agent.stop();
  const again = await run(spare.data);
  await until('it is in session', () => again.status().link.state === 'online');
  expect(again.status().boot.counter).toBeGreaterThan(last.bootCounter);
  expect(again.status().counts.rejected).toBe(0);
});

test('what a spare part has sealed before it could join is recorded of the device whose place it takes', async () => {
  const old = await join1(await broker.joinLine());
  const line = await swapLine(old.deviceId);
  // Nobody is there yet.
  const nowhere = line.replace(/:\d+\//, ':9/');
  const data = join(folder, `agent-${made++}`);
  const { code } = await cli(
    'init',
    '--data',
    data,
    '--join',
    nowhere,
    '--owner-phrase-file',
    words,
  );
  expect(code).toBe(0);
  for (let boot = 1; boot <= 2; boot += 1) {
    const offline = await run(data);
    await until('some is sealed', () => offline.status().counts.sealed > 3);
    await offline.stop();
  }
  const file = join(data, 'join-line');
  writeFileSync(file, readFileSync(file, 'utf8').replace(nowhere, line));
  const agent = await run(data);
  const { counter } = agent.status().boot;
  expect(counter).toBe(3);
  const batches = await until('all of it is recorded', async () => {
    const found = await recorded(old.deviceId);
    const boots = new Set(found.map(({ bootCounter }) => bootCounter));
    return boots.size >= 4 ? found : null;
  });
  const boots = [...new Set(batches.map(({ bootCounter }) => bootCounter))].sort((a, b) => a - b);
  // The two before, the one that took the place, and the one that it starts anew with.
  expect(boots.map((boot) => boot - boots[0]!)).toEqual([0, 1, 2, 3]);
  expect(boots[0]).toBeGreaterThanOrEqual(1000);
  for (const boot of boots.slice(0, 3)) {
    const seqs = batches.filter((batch) => batch.bootCounter === boot).map(({ seq }) => seq);
    expect(seqs.sort((a, b) => a - b)).toEqual(seqs.map((_, seq) => seq));
  }
  expect(agent.status()).toMatchObject({ device: old.deviceId, counts: { rejected: 0 } });
  expect(existsSync(join(data, 'state/outbox.old'))).toBe(false);
});

test('keys rotate gives a running agent another key, and a second time yet another', async () => {
  const { data, deviceId } = await join1(await broker.joinLine());
  const agent = await run(data);
  const keys: string[] = [];
  for (let turn = 0; turn < 2; turn += 1) {
    const before = await more(deviceId, 0);
    const { code, out, err } = await cli('keys', 'rotate', '--data', data, '--json');
    expect([code, err]).toEqual([0, '']);
    const rotated = JSON.parse(out) as { device: string; to: string; firstBoot: number };
    expect(rotated.device).toBe(deviceId);
    keys.push(rotated.to);
    const kid = Buffer.from(before.at(-1)!.envelope.kid).toString('hex');
    await until('the new key signs', async () => {
      const [last] = (await recorded(deviceId)).slice(-1);
      return (
        last!.bootCounter >= rotated.firstBoot &&
        Buffer.from(last!.envelope.kid).toString('hex') !== kid
      );
    });
    await until('it is in session', () => agent.status().link.state === 'online');
  }
  expect(new Set(keys).size).toBe(2);
  expect(agent.status()).toMatchObject({
    device: deviceId,
    counts: { rejected: 0, pending: expect.any(Number) },
  });
  expect(existsSync(join(data, 'device.key.next'))).toBe(false);
});

test('a rotation that was interrupted behind the answer is ended by the same command', async () => {
  const { data, deviceId } = await join1(await broker.joinLine());
  const key = readFileSync(join(data, 'device.key'), 'utf8');
  const credential = readFileSync(join(data, 'state/credential.cose'));
  const { out } = await cli('keys', 'rotate', '--data', data, '--json');
  const rotated = JSON.parse(out) as { to: string; firstBoot: number };
  const next = readFileSync(join(data, 'device.key'), 'utf8').trim();
  // As it was when the network had answered and nothing of it was durable.
  writeFileSync(join(data, 'device.key'), key);
  writeFileSync(join(data, 'device.key.next'), `${next} ${rotated.firstBoot}\n`, { mode: 0o600 });
  writeFileSync(join(data, 'state/credential.cose'), credential);
  for (const hasPlace of [true, false]) {
    if (!hasPlace) rmSync(join(data, 'place.json'));
    const again = await cli('keys', 'rotate', '--data', data, '--json');
    expect([again.code, again.err]).toEqual([0, '']);
    expect(JSON.parse(again.out)).toMatchObject({ device: deviceId, to: rotated.to });
    writeFileSync(join(data, 'device.key'), key);
    writeFileSync(join(data, 'device.key.next'), `${next} ${rotated.firstBoot}\n`, { mode: 0o600 });
  }
});

test.each([
  ['no JSON', 'x'],
  ['another key', JSON.stringify({ device: 'z6Mk', firstBoot: 1, key: 'a', before: 'b' })],
])('a place file with %s is named', async (_, text) => {
  const { data } = await join1(await broker.joinLine());
  writeFileSync(join(data, 'place.json'), text);
  const { code, err } = await cli('status', '--data', data);
  expect(code).toBe(74);
  expect(err).toMatch(/ERR_AGENT_STATE: .*place\.json/);
});
