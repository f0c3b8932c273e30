/** A leaf, its gateway and a broker: a day without a network, and everything is recorded once, in order, and forgotten by receipts. */

import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { downSender } from '@fieldproof/analytics/device-config/down-sender';
import { Agent } from '@fieldproof/device-agent/agent';
import type { Clock, TimerHandle } from '@fieldproof/device-agent/clock';
import { checkConfig } from '@fieldproof/device-agent/config';
import { loadDeviceKey } from '@fieldproof/device-agent/device-key';
import { LeafMail } from '@fieldproof/device-agent/gateway/leaf-mail';
import { GatewayPort } from '@fieldproof/device-agent/gateway/port';
import { configReportOf } from '@fieldproof/protocol/config-report';
import { encodeDesiredState } from '@fieldproof/protocol/desired-state';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { downAad, parseEnvelope, seal } from '@fieldproof/protocol/envelope';
import { FrameReader } from '@fieldproof/protocol/frame';
import { sealGatewayHello } from '@fieldproof/protocol/gateway-login';
import { type BatchEntry, decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { decodeEvent } from '@fieldproof/protocol/messages';
import { encodeReceipt, encodeReject } from '@fieldproof/protocol/settlement-messages';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { agentCli } from '../support/agent-cli.ts';
import { until } from '../support/network.ts';

const PHRASE = 'legal winner thank year wave sausage worth useful legal winner thank yellow';
const HOUR_MS = 3_600_000;
const folder = mkdtempSync(join(tmpdir(), 'fieldproof-gateway-'));
const words = join(folder, 'words');
const agents: Agent[] = [];
let broker: TestBroker;
let made = 0;

/** Time goes on as it does, and jumps when told. */
const time = {
  offsetMs: 0,
  timers: new Map<object, { dueMs: number; task: () => void; real: NodeJS.Timeout }>(),
  jump(ms: number): void {
    time.offsetMs += ms;
    const now = clock.monotonicMs();
    const due = [...time.timers].filter(([, { dueMs }]) => dueMs <= now);
    for (const [name, { task, real }] of due.sort((a, b) => a[1].dueMs - b[1].dueMs)) {
      clearTimeout(real);
      if (time.timers.delete(name)) task();
    }
  },
};
const clock: Clock = {
  wallMs: () => Date.now() + time.offsetMs,
  monotonicMs: () => performance.now() + time.offsetMs,
  after: (delayMs, task) => {
    const name = {};
    const run = () => {
      if (time.timers.delete(name)) task();
    };
    const real = setTimeout(run, Math.min(Math.max(0, delayMs), 2 ** 31 - 1));
    time.timers.set(name, { dueMs: clock.monotonicMs() + delayMs, task, real });
    return name as TimerHandle;
  },
  cancel: (timer) => {
    const known = time.timers.get(timer as object);
    clearTimeout(known?.real);
    time.timers.delete(timer as object);
  },
};

beforeAll(async () => {
  writeFileSync(words, PHRASE);
  const [httpPort, mqttPort] = [await freePort(), await freePort()];
  broker = await startTestBroker({ httpPort, mqttPort }, { now: () => clock.wallMs() });
});

afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.stop();
});

afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function cli(...args: string[]): Promise<string> {
  const { code, out, err } = await agentCli(args);
  expect([code, err]).toEqual([0, '']);
  return out;
}

async function joined(): Promise<{ data: string; id: string }> {
  const data = join(folder, `agent-${made++}`);
  const flags = ['--join', await broker.joinLine(), '--owner-phrase-file', words, '--json'];
  const out = await cli('init', '--data', data, ...flags);
  return { data, id: (JSON.parse(out) as { deviceId: string }).deviceId };
}

async function run(data: string, config: object = {}): Promise<Agent> {
  const agent = new Agent({
    config: await checkConfig({
      sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 500 }],
      batch: { sealEveryMs: 500 },
      outbox: { fsyncEveryMs: 10 },
      link: { backoffMinMs: 20, backoffMaxMs: 1000 },
      ...config,
    }),
    ...{ dataDir: data, statusFile: false, clock },
  });
  agents.push(agent);
  await agent.start();
  return agent;
}

async function stop(agent: Agent): Promise<void> {
  agents.splice(agents.indexOf(agent), 1);
  await agent.stop();
}

async function recorded(deviceId: string): Promise<BatchEntry[]> {
  return (await framesOf(deviceId)).map(({ entry }) => entry);
}

async function framesOf(
  deviceId: string,
): Promise<{ readonly entry: BatchEntry; readonly body: Uint8Array }[]> {
  const token = readFileSync(join(broker.dataDir, 'tokens/admin'), 'utf8').trim();
  const response = await fetch(`${broker.running.addresses.http}/v1/tail?from=0&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = new FrameReader(0);
  reader.push(new Uint8Array(await response.arrayBuffer()));
  const found: { entry: BatchEntry; body: Uint8Array }[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    const entry = decodeEvidenceEntry(frame.entry.slice());
    if (entry.type === 'batch' && deviceIdFromPublicKey(entry.device) === deviceId) {
      found.push({ entry, body: frame.body.slice() });
    }
  }
  return found;
}

/** Outcomes that a device has reported, with the versions. */
async function reportsOf(deviceId: string): Promise<string[]> {
  return (await framesOf(deviceId)).flatMap(({ entry, body }) => {
    const report =
      entry.kind === 'event' ? configReportOf(decodeEvent(parseEnvelope(body).payload)) : undefined;
    return report === undefined ? [] : [`${report.outcome} ${report.version}`];
  });
}

const waiting = (gateway: Agent, leaf: string) =>
  gateway.status().gateway?.leaves.find((each) => each.leaf === leaf)?.waiting ?? 0;

test('a day without a network: recorded once, in order, receipted, forgotten', async () => {
  const gateway = await joined();
  const leaf = await joined();
  const port = await freePort();
  const listening = { gateway: { listen: `127.0.0.1:${port}` } };
  await cli('relay-through', gateway.id, '--at', `127.0.0.1:${port}`, '--data', leaf.data);
  // Nothing but the gateway is in its reach from now on.
  const line = readFileSync(join(leaf.data, 'join-line'), 'utf8');
  writeFileSync(join(leaf.data, 'join-line'), line.replace(/:\d+\//, ':9/'));
  let relay = await run(gateway.data, listening);
  const small = await run(leaf.data);
  await until('the leaf has receipts', () => small.status().counts.recorded > 2);
  expect(small.status()).toMatchObject({
    link: { state: 'online' },
    via: { gateway: gateway.id, address: `127.0.0.1:${port}` },
  });
  await until('its clock is confirmed by the network', () => small.status().clock.by === 'hello');
  expect(await broker.admin('GET', `/admin/devices/${leaf.id}`)).toMatchObject({
    body: { delegation: { gateway: gateway.id } },
  });
  // It is set from afar through its gateway, and its answer comes back the same way.
  const sender = downSender({
    brokerUrl: broker.running.addresses.http,
    brokerTokenFile: join(broker.dataDir, 'tokens/admin'),
    keysDir: join(broker.dataDir, 'keys'),
  });
  const wanted = encodeDesiredState({
    ...{ id: new Uint8Array(16).fill(7), issued: clock.wallMs(), version: 1 },
    ...{ expires: clock.wallMs() + 30 * 24 * HOUR_MS, preferences: { heartbeatMs: 20_000 } },
  });
  expect(await sender.send(leaf.id, wanted)).toBe(true);
  await until('it is applied', () => small.status().remote?.inForce?.trial === false);
  await until('which is in the evidence', async () =>
    (await reportsOf(leaf.id)).includes('applied 1'),
  );
  const states = async () => {
    const { out } = await agentCli(['doctor', '--data', leaf.data, '--json']);
    const { findings } = JSON.parse(out) as { findings: { code: string; state: string }[] };
    const of = (code: string) => findings.find((each) => each.code === code)?.state;
    return ['gateway', 'hello', 'tcp', 'dns'].map(of);
  };
  expect(await states()).toEqual(['ok', 'ok', undefined, undefined]);

  // The network goes away for a day, in which the gateway is restarted twice.
  await broker.running.stop();
  expect(await states()).toEqual(['ok', 'warn', undefined, undefined]);
  for (let hour = 0; hour < 24; hour += 2) {
    const before = waiting(relay, leaf.id);
    time.jump(2 * HOUR_MS);
    if (hour % 8 === 6) {
      await stop(relay);
      relay = await run(gateway.data, listening);
      await until('the gateway has kept what it had', () => waiting(relay, leaf.id) >= before);
    }
    await until(
      `hour ${hour}: the leaf hands in what it has sealed`,
      () => waiting(relay, leaf.id) > before,
    );
  }
  const kept = waiting(relay, leaf.id);
  expect(kept).toBeGreaterThanOrEqual(12);
  // The leaf keeps all of it until the network has said so.
  expect(small.status().counts.pending).toBeGreaterThanOrEqual(kept);

  await broker.restart();
  await until('the leaf has nothing left', async () => {
    const { pending } = small.status().counts;
    return pending < 4 && waiting(relay, leaf.id) < 4;
  });
  await stop(small);
  await until('the gateway has nothing left of it', () => waiting(relay, leaf.id) === 0);
  const entries = await recorded(leaf.id);
  // Each seq once. A session sends its backlog and what is new in turns, so the log has them in another order.
  const seqs = entries.map(({ seq }) => seq).sort((a, b) => a - b);
  expect(seqs).toEqual(seqs.map((_, at) => at));
  expect(entries.every(({ gateway: by }) => by && deviceIdFromPublicKey(by) === gateway.id)).toBe(
    true,
  );
  expect(relay.status().counts).toMatchObject({ rejected: 0, parked: 0, dropped: 0 });
});

test('a gateway that acknowledges, keeps nothing and makes receipts up is believed nothing', async () => {
  const gateway = await joined();
  const leaf = await joined();
  const { signer } = await loadDeviceKey(gateway.data);
  const network = broker.running.network;
  const taken: Uint8Array[] = [];
  const mail = new LeafMail();
  const port = new GatewayPort({
    ...{ listen: '127.0.0.1:0', maxConnections: 8, clock, onFull: () => {} },
    hello: (clientNonce) =>
      sealGatewayHello(
        { gateway: gateway.id, nonce: new Uint8Array(32), clientNonce, credential: null },
        { network, signer },
      ),
    pass: async () => ({ status: 404, body: new Uint8Array(0) }),
    hooks: {
      network,
      nowMs: () => clock.monotonicMs(),
      login: async () => ({ returnCode: 0, publicKey: signer.publicKey }),
      keep: async ({ envelope }) => {
        taken.push(envelope);
        return { durable: Promise.resolve() };
      },
      mailOf: () => mail,
      onEnd: () => {},
    },
  });
  const at = `127.0.0.1:${await port.start()}`;
  await cli('relay-through', gateway.id, '--at', at, '--data', leaf.data);
  const small = await run(leaf.data);
  await until('it has acknowledged something', () => taken.length > 2);
  const { stamp } = parseEnvelope(taken[0]!);
  const lie = encodeReceipt({
    at: Date.now(),
    boots: [[stamp!.bootCounter, stamp!.bootSeed, 1_000_000, [], []]],
    entry: [1, new Uint8Array(32)],
    heads: [],
    checkpoint: null,
  });
  const reject = (envelope: Uint8Array) =>
    encodeReject({
      digest: createHash('sha256').update(envelope).digest(),
      boot: [stamp!.bootCounter, stamp!.bootSeed],
      seq: 0,
      code: 'ERR_TIME_FUTURE',
      remedy: '',
      permanent: true,
    });
  const sealed = (kind: 'receipt' | 'reject', payload: Uint8Array, by = signer, to = leaf.id) =>
    seal({ contentType: 60, payload, externalAad: downAad(network, kind, to), signer: by });
  // A receipt that the network has signed, for the gateway itself.
  const relay = await run(gateway.data);
  const own = await until('a receipt of its own', async () =>
    existsSync(join(gateway.data, 'state/receipt.cose'))
      ? new Uint8Array(readFileSync(join(gateway.data, 'state/receipt.cose')))
      : null,
  );
  await stop(relay);
  const changed = [0, 7, 40, own.length - 70, own.length - 1].map((i) =>
    own.map((byte, j) => (i === j ? byte ^ 1 : byte)),
  );
  const forged = [
    ...[sealed('receipt', lie), own, ...changed].map((envelope) => ({ kind: 'receipt', envelope })),
    { kind: 'reject', envelope: sealed('reject', reject(taken[0]!)) },
    { kind: 'receipt', envelope: sealed('reject', reject(taken[0]!)) },
  ] as const;
  const before = small.status().counts.sealed;
  for (const letter of forged) {
    mail.put(letter as never);
    for (const connection of port.connections) connection.deliver();
    await until('it was handed out', () => mail.size === 0);
  }
  await until('it has sealed more', () => small.status().counts.sealed > before);
  const { pending, sealed: all, recorded: believed, parked } = small.status().counts;
  expect({ believed, parked, lost: all - pending }).toEqual({ believed: 0, parked: 0, lost: 0 });
  await port.stop();
  // The gateway cannot log in as the leaf with what the leaf gave it.
  expect(await recorded(leaf.id)).toEqual([]);
  // What it withheld is there when the leaf goes another way.
  await stop(small);
  await cli('relay-through', '--off', '--data', leaf.data);
  const direct = await run(leaf.data);
  await until(
    'all of it is recorded',
    async () => (await recorded(leaf.id)).length >= taken.length,
  );
  expect(direct.status().counts).toMatchObject({ parked: 0 });
});

test('a leaf that names nobody any more connects itself, and its gateway is refused', async () => {
  const gateway = await joined();
  const leaf = await joined();
  const port = await freePort();
  const listening = { gateway: { listen: `127.0.0.1:${port}` } };
  await cli('relay-through', gateway.id, '--at', `127.0.0.1:${port}`, '--data', leaf.data);
  const relay = await run(gateway.data, listening);
  const first = await run(leaf.data);
  await until('it is recorded', () => first.status().counts.recorded > 0);
  await stop(first);
  const out = await cli('relay-through', '--off', '--data', leaf.data);
  expect(out).toContain('The network knows.');
  const second = await run(leaf.data);
  await until('it is recorded again', () => second.status().counts.recorded > 0);
  expect(second.status().via).toBeUndefined();
  const entries = await recorded(leaf.id);
  expect(entries.at(-1)!.gateway).toBeNull();
  expect(relay.status().counts.rejected).toBe(0);
});
