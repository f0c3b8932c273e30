import { readFileSync } from 'node:fs';
import { RelayChecks } from '@fieldproof/analytics/audit/relay-checks';
import { Verdicts } from '@fieldproof/analytics/audit/verdicts';
import { sealDelegation } from '@fieldproof/protocol/delegation';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { MAX_ENVELOPE_BYTES, parseEnvelope } from '@fieldproof/protocol/envelope';
import { type Frame, FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry, type EvidenceEntry } from '@fieldproof/protocol/log-entries';
import { encodeRelay } from '@fieldproof/protocol/relay';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { senml, type TestDevice, until } from './support/device.ts';
import { delegate, fileStatement, RelayedDown, wrap } from './support/gateway.ts';
import { newKey, rotationOf } from './support/owner-requests.ts';

let broker: TestBroker;
let gateway: TestDevice;
let leaf: TestDevice;
let down: RelayedDown;

/** Entries before the test. */
let start = 0;

beforeAll(async () => {
  broker = await startTestBroker({ deviceMessagesPerSecond: 0 });
});

beforeEach(async () => {
  gateway = await broker.device();
  leaf = await broker.device();
  await gateway.connect();
  down = await RelayedDown.on(gateway);
  await gateway.publish('birth', gateway.seal({ kind: 'birth' }));
  start = broker.running.status().evidence.entries;
});

afterEach(async () => {
  await gateway.close();
  await leaf.close();
});

afterAll(async () => {
  await broker.close();
});

function verdicts() {
  return broker.running.status().verdicts;
}

async function frames(from = start): Promise<{ frame: Frame; entry: EvidenceEntry }[]> {
  const token = readFileSync(`${broker.dataDir}/tokens/admin`, 'utf8').trim();
  const response = await fetch(`${broker.running.addresses.http}/v1/tail?from=${from}&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = new FrameReader(from);
  reader.push(new Uint8Array(await response.arrayBuffer()));
  const found: { frame: Frame; entry: EvidenceEntry }[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    const copy = { ...frame, entry: frame.entry.slice(), body: frame.body.slice() };
    found.push({ frame: copy, entry: decodeEvidenceEntry(copy.entry) });
  }
  return found;
}

/** Entries of the leaf's envelopes: seq and gateway. */
async function recordedOfLeaf() {
  const device = Buffer.from(publicKeyFromDeviceId(leaf.id));
  return (await frames()).flatMap(({ entry }) =>
    entry.type === 'batch' && device.equals(entry.device) ? [entry] : [],
  );
}

async function named(changes: Parameters<typeof delegate>[2] = {}): Promise<void> {
  const response = await delegate(leaf, gateway.id, changes);
  expect(response.status).toBe(200);
}

describe('a gateway that the leaf has named', () => {
  beforeEach(() => named());

  test('has the leaf’s envelopes recorded as the leaf’s, byte for byte, and its own around them', async () => {
    const inner = leaf.seal();
    const outer = wrap(gateway, leaf.id, { envelope: inner });
    await gateway.publish('relay', outer);
    const [of] = await recordedOfLeaf();
    expect(of).toMatchObject({ kind: 'telemetry', seq: 0 });
    expect(Buffer.from(of!.gateway!)).toEqual(Buffer.from(publicKeyFromDeviceId(gateway.id)));
    const all = await frames();
    const at = all.findIndex(({ entry }) => entry.type === 'batch' && entry.gateway !== null);
    expect(Buffer.from(all[at]!.frame.body)).toEqual(Buffer.from(inner));
    const behind = all[at + 1]!;
    expect(behind.entry).toMatchObject({ type: 'batch', kind: 'relay', seq: 1, gateway: null });
    expect(Buffer.from(behind.frame.body)).toEqual(Buffer.from(outer));
    await until(() => down.receipts.some(({ receipt }) => receipt.boots[0]?.[2] === 0));
    expect(down.receipts[0]).toMatchObject({ leaf: leaf.id });
    await until(() => gateway.receipts.some(({ boots }) => boots[0]?.[2] === 1));
  });

  test('keeps the order of what it sends', async () => {
    const envelopes = Array.from({ length: 20 }, () => leaf.seal());
    await Promise.all(
      envelopes.map((envelope) => gateway.publish('relay', wrap(gateway, leaf.id, { envelope }))),
    );
    expect((await recordedOfLeaf()).map(({ seq }) => seq)).toEqual(envelopes.map((_, i) => i));
    const { received, accepted, duplicate, rejected } = verdicts();
    expect(received).toBe(accepted + duplicate + rejected);
  });

  test('may send again: recorded once, and a receipt comes at once', async () => {
    const envelope = leaf.seal();
    const outer = wrap(gateway, leaf.id, { envelope });
    await gateway.publish('relay', outer);
    await gateway.publish('relay', outer);
    down.receipts.length = 0;
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope }));
    expect(await recordedOfLeaf()).toHaveLength(1);
    await until(() => down.receipts.length > 0);
  });

  test('carries the longest envelope that a leaf may send', async () => {
    let padding = 59_000;
    const sealed = () => leaf.seal({ kind: 'result', seq: 0, payload: padded(padding) });
    padding += MAX_ENVELOPE_BYTES - sealed().length;
    expect(sealed()).toHaveLength(MAX_ENVELOPE_BYTES);
    await gateway.publish('relay', wrap(gateway, leaf.id, { kind: 'result', envelope: sealed() }));
    expect(await recordedOfLeaf()).toHaveLength(1);
  });

  test('brings births that are never fresh', async () => {
    const payload = leaf.birth({ nonce: gateway.nonce });
    const birth = leaf.seal({ kind: 'birth', payload });
    const anchors = async () =>
      (await frames()).filter(({ entry }) => entry.type === 'time-anchor').length;
    const before = await anchors();
    await gateway.publish('relay', wrap(gateway, leaf.id, { kind: 'birth', envelope: birth }));
    expect(await recordedOfLeaf()).toHaveLength(1);
    expect(await anchors()).toBe(before);
    await until(() => down.receipts.length > 0);
  });

  test('a backlog of an older boot behind a direct session is no clone', async () => {
    const before = verdicts().rejected;
    const old = [leaf.seal({ kind: 'birth', payload: leaf.birth({ nonce: null }) }), leaf.seal()];
    await leaf.connect();
    leaf.bootCounter = 2;
    leaf.bootSeed = Uint8Array.of(1, 2, 3, 4);
    leaf.seq = 0;
    await leaf.publish('birth', leaf.seal({ kind: 'birth' }));
    await gateway.publish('relay', wrap(gateway, leaf.id, { kind: 'birth', envelope: old[0]! }));
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: old[1]! }));
    await leaf.publish('telemetry', leaf.seal());
    expect(await recordedOfLeaf()).toHaveLength(4);
    expect(verdicts().rejected).toBe(before);
    // Both ways down.
    await until(() => leaf.receipts.some(({ boots }) => boots.length === 2));
    await until(() => down.receipts.some(({ receipt }) => receipt.boots.length === 2));
  });

  test('brings the leaf its rejects: what the leaf did wrong is not held against the gateway', async () => {
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: leaf.seal() }));
    const envelope = leaf.seal({ payload: senml(Math.floor(Date.now() / 1000) + 600) });
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope }));
    await until(() => down.rejects.length > 0);
    expect(down.rejects[0]).toMatchObject({
      leaf: leaf.id,
      reject: { code: 'ERR_TIME_FUTURE', permanent: true, seq: 1 },
    });
    expect(gateway.rejects).toEqual([]);
    await until(() => gateway.receipts.some(({ boots }) => boots[0]?.[2] === 2));
    await until(() => down.receipts.some(({ receipt }) => receipt.boots[0]?.[4].length === 1));
  });

  test('a leaf that equivocates is told so', async () => {
    const first = leaf.seal({ seq: 0 });
    const second = leaf.seal({ seq: 0, payload: senml(1_700_000_000) });
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: first }));
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: second }));
    await until(() => down.rejects.length > 0);
    expect(down.rejects[0]!.reject).toMatchObject({ code: 'ERR_EQUIVOCATION' });
    expect(await recordedOfLeaf()).toHaveLength(1);
  });

  test('a suspended leaf keeps what it has', async () => {
    await broker.admin('POST', `/admin/devices/${leaf.id}/suspend`, { reason: 'test' });
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: leaf.seal() }));
    await until(() => down.rejects.length > 0);
    expect(down.rejects[0]!.reject).toMatchObject({ code: 'ERR_SUSPENDED', permanent: false });
    expect(await recordedOfLeaf()).toEqual([]);
    expect(gateway.rejects).toEqual([]);
  });

  test('a leaf hears that a key which it has replaced signs no more boots', async () => {
    const late = leaf.seal({ bootCounter: 9 });
    const old = leaf.seal();
    const rotation = await rotationOf(leaf, newKey(), { firstBoot: 5 });
    const options = { method: 'POST', body: Buffer.from(rotation) };
    const headers = { 'content-type': 'application/cose' };
    expect((await fetch(`${leaf.http}/v1/rotate`, { ...options, headers })).status).toBe(200);
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: old }));
    expect(await recordedOfLeaf()).toHaveLength(1);
    // Changed, it is nobody's: the leaf hears nothing of it.
    const forged = late.map((byte, i) => (i === late.length - 1 ? byte ^ 1 : byte));
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: forged }));
    await until(() => gateway.rejects.length === 1);
    expect(gateway.rejects[0]).toMatchObject({ code: 'ERR_RELAY_ENVELOPE' });
    expect(down.rejects).toEqual([]);
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: late }));
    await until(() => down.rejects.length === 1);
    expect(down.rejects[0]!.reject).toMatchObject({ code: 'ERR_KEY_RETIRED', seq: null });
    expect(gateway.rejects).toHaveLength(1);
  });

  test('a compromised key of the leaf takes the delegation with it', async () => {
    const next = newKey();
    const changes = { firstBoot: 5, cause: 'compromise', signer: leaf.owner } as const;
    const rotation = await rotationOf(leaf, next, changes);
    const options = { method: 'POST', body: Buffer.from(rotation) };
    const headers = { 'content-type': 'application/cose' };
    expect((await fetch(`${leaf.http}/v1/rotate`, { ...options, headers })).status).toBe(200);
    const envelope = leaf.seal({ bootCounter: 6, signer: next });
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope }));
    await until(() => gateway.rejects.length === 1);
    expect(gateway.rejects[0]).toMatchObject({ code: 'ERR_RELAY_NOT_NAMED' });
    leaf.signer = next;
    await named({ issued: Date.now() + 1000 });
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope }));
    expect(await recordedOfLeaf()).toHaveLength(1);
  });

  test('the log as a whole passes the audit', async () => {
    for (let i = 0; i < 3; i++) {
      await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: leaf.seal() }));
    }
    const audit = { verdicts: new Verdicts(), relays: new RelayChecks() };
    for (const { frame, entry } of await frames(0)) {
      audit.verdicts.add(frame, entry);
      audit.relays.add(frame, entry);
    }
    const results = [...audit.verdicts.results(), audit.relays.result()];
    expect(results.map(({ violations }) => violations)).toEqual([0, 0, 0]);
    expect(results[2]!.checked).toBeGreaterThanOrEqual(3);
    expect(audit.relays.unsigned).toBe(0);
    // A broker that lets a gateway carry what it may not is found out.
    const lenient = new RelayChecks();
    for (const { frame, entry } of await frames(0)) {
      if (entry.type !== 'registry' || entry.action !== 'delegate') lenient.add(frame, entry);
    }
    expect(lenient.result().violations).toBe(results[2]!.checked);
  });
});

describe('a hostile gateway', () => {
  /** Nothing inside counts, the leaf hears nothing, and the gateway is told why. */
  async function refused(code: string, outer: Uint8Array, envelope: Uint8Array): Promise<void> {
    await gateway.publish('relay', outer);
    await until(() => gateway.rejects.length > 0, code);
    expect(gateway.rejects[0]).toMatchObject({ code, permanent: true });
    expect(await recordedOfLeaf()).toEqual([]);
    expect(down.rejects).toEqual([]);
    // The leaf's own is as good as before.
    if (envelope.length === 0) return;
    await leaf.connect();
    await leaf.publish('telemetry', envelope);
    expect(await recordedOfLeaf()).toHaveLength(1);
    expect(leaf.rejects).toEqual([]);
  }

  test('of a leaf that has named nobody', async () => {
    const envelope = leaf.seal();
    await refused('ERR_RELAY_NOT_NAMED', wrap(gateway, leaf.id, { envelope }), envelope);
  });

  test('of a leaf that has named another one', async () => {
    const other = await broker.device();
    expect((await delegate(leaf, other.id)).status).toBe(200);
    const envelope = leaf.seal();
    await refused('ERR_RELAY_NOT_NAMED', wrap(gateway, leaf.id, { envelope }), envelope);
  });

  test('of a leaf that has taken its delegation back', async () => {
    await named({ issued: 1 });
    expect((await delegate(leaf, null, { issued: 2 })).status).toBe(200);
    const envelope = leaf.seal();
    await refused('ERR_RELAY_NOT_NAMED', wrap(gateway, leaf.id, { envelope }), envelope);
  });

  test('of a device that nobody knows', async () => {
    const stranger = `${leaf.id.slice(0, -4)}2222`;
    const outer = wrap(gateway, stranger, { envelope: leaf.seal() });
    await refused('ERR_RELAY_NOT_NAMED', outer, new Uint8Array(0));
  });

  test('under another kind: the honest envelope is not given up', async () => {
    await named();
    const envelope = leaf.seal();
    await refused(
      'ERR_RELAY_ENVELOPE',
      wrap(gateway, leaf.id, { kind: 'event', envelope }),
      envelope,
    );
  });

  test('leaf A’s envelope as leaf B’s', async () => {
    await named();
    const other = await broker.device();
    expect((await delegate(other, gateway.id)).status).toBe(200);
    const envelope = leaf.seal();
    await refused('ERR_RELAY_ENVELOPE', wrap(gateway, other.id, { envelope }), envelope);
  });

  test('its own envelope as the leaf’s', async () => {
    await named();
    const envelope = gateway.seal();
    const outer = wrap(gateway, leaf.id, { envelope });
    await refused('ERR_RELAY_ENVELOPE', outer, new Uint8Array(0));
  });

  test('a relay in a relay', async () => {
    await named();
    const inner = wrap(gateway, leaf.id, { envelope: leaf.seal() });
    const payload = encodeRelay({ leaf: leaf.id, kind: 'relay' as 'event', envelope: inner });
    const outer = gateway.seal({ kind: 'relay', payload });
    await refused('ERR_MESSAGE_MALFORMED', outer, new Uint8Array(0));
  });

  test('with any byte of the envelope inside changed', async () => {
    await named();
    const envelope = leaf.seal();
    const changed = [...envelope.keys()].map((at) =>
      envelope.map((byte, i) => (i === at ? byte ^ (1 << (at % 8)) : byte)),
    );
    await Promise.all(
      changed.map((bytes) => gateway.publish('relay', wrap(gateway, leaf.id, { envelope: bytes }))),
    );
    await until(() => gateway.rejects.length === changed.length);
    expect(new Set(gateway.rejects.map(({ code }) => code))).toEqual(
      new Set(['ERR_RELAY_ENVELOPE']),
    );
    expect(await recordedOfLeaf()).toEqual([]);
    expect(down.rejects).toEqual([]);
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope }));
    expect(await recordedOfLeaf()).toHaveLength(1);
  });

  test('with any byte of its own envelope changed', async () => {
    await named();
    const outer = wrap(gateway, leaf.id, { envelope: leaf.seal() });
    const signed = parseEnvelope(outer).signature.byteOffset - outer.byteOffset;
    for (let at = 0; at < outer.length; at += at < signed - 8 ? 7 : 1) {
      const changed = outer.slice();
      changed[at]! ^= 1 << (at % 8);
      await gateway.publish('relay', changed);
    }
    expect(await recordedOfLeaf()).toEqual([]);
    expect(await frames()).toHaveLength(1);
  });

  test('hears nothing of a leaf that has not named it', async () => {
    await leaf.connect();
    await leaf.publish('telemetry', leaf.seal());
    await until(() => leaf.receipts.length > 0);
    expect(down.receipts).toEqual([]);
    const filters = [leaf.topic('receipt'), leaf.topic('+'), `fp/1/${leaf.network}/d/+/receipt`];
    for (const filter of filters) {
      await expect(gateway.client!.subscribeAsync(filter, { qos: 1 })).rejects.toThrow('Subscribe');
    }
  });
});

describe('a delegation', () => {
  test('is filed once, and the newest wins', async () => {
    const other = await broker.device();
    const first = { leaf: leaf.id, gateway: gateway.id, issued: 5, expires: null };
    const statement = sealDelegation(first, leaf);
    const before = broker.running.status().evidence.entries;
    const filed = await fileStatement(leaf.http, leaf.id, statement);
    expect(await filed.json()).toMatchObject({ device: leaf.id, gateway: gateway.id, issued: 5 });
    expect((await fileStatement(leaf.http, leaf.id, statement)).status).toBe(200);
    expect(broker.running.status().evidence.entries).toBe(before + 1);
    expect((await delegate(leaf, other.id, { issued: 6 })).status).toBe(200);
    const again = await fileStatement(leaf.http, leaf.id, statement);
    expect(again.status).toBe(409);
    expect(await again.json()).toMatchObject({ code: 'ERR_DELEGATION_STALE' });
  });

  test.each([
    ['by another key', () => ({ signer: gateway.signer }), 'ERR_SIGNATURE_INVALID'],
    ['at the address of another leaf', () => ({ path: gateway.id }), 'ERR_REQUEST'],
    ['that is over', () => ({ expires: Date.now() - 1 }), 'ERR_REQUEST'],
    ['from far ahead', () => ({ issued: Date.now() + 2 * 86_400_000 }), 'ERR_REQUEST'],
  ])('%s is refused', async (_what, changes, code) => {
    const response = await delegate(leaf, gateway.id, changes());
    expect(await response.json()).toMatchObject({ code });
  });

  test('with any byte changed is refused', async () => {
    const body = { leaf: leaf.id, gateway: gateway.id, issued: 1, expires: null };
    const statement = sealDelegation(body, leaf);
    for (let at = 0; at < statement.length; at++) {
      const changed = statement.slice();
      changed[at]! ^= 1 << (at % 8);
      const { status } = await fileStatement(leaf.http, leaf.id, changed);
      expect([at, status]).not.toEqual([at, 200]);
    }
    expect(broker.running.status().evidence.entries).toBe(start);
  });

  test('to a gateway that is not enrolled is refused', async () => {
    const stranger = `${leaf.id.slice(0, -4)}2222`;
    const response = await delegate(leaf, stranger);
    expect(response.status).not.toBe(200);
  });

  test('ends by itself', async () => {
    // Over soon, but not before the broker has it.
    let expires = 0;
    for (let lifeMs = 500, status = 0; status !== 200; lifeMs *= 2) {
      expires = Date.now() + lifeMs;
      ({ status } = await delegate(leaf, gateway.id, { expires }));
    }
    await until(() => Date.now() > expires);
    await gateway.publish('relay', wrap(gateway, leaf.id, { envelope: leaf.seal() }));
    await until(() => gateway.rejects.length > 0);
    expect(gateway.rejects[0]).toMatchObject({ code: 'ERR_RELAY_EXPIRED', permanent: true });
  });

  test('is taken back by an operator, and the same one does not come back', async () => {
    await named({ issued: 7 });
    const path = `/admin/devices/${leaf.id}/undelegate`;
    expect(await broker.admin('POST', path, { reason: 'lost' })).toMatchObject({
      ...{ status: 200, body: { delegation: { gateway: null, issued: 7 } } },
    });
    expect((await delegate(leaf, gateway.id, { issued: 7 })).status).toBe(409);
    expect((await delegate(leaf, gateway.id, { issued: 8 })).status).toBe(200);
    expect((await broker.admin('POST', path, {})).status).toBe(200);
    expect((await broker.admin('POST', path, {})).status).toBe(409);
  });

  test('too many in a day are refused', async () => {
    for (let issued = 1; issued <= 20; issued++) await named({ issued });
    const response = await delegate(leaf, gateway.id, { issued: 21 });
    expect(response.status).toBe(429);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  test('what the network has said of a leaf is the same after a restart', async () => {
    await named();
    await broker.restart();
    const { body } = await broker.admin('GET', `/admin/devices/${leaf.id}`);
    expect(body).toMatchObject({ delegation: { gateway: gateway.id, expires: null } });
  });
});

/** A map of about that many bytes. */
function padded(bytes: number): Uint8Array {
  const text = 'x'.repeat(bytes);
  const head = Uint8Array.of(0xa1, 0x61, 0x61, 0x79, bytes >> 8, bytes & 0xff);
  return Uint8Array.from(Buffer.concat([head, Buffer.from(text)]));
}
