import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Counters } from '@fieldproof/broker/gate/counters';
import { Gate, type GateOptions } from '@fieldproof/broker/gate/gate';
import { createSyncVerifier } from '@fieldproof/broker/gate/verifier';
import { type Appeal, sealAppeal } from '@fieldproof/protocol/appeal';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { downAad, open, type Signer } from '@fieldproof/protocol/envelope';
import { keyRingOf } from '@fieldproof/protocol/key-ring';
import { decodeReject } from '@fieldproof/protocol/settlement-messages';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';
import { readRegistryLog } from './support/registry-log.ts';

const DAY = 86_400_000;

let broker: TestBroker;
let device: TestDevice;
/** Added to the clock of the broker. */
let later = 0;
const now = () => Date.now() + later;

beforeAll(async () => {
  broker = await startTestBroker({ credentialDays: 3650 }, { now });
});
afterAll(() => broker.close());
beforeEach(async () => {
  device = await broker.device();
});

interface Standing {
  readonly standing: string;
  readonly suspension: Readonly<Record<string, unknown>> & { readonly index: number };
}

async function standing(id = device.id): Promise<{ status: number; body: Standing }> {
  const { http } = broker.running.addresses;
  const response = await fetch(`${http}/v1/devices/${id}/standing`);
  return { status: response.status, body: (await response.json()) as Standing };
}

const post = (path: string, body: object) =>
  broker.admin('POST', `/admin/devices/${device.id}/${path}`, body);
const suspend = (body: object = {}) => post('suspend', { reason: 'smoke in the sensor', ...body });

async function send(statement: Uint8Array): Promise<{ status: number; body: unknown }> {
  const { http } = broker.running.addresses;
  const response = await fetch(`${http}/v1/appeal`, {
    method: 'POST',
    body: Buffer.from(statement),
    headers: { 'content-type': 'application/cose; cose-type="cose-sign1"' },
  });
  return { status: response.status, body: await response.json() };
}

async function statementOf(
  changes: Partial<Appeal> = {},
  signer: Signer = device.owner,
): Promise<Uint8Array> {
  const { suspension } = (await standing()).body;
  const body = {
    nonce: await device.hello(),
    device: device.id,
    suspension: suspension?.index ?? 0,
    text: 'The smoke was steam.',
    ...changes,
  };
  return sealAppeal(body, { network: device.network, signer });
}

const refused = (code: string, status = 409) => ({
  status,
  body: { code, remedy: expect.stringMatching(/./) },
});

describe('a suspension', () => {
  test('names its kind, entries, end and deadline, for anyone to see', async () => {
    await device.connect();
    await device.publish('birth', device.seal({ kind: 'birth' }));
    const size = broker.running.status().evidence.entries;
    const { body } = await suspend({
      kind: 'ERR_BOOT_CLONED',
      evidence: [size - 1, size - 2, size - 2, size - 3],
      forMs: 14 * DAY,
    });
    expect(body).toMatchObject({ deviceId: device.id, standing: 'suspended' });
    await until(() => !device.client!.connected, 'the end of the session');
    const seen = await standing();
    expect(seen).toMatchObject({
      status: 200,
      body: {
        device: device.id,
        standing: 'suspended',
        quarantined: [],
        suspension: {
          index: size,
          kind: 'ERR_BOOT_CLONED',
          reason: 'smoke in the sensor',
          evidence: [size - 3, size - 2, size - 1],
          appeal: null,
          decision: null,
        },
      },
    });
    const times = seen.body.suspension as Record<string, number>;
    expect(Math.abs(times.until! - times.at! - 14 * DAY)).toBeLessThan(1000);
    expect(Math.abs(times.appealUntil! - times.at! - 30 * DAY)).toBeLessThan(1000);
  });

  test('ends by itself, for logins too, without an entry', async () => {
    await suspend({ forMs: DAY });
    await expect(device.connect()).rejects.toMatchObject({ code: 5 });
    const size = broker.running.status().evidence.entries;
    later += DAY + 1000;
    expect((await standing()).body).toMatchObject({
      standing: 'good',
      suspension: { kind: 'operator' },
    });
    await device.connect();
    expect(broker.running.status().evidence.entries).toBe(size);
    expect(await post('resume', {})).toMatchObject(refused('ERR_STANDING'));
  });

  test('without an end lasts until it is resumed, with a reason', async () => {
    await suspend();
    later += 400 * DAY;
    expect((await standing()).body).toMatchObject({ standing: 'suspended' });
    expect(await post('resume', { reason: 'cleaned' })).toMatchObject({
      status: 200,
      body: { standing: 'good' },
    });
    const said = (await readRegistryLog(broker, device.id)).map(({ action }) => action);
    expect(said.slice(1)).toEqual([
      expect.objectContaining({ action: 'suspend', until: null, evidence: [] }),
      expect.objectContaining({ action: 'resume', reason: 'cleaned' }),
    ]);
  });

  test.each([
    ['without a reason', { reason: undefined }, 400, 'ERR_REQUEST'],
    ['with an empty reason', { reason: '' }, 400, 'ERR_REQUEST'],
    ['with an escape sequence as reason', { reason: '\u001b[2J' }, 400, 'ERR_REQUEST'],
    ['with a kind of several words', { kind: 'looks odd' }, 400, 'ERR_REQUEST'],
    ['for something seen without an entry', { kind: 'ERR_BOOT_CLONED' }, 400, 'ERR_EVIDENCE'],
    ['by entries of others', { kind: 'ERR_QOS', evidence: [0] }, 400, 'ERR_EVIDENCE'],
    ['by entries that are not there', { evidence: [1e9] }, 416, 'ERR_INDEX_RANGE'],
    ['by entries that are none', { evidence: [-1] }, 400, 'ERR_REQUEST'],
    ['by an entry as text', { evidence: '0' }, 400, 'ERR_REQUEST'],
    ['by too many entries', { evidence: [...Array(65).keys()] }, 400, 'ERR_REQUEST'],
    ['that is over', { until: 1 }, 400, 'ERR_REQUEST'],
    ['for no time', { forMs: 0 }, 400, 'ERR_REQUEST'],
    ['with two ends', { forMs: 1000, until: 1e15 }, 400, 'ERR_REQUEST'],
  ])('%s is refused', async (_what, body, status, code) => {
    const size = broker.running.status().evidence.entries;
    const answer = await suspend(body);
    expect(answer).toMatchObject(refused(code, status));
    expect(broker.running.status().evidence.entries).toBe(size);
  });

  test('of a kind that is none says which there are', async () => {
    const { body } = await suspend({ kind: 'nope' });
    expect(body).toMatchObject({
      code: 'ERR_EVIDENCE',
      detail: expect.stringMatching(/nope is unknown; there are operator .*ERR_BOOT_CLONED/),
    });
  });

  test('is told to a device that still sends, with the time until its end', () => {
    const log = signerFromSeed(new Uint8Array(32).fill(8));
    const rejects: Uint8Array[] = [];
    const { network, id: deviceId, signer } = device;
    const ring = keyRingOf({ publicKey: signer.publicKey, firstBoot: 0, retired: [] });
    const receive = (until: number | null) => {
      const gate = new Gate({
        network,
        signer: log,
        verifier: createSyncVerifier(network, verify),
        rates: { take: () => null, refused: () => {} },
        counters: new Counters(),
        publishDown: (_id: string, _kind: string, message: { readonly envelope: Uint8Array }) =>
          rejects.push(message.envelope),
        deviceKey: () => ({ ...ring, standing: 'suspended' }),
        suspendedUntil: () => until,
        now: () => 1000,
      } as unknown as GateOptions);
      const session = {
        ...{ deviceId, deviceKey: signer.publicKey, nonce: '', nonceIssuedAt: 0 },
        ...{ kid: ring.kid, slots: [], judged: 0 },
      };
      const publish = { topic: device.topic('telemetry'), retain: false, qos: 1 };
      gate.receive(session, { ...publish, envelope: device.seal() }, () => {});
      const externalAad = downAad(network, 'reject', deviceId);
      const { payload } = open(rejects.pop()!, { externalAad, publicKey: log.publicKey, verify });
      return decodeReject(payload);
    };
    const code = 'ERR_SUSPENDED';
    expect(receive(61_000)).toMatchObject({ code, permanent: false, retryAfterMs: 60_000 });
    expect(receive(null)).toMatchObject({ code, permanent: false, retryAfterMs: 300_000 });
  });

  test('by the operator may name any entry', async () => {
    expect(await suspend({ evidence: [0] })).toMatchObject({ status: 200 });
  });
});

describe('an appeal', () => {
  test('is recorded once, listed with its text, and decided once', async () => {
    await suspend({ forMs: 14 * DAY });
    const { index } = (await standing()).body.suspension;
    const statement = await statementOf();
    expect(await send(statement)).toEqual({
      status: 201,
      body: { device: device.id, suspension: index, appeal: index + 1, at: expect.any(Number) },
    });
    expect(await send(statement)).toMatchObject(refused('ERR_NONCE_INVALID', 401));
    expect(await send(await statementOf())).toMatchObject(refused('ERR_APPEAL_CLOSED'));
    expect((await readRegistryLog(broker, device.id)).at(-1)?.action).toMatchObject({
      action: 'appeal',
      suspension: index,
      statement,
    });
    const { body } = await broker.admin('GET', '/admin/appeals');
    const { appeals } = body as { readonly appeals: readonly object[] };
    expect(appeals).toContainEqual(
      expect.objectContaining({ device: device.id, text: 'The smoke was steam.' }),
    );

    const decide = (body: object) =>
      broker.admin('POST', `/admin/appeals/${device.id}/decide`, body);
    expect(await decide({ outcome: 'maybe', reason: 'x' })).toMatchObject(
      refused('ERR_REQUEST', 400),
    );
    expect(await decide({ outcome: 'lifted' })).toMatchObject(refused('ERR_REQUEST', 400));
    expect(await decide({ outcome: 'lifted', reason: 'it was' })).toMatchObject({
      status: 200,
      body: { standing: 'good' },
    });
    expect(await decide({ outcome: 'upheld', reason: 'no' })).toMatchObject(
      refused('ERR_STANDING'),
    );
    expect((await standing()).body.suspension).toMatchObject({
      appeal: { index: index + 1 },
      decision: { outcome: 'lifted', reason: 'it was' },
    });
    await device.connect();
  });

  test('that is upheld leaves the suspension as it is; the next one may be appealed again', async () => {
    await suspend();
    await send(await statementOf());
    await broker.admin('POST', `/admin/appeals/${device.id}/decide`, {
      outcome: 'upheld',
      reason: 'it was smoke',
    });
    expect((await standing()).body).toMatchObject({ standing: 'suspended' });
    await suspend({ reason: 'smoke again' });
    expect(await send(await statementOf())).toMatchObject({ status: 201 });
  });

  test('is heard until its deadline, of a suspension that is over as well', async () => {
    await suspend({ forMs: DAY });
    later += 2 * DAY;
    const early = await statementOf();
    later += 29 * DAY;
    expect(await send(early)).toMatchObject(refused('ERR_NONCE_INVALID', 401));
    expect(await send(await statementOf())).toMatchObject(refused('ERR_APPEAL_CLOSED'));
    await suspend({ forMs: DAY });
    later += 29 * DAY;
    expect(await send(await statementOf())).toMatchObject({ status: 201 });
  });

  test('of anybody but the owner, or that was changed anywhere, is refused and costs nothing', async () => {
    await suspend();
    const size = broker.running.status().evidence.entries;
    const stranger = signerFromSeed(new Uint8Array(32).fill(7));
    for (const signer of [stranger, device.signer]) {
      const statement = await statementOf({}, signer);
      expect(await send(statement)).toMatchObject(refused('ERR_SIGNATURE_INVALID', 400));
    }
    const good = await statementOf();
    for (let at = 0; at < good.length; at += 3) {
      const changed = good.slice();
      changed[at]! ^= 0x10;
      const { status } = await send(changed);
      expect([400, 401, 404]).toContain(status);
    }
    expect(broker.running.status().evidence.entries).toBe(size);
    // None of them has used the nonce up.
    expect(await send(good)).toMatchObject({ status: 201 });
  });

  test('about nothing is refused', async () => {
    expect(await send(await statementOf())).toMatchObject(refused('ERR_APPEAL_CLOSED'));
    await suspend();
    expect(await send(await statementOf({ suspension: 0 }))).toMatchObject(
      refused('ERR_APPEAL_CLOSED'),
    );
    const unknown = `z6Mk${device.id.slice(4).split('').reverse().join('')}`;
    expect((await send(await statementOf({ device: unknown }))).status).toBe(404);
    expect(await send(new Uint8Array(0))).toMatchObject(refused('ERR_CBOR_MALFORMED', 400));
    expect(
      await broker.admin('POST', `/admin/appeals/${device.id}/decide`, {
        outcome: 'upheld',
        reason: 'x',
      }),
    ).toMatchObject(refused('ERR_STANDING'));
  });
});

test('the standing of a device that is not enrolled is a problem', async () => {
  expect(await standing('z6MkNobody')).toMatchObject(refused('ERR_DEVICE_UNKNOWN', 404));
  for (const path of ['suspend', 'resume', 'release']) {
    const answer = await broker.admin('POST', `/admin/devices/z6MkNobody/${path}`, {});
    expect(answer).toMatchObject(refused('ERR_DEVICE_UNKNOWN', 404));
  }
});

test('a restart keeps suspension, appeal and decision, and so does the log without the database', async () => {
  await suspend({ forMs: 400 * DAY });
  await send(await statementOf());
  const before = (await standing()).body;
  await broker.restart();
  expect((await standing()).body).toMatchObject({ ...before, at: expect.any(Number) });
  await broker.running.stop();
  for (const end of ['', '-wal', '-shm']) {
    rmSync(join(broker.dataDir, `registry.sqlite${end}`), { force: true });
  }
  await broker.restart();
  expect((await standing()).body).toMatchObject({ ...before, at: expect.any(Number) });
});
