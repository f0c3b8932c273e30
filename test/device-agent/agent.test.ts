import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import type { AgentOptions } from '@fieldproof/device-agent/agent-options';
import { type Clock, systemClock } from '@fieldproof/device-agent/clock';
import { checkConfig } from '@fieldproof/device-agent/config';
import { initAgent } from '@fieldproof/device-agent/init';
import { lineLog } from '@fieldproof/device-agent/log';
import { decodeColumns } from '@fieldproof/protocol/columns';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { downAad, open } from '@fieldproof/protocol/envelope';
import { decodeBirth, decodeEvent, decodeGap } from '@fieldproof/protocol/messages';
import { decodeReceipt } from '@fieldproof/protocol/settlement-messages';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { until } from './fake-clock.ts';
import { FakeNetwork } from './fake-network.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));

let network: FakeNetwork;
let dataDir: string;
let agents: Agent[];
let lines: string[];

beforeEach(async () => {
  network = new FakeNetwork();
  await network.start();
  dataDir = await mkdtemp(join(tmpdir(), 'agent-'));
  agents = [];
  lines = [];
  await initAgent({
    dataDir,
    joinLine: network.joinLine(),
    name: 'test',
    owner: { type: 'new' },
    random,
  });
});
afterEach(async () => {
  for (const agent of agents) await agent.stop();
  await network.stop();
  await rm(dataDir, { recursive: true });
});

async function makeAgent(config: object = {}, options: Partial<AgentOptions> = {}) {
  const agent = new Agent({
    config: await checkConfig({
      sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 100 }],
      batch: { sealEveryMs: 100 },
      outbox: { fsyncEveryMs: 10 },
      link: { backoffMinMs: 10, backoffMaxMs: 1000 },
      ...config,
    }),
    dataDir,
    random,
    log: lineLog({
      level: 'debug',
      format: 'text',
      nowMs: Date.now,
      write: (line) => lines.push(line),
    }),
    ...options,
  });
  agents.push(agent);
  return agent;
}

const count = (kind: string) => network.kinds().filter((each) => each === kind).length;

describe('an agent and its network', () => {
  test('enrols, says birth first, sends readings, and forgets them by receipts', async () => {
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.recorded > 3, 'receipts');
    const birth = decodeBirth(network.received[0]!.envelope.payload);
    expect(network.received[0]!.kind).toBe('birth');
    expect(birth).toMatchObject({ source: 'simulated', agent: 'fieldproof-agent/0.1.0' });
    expect(birth.nonce).toHaveLength(32);
    expect(birth.profiles.room?.[0]).toEqual({
      metric: 'temperature',
      unit: 'Cel',
      resolution: 0.01,
      intervalMs: 100,
    });
    const telemetry = network.received.find(({ kind }) => kind === 'telemetry')!;
    expect(telemetry.envelope.contentType).toBe(65001);
    expect(() => decodeColumns(telemetry.envelope.payload)).not.toThrow();
    expect(agent.status()).toMatchObject({
      enrolled: true,
      link: { state: 'online', reason: null },
      clock: { synced: true, by: 'hello' },
    });
    expect(network.tokensSeen).toEqual([network.token]);
  });

  test('keeps the newest receipt as it was signed, over a restart', async () => {
    const first = await makeAgent();
    await first.start();
    await until(() => first.status().counts.recorded > 1, 'receipts');
    await first.stop();
    const bytes = new Uint8Array(await readFile(join(dataDir, 'state/receipt.cose')));
    const receipt = open(bytes, {
      externalAad: downAad('testnet1', 'receipt', network.received[0]!.deviceId),
      publicKey: network.roles.log.publicKey,
      verify,
    });
    const [entry] = decodeReceipt(receipt.payload).entry;
    await network.stop();
    const second = await makeAgent();
    await second.start();
    expect(second.status().lastReceipt).toMatchObject({ entry, checkpointSize: null });
    await network.start();
  });

  test('a second run on the folder is refused, and after a stop it goes on as a new boot', async () => {
    const first = await makeAgent();
    await first.start();
    const second = await makeAgent();
    await expect(second.start()).rejects.toMatchObject({ code: 'ERR_AGENT_LOCKED' });
    await until(() => count('telemetry') > 0, 'telemetry');
    await first.stop();
    await second.start();
    await until(() => network.received.some(({ key }) => key.startsWith('2/')), 'the second boot');
    // The credential is kept: one enrolment for both.
    expect(network.tokensSeen).toHaveLength(1);
    const events = network.received.filter(({ kind }) => kind === 'event');
    await until(() => network.kinds().includes('event'), 'the stopping event');
    expect(events.every(({ envelope }) => decodeEvent(envelope.payload).event !== '')).toBe(true);
  });

  test('without a network it records, and delivers all of it later, each seq once', async () => {
    await network.stop();
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.sealed >= 5, 'sealed batches');
    expect(agent.status().link).toMatchObject({
      state: expect.stringMatching(/unreachable|connecting/),
    });
    expect(agent.status().clock.synced).toBe(false);
    await network.start();
    await until(() => agent.status().counts.recorded >= 6, 'the backlog');
    const keys = network.received.map(({ key }) => key);
    expect(new Set(keys).size).toBe(keys.length);
    // Sealed before the clock was confirmed: relative times, no bound.
    const first = network.received.find(({ key }) => key === '1/0')!;
    expect(first.envelope.stamp.boundMs).toBeNull();
    expect(decodeColumns(first.envelope.payload)).toBeDefined();
  });

  test('what was not acknowledged is sent again, byte for byte', async () => {
    network.onPublish = ({ kind }, { ack, receipt }) => {
      if (kind === 'telemetry') return;
      ack();
      receipt();
    };
    const agent = await makeAgent();
    await agent.start();
    await until(() => count('telemetry') >= 3, 'telemetry');
    const before = new Map(network.received.map(({ key, bytes }) => [key, bytes]));
    const births = count('birth');
    network.onPublish = (_, { ack, receipt }) => {
      ack();
      receipt();
    };
    network.dropConnections();
    await until(() => count('birth') > births, 'the next session');
    await until(() => agent.status().counts.pending < 3, 'settling');
    for (const [key, bytes] of before) {
      const copies = network.received.filter((each) => each.key === key);
      for (const copy of copies) expect(Buffer.compare(copy.bytes, bytes)).toBe(0);
    }
    const again = network.received.filter(
      ({ key, kind }) => kind === 'telemetry' && before.has(key),
    );
    expect(again.length).toBeGreaterThan(3);
  });

  test('acknowledgements alone make it forget nothing', async () => {
    network.onPublish = (_, { ack }) => ack();
    const agent = await makeAgent();
    await agent.start();
    await until(() => count('telemetry') >= 3, 'telemetry');
    expect(agent.status().counts).toMatchObject({ recorded: 0 });
    expect(agent.status().counts.pending).toBeGreaterThanOrEqual(4);
    network.sendReceipt();
    await until(() => agent.status().counts.recorded >= 4, 'the receipt');
  });

  test.each([
    ['another key', { signer: signerFromSeed(random(32)) }],
    ['another network', { network: 'othernet' }],
  ])('a receipt signed for %s is ignored', async (_, forge) => {
    network.onPublish = (_message, { ack }) => ack();
    const agent = await makeAgent();
    await agent.start();
    await until(() => count('telemetry') >= 2, 'telemetry');
    const { stamp } = network.received[0]!.envelope;
    const forged = network.receiptOf([[stamp.bootCounter, stamp.bootSeed, 1000, [], []]]);
    network.send('receipt', forged, forge);
    await until(() => lines.some((line) => line.includes('ignored')), 'the refusal');
    expect(agent.status().counts.recorded).toBe(0);
  });

  test('a rejected envelope is parked, acknowledged by the next birth, and not sent again', async () => {
    let rejected: string | undefined;
    network.onPublish = (message, { ack, receipt }) => {
      if (message.kind === 'telemetry' && rejected === undefined) {
        rejected = message.key;
        network.sendReject(message, { code: 'ERR_TIME_FUTURE', permanent: true });
      }
      ack();
      receipt();
    };
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.parked === 1, 'parking');
    expect(agent.status().lastReject).toMatchObject({ code: 'ERR_TIME_FUTURE' });
    const births = count('birth');
    network.dropConnections();
    await until(() => count('birth') > births, 'the next birth');
    const birth = network.received.filter(({ kind }) => kind === 'birth').at(-1)!;
    const seen = decodeBirth(birth.envelope.payload).rejectsSeen;
    expect(seen.map(([counter, , seq]) => `${counter}/${seq}`)).toEqual([rejected]);
    expect(network.received.filter(({ key }) => key === rejected)).toHaveLength(1);
    expect(await readdir(join(dataDir, 'state/parked'))).toHaveLength(1);
  });

  test('many rejects end the session, since only a birth acknowledges them', async () => {
    network.onPublish = (message, { ack, receipt }) => {
      const isBad = message.kind === 'telemetry';
      if (isBad) network.sendReject(message, { code: 'ERR_TIME_FUTURE', permanent: true });
      ack();
      receipt();
    };
    const sensors = Array.from({ length: 4 }, (_, n) => {
      return { driver: 'simulated', profile: `room${n}`, intervalMs: 100 };
    });
    // An envelope for each reading.
    const agent = await makeAgent({ sensors, batch: { sealEveryMs: 100, maxReadings: 1 } });
    await agent.start();
    const births = () => network.received.filter(({ kind }) => kind === 'birth');
    await until(() => births().length > 1, 'another birth');
    const { rejectsSeen } = decodeBirth(births()[1]!.envelope.payload);
    expect(rejectsSeen.length).toBeGreaterThanOrEqual(200);
    expect(lines.some((line) => line.includes('a new birth acknowledges'))).toBe(true);
  });

  test('a receipt that lists a rejected seq parks it although its reject was missed', async () => {
    network.onPublish = (_, { ack }) => ack();
    const agent = await makeAgent();
    await agent.start();
    await until(() => count('telemetry') >= 2, 'telemetry');
    const { stamp } = network.received.find(({ kind }) => kind === 'telemetry')!.envelope;
    const { bootCounter, bootSeed, seq } = stamp;
    network.send(
      'receipt',
      network.receiptOf([[bootCounter, bootSeed, seq, [], [[seq, 'ERR_TIME_FUTURE']]]]),
    );
    await until(() => agent.status().counts.parked === 1, 'parking');
  });

  test('a reject of before the signature check is declared, since the network counts no such seq', async () => {
    let done = false;
    network.onPublish = (message, { ack, receipt }) => {
      if (message.kind === 'telemetry' && !done) {
        done = true;
        network.sendReject(message, {
          code: 'ERR_KEY_UNKNOWN',
          permanent: true,
          boot: null,
          seq: null,
        });
        return;
      }
      ack();
      receipt();
    };
    const agent = await makeAgent();
    await agent.start();
    await until(() => count('gap') > 0, 'the gap');
    const gap = decodeGap(network.received.find(({ kind }) => kind === 'gap')!.envelope.payload);
    const first = network.received.find(({ kind }) => kind === 'telemetry')!.envelope.stamp;
    expect(gap.gaps[0]?.slice(2, 4)).toEqual([first.seq, first.seq]);
    expect(agent.status().counts.parked).toBe(1);
  });

  test('a transient reject pauses, then the same bytes go out again', async () => {
    let first: string | undefined;
    network.onPublish = (message, { ack, receipt }) => {
      if (message.kind === 'telemetry' && first === undefined) {
        first = message.key;
        network.sendReject(message, { code: 'ERR_LOG_FULL', permanent: false, retryAfterMs: 200 });
        ack();
        network.settled.clear();
        return;
      }
      ack();
      receipt();
    };
    const agent = await makeAgent();
    await agent.start();
    await until(
      () => network.received.filter(({ key }) => key === first).length === 2,
      'the resend',
    );
    expect(agent.status().counts.parked).toBe(0);
  });

  /** Seals some batches without a network, as boot 1, and stops. */
  async function leaveBacklog(): Promise<void> {
    await network.stop();
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.sealed >= 4, 'sealed batches');
    await agent.stop();
    await network.start();
  }

  test.each([
    ['on time', 0],
    // As in Node, when the turn in which they are set has been long.
    ['early', 60],
  ])(
    'a backlog drains at the rate that is allowed, with timers that fire %s: nothing lost or parked, and no hammering',
    async (_, earlyMs) => {
      const after: Clock['after'] = (delayMs, task) =>
        systemClock.after(Math.max(0, delayMs - (delayMs < 1000 ? earlyMs : 0)), task);
      const clock: Clock = { ...systemClock, after };
      await leaveBacklog();
      const [WINDOW, PER_TURN, RETRY_MS] = [4, 2, 150];
      let left = PER_TURN;
      let openAt = 0;
      const passed = new Set<string>();
      const refused: string[] = [];
      network.onPublish = ({ key }, { ack, receipt, putOff }) => {
        if (left === 0 && Date.now() >= openAt) left = PER_TURN;
        if (left === 0) {
          refused.push(key);
          putOff('ERR_RATE_DEVICE', RETRY_MS);
          return;
        }
        left -= 1;
        if (left === 0) openAt = Date.now() + RETRY_MS;
        passed.add(key);
        ack();
        receipt();
      };
      const agent = await makeAgent(
        { batch: { sealEveryMs: 60_000 }, link: { window: WINDOW } },
        { clock },
      );
      await agent.start();
      await until(() => agent.status().link.state === 'online', 'the login');
      await until(() => agent.status().counts.pending === 0, 'receipts for all of it');
      expect(refused.length).toBeGreaterThan(0);
      expect(refused.filter((key) => !passed.has(key))).toEqual([]);
      // A window each time the rate is used up, and once more what had left before the reject came.
      const turns = Math.ceil(passed.size / PER_TURN);
      expect(refused.length).toBeLessThanOrEqual(2 * WINDOW * turns);
      expect(agent.status().counts.parked).toBe(0);
    },
  );

  /** Answers each publish with a receipt that lists boot 2 and `more` boots above it. */
  function listOnlyNewBoots(more: number): void {
    network.onPublish = (message, { ack }) => {
      ack();
      const { stamp } = message.envelope;
      if (stamp.bootCounter !== 2) return;
      const others = Array.from({ length: more }, (_, at): [number, Uint8Array, number, [], []] => [
        3 + at,
        new Uint8Array(4),
        0,
        [],
        [],
      ]);
      network.send(
        'receipt',
        network.receiptOf([[2, stamp.bootSeed, stamp.seq, [], []], ...others]),
      );
    };
  }

  const sentOfBoot1 = () => network.received.filter(({ key }) => key.startsWith('1/')).length;

  test('a boot that receipts do not list is not settled by them', async () => {
    await leaveBacklog();
    listOnlyNewBoots(0);
    const agent = await makeAgent();
    await agent.start();
    await until(() => sentOfBoot1() >= 4, 'the old boot');
    const { recorded } = agent.status().counts;
    await until(() => agent.status().counts.recorded > recorded + 1, 'more receipts');
    expect(agent.status().counts.pending).toBeGreaterThanOrEqual(sentOfBoot1());
    network.sendReceipt();
    await until(() => agent.status().counts.pending <= 2, 'settling');
  });

  test('a boot below all of 32 listed ones goes when it was acknowledged', async () => {
    await leaveBacklog();
    listOnlyNewBoots(31);
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.pending <= 2 && sentOfBoot1() >= 4, 'settling');
  });

  test('an envelope that was put off stays, whatever a receipt of 32 newer boots says', async () => {
    await leaveBacklog();
    const others = Array.from({ length: 31 }, (_, at): [number, Uint8Array, number, [], []] => [
      3 + at,
      new Uint8Array(4),
      0,
      [],
      [],
    ]);
    let newest: [number, Uint8Array, number, [], []] = [2, new Uint8Array(4), -1, [], []];
    const putOff = new Set<string>();
    network.onPublish = (message, { ack }) => {
      const { stamp } = message.envelope;
      if (stamp.bootCounter === 2) newest = [2, stamp.bootSeed, stamp.seq, [], []];
      if (stamp.bootCounter === 1 && !putOff.has(message.key)) {
        putOff.add(message.key);
        const later = { code: 'ERR_LOG_FULL', permanent: false, retryAfterMs: 300 };
        network.sendReject(message, later);
      }
      ack();
      // Never lists boot 1.
      network.send('receipt', network.receiptOf([newest, ...others]));
    };
    const agent = await makeAgent();
    await agent.start();
    await until(() => putOff.size > 0, 'the old boot');
    const timesSent = (key: string) => network.received.filter((each) => each.key === key).length;
    await until(() => [...putOff].every((key) => timesSent(key) >= 2), 'the resend');
  });

  test('a refused login is told as such, and tried again', async () => {
    network.connackCode = 5;
    const agent = await makeAgent();
    await agent.start();
    await until(() => network.connects >= 2, 'attempts');
    expect(agent.status().link.reason).toMatch(/ERR_AGENT_LOGIN_REFUSED.*suspended/);
    network.connackCode = 0;
    await until(() => agent.status().link.state === 'online', 'the login');
  });

  test('a refused enrolment says the code of the network', async () => {
    network.enrolStatus = { status: 403, code: 'ERR_TOKEN_USED' };
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().link.state === 'refused', 'the refusal');
    expect(agent.status().link.reason).toMatch(/ERR_AGENT_ENROL_REFUSED.*ERR_TOKEN_USED/);
    await until(() => agent.status().counts.sealed > 0, 'sampling');
  });

  test('a descriptor by another root is refused, and the token is never sent', async () => {
    Object.assign(network.roles, { root: signerFromSeed(random(32)) });
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().link.state === 'refused', 'the refusal');
    expect(agent.status().link.reason).toMatch(/ERR_AGENT_DESCRIPTOR/);
    expect(network.tokensSeen).toEqual([]);
    expect(network.connects).toBe(0);
  });

  test('follows role keys that a newer descriptor replaces, and refuses an older one', async () => {
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.recorded > 0, 'receipts');
    network.version = 2;
    network.roles.registry = signerFromSeed(random(32));
    network.roles.log = signerFromSeed(random(32));
    const recorded = agent.status().counts.recorded;
    network.dropConnections();
    await until(() => agent.status().counts.recorded > recorded + 2, 'receipts by the new key');
    network.version = 1;
    network.roles.registry = signerFromSeed(random(32));
    network.dropConnections();
    await until(() => agent.status().link.state === 'refused', 'the refusal');
    expect(agent.status().link.reason).toMatch(/version 2 or newer, got 1/);
  });

  test('a key that is replaced while it is connected ends no session: it fetches the descriptor and goes on', async () => {
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.recorded > 0, 'receipts');
    const asked = network.descriptorsAsked;
    for (const role of ['log', 'registry', 'control', 'log'] as const) {
      network.version += 1;
      network.roles[role] = signerFromSeed(random(32));
      const { recorded } = agent.status().counts;
      await until(() => agent.status().counts.recorded > recorded + 1, `receipts after ${role}`);
    }
    expect(network.connects).toBe(1);
    expect(network.descriptorsAsked - asked).toBe(2);
    expect(agent.status().counts).toMatchObject({ rejected: 0, parked: 0 });
  });

  test('what is put off under a key that is still to be fetched is sent again, byte for byte', async () => {
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.recorded > 0, 'receipts');
    let answer = (): void => {};
    network.descriptorDelay = new Promise((resolve) => {
      answer = resolve;
    });
    network.version += 1;
    network.roles.log = signerFromSeed(random(32));
    const putOff: string[] = [];
    network.onPublish = (message, answers) => {
      if (message.kind !== 'telemetry' || putOff.length >= 3) {
        answers.ack();
        answers.receipt();
        return;
      }
      putOff.push(message.key);
      answers.putOff('ERR_LOG_FULL', 10);
      // A receipt of many boots, that does not list this one: only what was acknowledged could go by it.
      network.send(
        'receipt',
        network.receiptOf(
          Array.from({ length: 32 }, (_, at) => [100 + at, new Uint8Array(4), 0, [], []]),
        ),
      );
      if (putOff.length === 3) answer();
    };
    await until(() => putOff.length === 3, 'what is put off');
    network.descriptorDelay = null;
    const timesSent = (key: string) => network.received.filter((each) => each.key === key).length;
    await until(() => putOff.every((key) => timesSent(key) >= 2), 'the resend');
    await until(() => agent.status().counts.pending < 3, 'receipts');
    expect(network.connects).toBe(1);
  });

  test('messages under a key that no descriptor names are ignored, and it asks once', async () => {
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.recorded > 0, 'receipts');
    const asked = network.descriptorsAsked;
    for (let i = 0; i < 5; i++) {
      const forged = network.receiptOf([[1, new Uint8Array(4), 1e6, [], []]]);
      network.send('receipt', forged, { signer: signerFromSeed(random(32)) });
    }
    await until(() => lines.filter((line) => line.includes('ignored')).length >= 5, 'warnings');
    expect(network.descriptorsAsked - asked).toBe(1);
    const { recorded } = agent.status().counts;
    await until(() => agent.status().counts.recorded > recorded, 'receipts by the real key');
    expect(network.connects).toBe(1);
  });

  test('when the new descriptor cannot be fetched, the session ends and the next one is told everything', async () => {
    const agent = await makeAgent();
    await agent.start();
    await until(() => agent.status().counts.recorded > 0, 'receipts');
    network.descriptorDelay = Promise.reject(new Error('out of order'));
    network.descriptorDelay.catch(() => {});
    network.version += 1;
    network.roles.log = signerFromSeed(random(32));
    await until(() => network.connects >= 2 || agent.status().link.state !== 'online', 'the end');
    network.descriptorDelay = null;
    const { recorded } = agent.status().counts;
    await until(() => agent.status().counts.recorded > recorded + 1, 'receipts by the new key');
    expect(agent.status().counts).toMatchObject({ rejected: 0, parked: 0 });
  });

  test('a clock that is far off is not believed, whatever it says', async () => {
    network.timeMs = () => Date.now() + 3_600_000;
    const agent = await makeAgent();
    await agent.start();
    await until(() => count('telemetry') > 1, 'telemetry');
    const telemetry = network.received.find(({ kind }) => kind === 'telemetry')!;
    expect(telemetry.envelope.stamp.boundMs).toBeNull();
    expect(agent.status().clock.synced).toBe(false);
  });

  test('a message of an unknown type is answered with an event', async () => {
    const agent = await makeAgent();
    await agent.start();
    await until(
      () => agent.status().link.state === 'online' && count('telemetry') > 0,
      'a session',
    );
    const { encode } = await import('@fieldproof/protocol/cbor');
    network.send('task', encode({ type: 'dance', issued: 1, id: new Uint8Array(16) }));
    await until(
      () =>
        network.received.some(
          ({ kind, envelope }) =>
            kind === 'event' && decodeEvent(envelope.payload).event === 'unsupported',
        ),
      'the event',
    );
  });

  test('keeps keys and tokens to this user', async () => {
    for (const file of ['device.key', 'join-line', 'owner.json']) {
      expect((await stat(join(dataDir, file))).mode & 0o077).toBe(0);
    }
  });
});
