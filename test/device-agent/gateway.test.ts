import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock } from '@fieldproof/device-agent/clock';
import type { ClockState } from '@fieldproof/device-agent/clock-state';
import { Gateway } from '@fieldproof/device-agent/gateway/gateway';
import type { GatewaySettings } from '@fieldproof/device-agent/gateway/gateway-settings';
import { LeafMail } from '@fieldproof/device-agent/gateway/leaf-mail';
import { LeafNonces } from '@fieldproof/device-agent/gateway/nonces';
import { type LeafPacket, PacketReader, publish } from '@fieldproof/device-agent/gateway/packets';
import { Journal } from '@fieldproof/device-agent/journal';
import { silentLog } from '@fieldproof/device-agent/log';
import type { Membership } from '@fieldproof/device-agent/membership';
import { Outbox } from '@fieldproof/device-agent/outbox';
import { toBase64url } from '@fieldproof/protocol/bytes';
import { sealDelegation } from '@fieldproof/protocol/delegation';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  CONTENT_TYPES,
  MAX_RELAY_BYTES,
  parseEnvelope,
  seal,
  upAad,
} from '@fieldproof/protocol/envelope';
import { openGatewayHello, sealGatewayLogin } from '@fieldproof/protocol/gateway-login';
import { encodeEvent } from '@fieldproof/protocol/messages';
import { decodeRelay, encodeRelayDown } from '@fieldproof/protocol/relay';
import { sealCredential, sealEnrolment, sealLogin } from '@fieldproof/protocol/statements';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import mqtt, { type MqttClient } from 'mqtt';
import { until } from './fake-clock.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));
const person = () => {
  const signer = signerFromSeed(random(32));
  return { signer, id: deviceIdFromPublicKey(signer.publicKey) };
};
const NETWORK = 'testnet1';
const registry = person();

let folder: string;
let self: ReturnType<typeof person>;
let leaf: ReturnType<typeof person>;
let outbox: Outbox;
let gateway: Gateway;
let clients: MqttClient[];
let answers: { readonly status: number; readonly problem?: { code: string; detail: string } }[];
let filed: string[];
let online: boolean;
let nowMs: number;
let monotonicOffsetMs: number;
let network: (method: string, path: string, body?: Uint8Array) => Promise<object>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gateway-'));
  [self, leaf, clients, answers, filed, online] = [person(), person(), [], [], [], false];
  [nowMs, monotonicOffsetMs] = [Date.now(), 0];
  network = async () => {
    throw new Error('no network');
  };
  await open();
});

afterEach(async () => {
  for (const client of clients) client.end(true);
  await gateway.stop();
  await outbox.close();
  await rm(folder, { recursive: true });
});

const clock: Clock = {
  ...systemClock,
  monotonicMs: () => systemClock.monotonicMs() + monotonicOffsetMs,
};

async function open(settings: Partial<GatewaySettings> = {}): Promise<void> {
  outbox = new Outbox({
    ...{ folder: join(folder, 'outbox'), maxBytes: 8 << 20, maxEnvelopes: 10_000 },
    ...{ segmentBytes: 65_536, fsync: 'interval', fsyncEveryMs: 10 },
    ...{ clock: systemClock, log: silentLog },
  });
  await outbox.open();
  const clockState = {
    read: () => ({ wallMs: nowMs, boundMs: 10, bootMs: 5, offsetMs: 0 }),
  } as unknown as ClockState;
  const boot = { counter: outbox.highestBootCounter + 1, seed: random(4) };
  const journal = new Journal({
    ...{ network: NETWORK, signer: self.signer, boot, outbox, clock: clockState },
    ...{ format: 'columns', log: silentLog },
  } as ConstructorParameters<typeof Journal>[0]);
  const membership = {
    network: NETWORK,
    deviceId: self.id,
    descriptor: { keys: { registry: registry.signer.publicKey } },
    ask: async (method: string, path: string, body?: Uint8Array) => {
      if (!path.endsWith('/delegation')) return network(method, path, body);
      filed.push(path);
      return answers.shift() ?? { status: 200 };
    },
  } as unknown as Membership;
  gateway = new Gateway({
    ...{ signer: self.signer, membership, clockState, journal, outbox, clock },
    ...{ log: silentLog, random, state: folder, isOnline: () => online },
    settings: {
      ...{ listen: '127.0.0.1:0', leaves: 'any', maxLeaves: 4, maxConnections: 9 },
      ...{ maxBytes: 1 << 20, maxBytesPerLeaf: 1 << 19, ...settings },
    },
  });
  await gateway.start();
}

async function hello(): Promise<Uint8Array> {
  const clientNonce = random(16);
  const url = `http://127.0.0.1:${gateway.port}/v1/gateway/hello?nonce=${toBase64url(clientNonce)}`;
  const response = await fetch(url);
  return openGatewayHello(new Uint8Array(await response.arrayBuffer()), {
    ...{ network: NETWORK, gateway: self.id, clientNonce, verify, registryKey: undefined },
  }).nonce;
}

function named(by = leaf, changes: object = {}): Uint8Array {
  const body = { leaf: by.id, gateway: self.id, issued: 5, expires: null, ...changes };
  return sealDelegation(body, { network: NETWORK, signer: by.signer });
}

/** The registry says that a key is a leaf's. */
function credentialOf(by: typeof leaf, key = by, from = registry): Uint8Array {
  return sealCredential(
    {
      ...{ device: by.id, key: key.signer.publicKey, owner: `did:key:${by.id}` },
      ...{ name: 'x', group: 'default', cell: '', streams: [], issued: 1, expires: 9 },
      ...(key !== by && { firstBoot: 4 }),
    },
    { network: NETWORK, signer: from.signer },
  );
}

async function password(by = leaf, changes: object = {}, signer = by.signer): Promise<string> {
  const [nonce, credential] = [await hello(), credentialOf(by)];
  const body = { leaf: by.id, nonce, credential, delegation: named(by) };
  const login = { ...body, ...changes };
  return toBase64url(sealGatewayLogin(login, { network: NETWORK, gateway: self.id, signer }));
}

async function login(by = leaf, secret?: string): Promise<MqttClient> {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${gateway.port}`, {
    ...{ clientId: by.id, username: by.id, password: secret ?? (await password(by)) },
    ...{ protocolVersion: 4, clean: true, reconnectPeriod: 0, connectTimeout: 5000 },
  });
  client.on('error', () => {});
  clients.push(client);
  return client;
}

let seq = 0;
function sealed(changes: { by?: typeof leaf; seq?: number; kind?: 'event' | 'gap'; pad?: number }) {
  const { by = leaf, kind = 'event', pad = 0 } = changes;
  const detail = { x: 'x'.repeat(pad) };
  return seal({
    contentType: CONTENT_TYPES.cbor,
    payload: encodeEvent({ event: 'heartbeat', detail }),
    externalAad: upAad(NETWORK, kind),
    signer: by.signer,
    stamp: {
      bootCounter: 1,
      bootSeed: Uint8Array.of(1, 2, 3, 4),
      seq: changes.seq ?? seq++,
      bootMs: 1,
      boundMs: null,
    },
  });
}

const topic = (kind: string, by = leaf) => `fp/1/${NETWORK}/d/${by.id}/${kind}`;
const send = (client: MqttClient, bytes: Uint8Array, to = topic('event')) =>
  client.publishAsync(to, Buffer.from(bytes), { qos: 1 });
const ends = (client: MqttClient) =>
  new Promise<void>((resolve) => client.once('close', () => resolve()));

/** What waits in the outbox of kind relay. */
async function kept() {
  const found = [];
  const cursor = outbox.cursor();
  for (let item = await cursor.next(); item !== undefined; item = await cursor.next()) {
    if (item.kind !== 'relay') continue;
    found.push(decodeRelay(parseEnvelope(item.bytes, MAX_RELAY_BYTES).payload));
  }
  await cursor.close();
  return found;
}

describe('a leaf that has named the gateway', () => {
  test('hands in what it has sealed, which is kept byte for byte before it is acknowledged', async () => {
    const client = await login();
    const [one, two] = [sealed({}), sealed({})];
    await send(client, one);
    await send(client, two);
    const [first, second] = await kept();
    expect(first).toEqual({ leaf: leaf.id, kind: 'event', envelope: new Uint8Array(one) });
    expect(Buffer.from(second!.envelope)).toEqual(Buffer.from(two));
    expect(gateway.status()).toMatchObject({
      taken: 2,
      leaves: [{ leaf: leaf.id, connected: true, isFiled: false, waiting: 2 }],
    });
  });

  test('may hand in again: kept once, also over a restart of the gateway', async () => {
    const envelope = sealed({});
    await send(await login(), envelope);
    await gateway.stop();
    await outbox.close();
    await open();
    expect(gateway.status().leaves).toMatchObject([{ leaf: leaf.id, waiting: 1 }]);
    await send(await login(), envelope);
    expect(await kept()).toHaveLength(1);
    // Once the network has settled it, it is relayed anew: the leaf has missed its receipt.
    for (const boot of outbox.pendingBoots()) await outbox.settle(boot, [[0, 10]]);
    await send(clients.at(-1)!, envelope);
    expect(await kept()).toHaveLength(1);
    expect(gateway.status()).toMatchObject({ taken: 1, again: 1 });
  });

  test('gets what has come down for it, once it is there', async () => {
    await send(await login(), sealed({}));
    const heard: string[] = [];
    const down = (kind: 'receipt' | 'reject' | 'config', text: string) =>
      gateway.relayDown(
        encodeRelayDown({ leaf: leaf.id, kind, envelope: new TextEncoder().encode(text) }),
      );
    down('receipt', 'old');
    down('reject', 'no');
    down('config', 'a');
    down('receipt', 'new');
    clients.pop()!.end(true);
    const client = await login();
    client.on('message', (name, bytes) => heard.push(`${name.split('/').at(-1)} ${bytes}`));
    await client.subscribeAsync(topic('+'), { qos: 1 });
    await until(() => heard.length === 3);
    down('reject', 'later');
    await until(() => heard.length === 4);
    expect(heard).toEqual(['reject no', 'config a', 'receipt new', 'reject later']);
    await until(() => gateway.status().leaves[0]!.mail === 0);
  });

  test('is held back when its share is used up, and nothing of it is lost', async () => {
    await gateway.stop();
    await outbox.close();
    await open({ maxBytesPerLeaf: 65_536 });
    const other = person();
    const [client, second] = [await login(), await login(other)];
    let acknowledged = 0;
    for (let i = 0; i < 9; i++) {
      void send(client, sealed({ pad: 10_000 })).then(() => {
        acknowledged += 1;
      });
    }
    await until(() => acknowledged === 6);
    // Others have theirs.
    await send(second, sealed({ by: other }), topic('event', other));
    expect(acknowledged).toBe(6);
    for (const boot of outbox.pendingBoots()) await outbox.settle(boot, [[0, 5]]);
    await until(() => acknowledged === 9);
  });

  test('may have another key than its first, as its credential says', async () => {
    const next = person();
    const credential = credentialOf(leaf, next);
    const delegation = sealDelegation(
      { leaf: leaf.id, gateway: self.id, issued: 6, expires: null },
      { network: NETWORK, signer: next.signer },
    );
    const secret = await password(leaf, { credential, delegation }, next.signer);
    const client = await login(leaf, secret);
    await send(client, sealed({ by: next }));
    // What it has sealed before is its own as well, and the key of before opens no door any more.
    await send(client, sealed({}));
    expect(await kept()).toHaveLength(2);
    await expect(login()).rejects.toMatchObject({ code: 4 });
    expect(gateway.status().refused).toBe(0);
  });

  test('is filed with the network when that is there, and given up when the network says no', async () => {
    await send(await login(), sealed({}));
    answers = [{ status: 503 }];
    await gateway.fileDelegations();
    expect(gateway.status().leaves[0]).toMatchObject({ isFiled: false, problem: null });
    answers = [{ status: 409, problem: { code: 'ERR_DELEGATION_STALE', detail: 'newer' } }];
    const closed = ends(clients[0]!);
    await gateway.fileDelegations();
    await closed;
    expect(filed).toEqual([
      `/v1/devices/${leaf.id}/delegation`,
      `/v1/devices/${leaf.id}/delegation`,
    ]);
    expect(await kept()).toEqual([]);
    await expect(login()).rejects.toMatchObject({ code: 5 });
    // A newer one is another matter.
    const secret = await password(leaf, { delegation: named(leaf, { issued: 9 }) });
    online = true;
    await login(leaf, secret);
    expect(gateway.status().leaves[0]).toMatchObject({ isFiled: true, problem: null });
  });
});

describe('a login is refused', () => {
  const other = person();

  test.each<[string, number, () => Promise<string>]>([
    ['by another key', 4, () => password(leaf, {}, other.signer)],
    ['of another leaf', 4, () => password(leaf, { leaf: other.id })],
    ['with a nonce of its own', 4, () => password(leaf, { nonce: random(32) })],
    ['without a delegation', 4, () => password(leaf, { delegation: new Uint8Array(0) })],
    ['with one of another leaf', 4, () => password(leaf, { delegation: named(other) })],
    [
      'with one that names another gateway',
      5,
      () => password(leaf, { delegation: named(leaf, { gateway: other.id }) }),
    ],
    ['with one that is over', 5, () => password(leaf, { delegation: named(leaf, { expires: 9 }) })],
    [
      'with a credential that the network has not signed',
      4,
      async () => password(leaf, { credential: credentialOf(leaf, other, other) }, other.signer),
    ],
    [
      'that is for the broker',
      4,
      async () =>
        toBase64url(
          sealLogin(
            { device: leaf.id, nonce: await hello() },
            { network: NETWORK, signer: leaf.signer },
          ),
        ),
    ],
  ])('%s', async (_what, code, secret) => {
    await expect(login(leaf, await secret())).rejects.toMatchObject({ code });
    expect(gateway.status().leaves).toEqual([]);
  });

  test('a second time with the same nonce', async () => {
    const secret = await password();
    await login(leaf, secret);
    await expect(login(leaf, secret)).rejects.toMatchObject({ code: 4 });
  });

  test('with an older delegation than the last', async () => {
    await login(leaf, await password(leaf, { delegation: named(leaf, { issued: 7 }) }));
    await expect(login()).rejects.toMatchObject({ code: 5 });
  });

  test('of a leaf that may not come, and of one too many', async () => {
    await gateway.stop();
    await outbox.close();
    await open({ leaves: other.id });
    await expect(login()).rejects.toMatchObject({ code: 5 });
    await gateway.stop();
    await outbox.close();
    await open({ maxLeaves: 1 });
    await login();
    await expect(login(other)).rejects.toMatchObject({ code: 5 });
  });
});

describe('an envelope that is not the leaf’s', () => {
  test('is not carried, which the leaf is told; what comes behind it is', async () => {
    const client = await login();
    const told: string[] = [];
    client.on('message', (name, bytes) => {
      const { refused } = JSON.parse(bytes.toString()) as { refused: string };
      told.push(`${name.split('/').at(-1)} ${refused}`);
    });
    await client.subscribeAsync(topic('state'), { qos: 0 });
    const envelope = sealed({});
    const bad = [
      sealed({ kind: 'gap' }),
      sealed({ by: person() }),
      random(100),
      new Uint8Array(0),
      ...Array.from({ length: Math.ceil(envelope.length / 7) }, (_, i) =>
        envelope.map((byte, at) => (at === 7 * i ? byte ^ 1 : byte)),
      ),
    ];
    for (const each of bad) await send(client, each);
    await send(client, envelope);
    expect(await kept()).toEqual([{ leaf: leaf.id, kind: 'event', envelope }]);
    await until(() => told.length === bad.length);
    const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    expect(told).toEqual(bad.map((each) => `state ${digest(each)}`));
    expect(gateway.status().refused).toBe(bad.length);
  });

  test('is not taken for one with the same seq', async () => {
    const client = await login();
    await send(client, sealed({ seq: 70 }));
    await send(client, sealed({ seq: 70, pad: 3 }));
    expect(await kept()).toHaveLength(2);
  });
});

describe('a delegation ends', () => {
  const NO = { status: 409, problem: { code: 'ERR_DELEGATION_STALE', detail: 'newer' } };

  test('when the network refuses what was relayed: the rest is dropped, and not sent', async () => {
    const client = await login();
    for (let i = 0; i < 5; i++) await send(client, sealed({}));
    await gateway.fileDelegations();
    answers = [NO];
    const [boot] = outbox.pendingBoots();
    const closed = ends(client);
    const cursor = outbox.cursor();
    const first = (await cursor.next())!;
    await cursor.close();
    gateway.rejected({
      ...{ code: 'ERR_RELAY_NOT_NAMED', boot: [boot!.counter, boot!.seed], seq: first.seq },
    });
    await closed;
    await until(async () => (await kept()).length === 0);
    await until(() => gateway.status().leaves[0]!.problem !== null);
    await expect(login()).rejects.toMatchObject({ code: 5 });
  });

  test('when its time is over: nothing is taken, and what waits is dropped before a session', async () => {
    const delegation = named(leaf, { expires: nowMs + 60_000 });
    const client = await login(leaf, await password(leaf, { delegation }));
    await send(client, sealed({}));
    nowMs += 60_000;
    const closed = ends(client);
    send(client, sealed({})).catch(() => {});
    await closed;
    expect(await kept()).toHaveLength(1);
    await gateway.fileDelegations();
    expect([await kept(), filed]).toEqual([[], []]);
    await expect(login(leaf, await password(leaf, { delegation }))).rejects.toMatchObject({
      code: 5,
    });
  });
});

describe('a stranger', () => {
  test('takes no place, no nonce and no disk while the network cannot be asked', async () => {
    const secret = await password(leaf, { credential: null });
    await expect(login(leaf, secret)).rejects.toMatchObject({ code: 3 });
    expect(gateway.status().leaves).toEqual([]);
    expect(await readdir(join(folder, 'leaves'))).toEqual([]);
  });

  test('is one until the network knows its delegation', async () => {
    online = true;
    answers = [{ status: 404, problem: { code: 'ERR_DEVICE_UNKNOWN', detail: '' } }];
    await expect(login(leaf, await password(leaf, { credential: null }))).rejects.toMatchObject({
      code: 5,
    });
    expect(gateway.status().leaves).toEqual([]);
    expect(await readdir(join(folder, 'leaves'))).toEqual([]);
    // Asked at most once a second, for all of them.
    monotonicOffsetMs += 1000;
    await login(leaf, await password(leaf, { credential: null }));
    expect(filed).toHaveLength(2);
    expect(gateway.status().leaves).toMatchObject([{ leaf: leaf.id, isFiled: true }]);
  });

  test('cannot keep others out with open connections', async () => {
    const sockets = Array.from({ length: 20 }, () => connect(gateway.port, '127.0.0.1'));
    for (const socket of sockets) socket.on('error', () => {});
    // Of 9 places one address has 8 until it has logged in.
    await until(() => gateway.status().turnedAway === 12);
    for (const socket of sockets) socket.destroy();
  });
});

describe('a client written from the specification', () => {
  /** What is answered, until the gateway ends it or so many bytes have come. */
  async function raw(bytes: Uint8Array, most = Number.POSITIVE_INFINITY): Promise<Buffer> {
    const socket = connect(gateway.port, '127.0.0.1', () => socket.write(bytes));
    const chunks: Buffer[] = [];
    socket
      .on('error', () => {})
      .on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        if (Buffer.concat(chunks).length >= most) socket.destroy();
      });
    await new Promise<void>((resolve) => socket.on('close', () => resolve()));
    return Buffer.concat(chunks);
  }
  const connectBytes = (level: number, rest: readonly number[], name = 'MQTT') => {
    const body = [0, name.length, ...Buffer.from(name), level, ...rest];
    return Uint8Array.from([0x10, body.length, ...body]);
  };

  test('of another MQTT is told which one it is', async () => {
    expect([...(await raw(connectBytes(5, [2, 0, 60, 0, 0, 0])))]).toEqual([0x20, 3, 0, 0x84, 0]);
    expect([...(await raw(connectBytes(3, [2, 0, 60, 0, 0], 'MQIsdp')))]).toEqual([0x20, 2, 0, 1]);
    expect(await raw(connectBytes(4, [0x40, 0, 60, 0, 0]))).toHaveLength(0);
    expect(await raw(connectBytes(4, [0x0a, 0, 60, 0, 0]))).toHaveLength(0);
  });

  test('may send on without waiting: for CONNACK, and more than a gateway takes at once', async () => {
    const secret = Buffer.from(await password());
    const text = (value: Uint8Array) => [value.length >> 8, value.length & 0xff, ...value];
    const id = Buffer.from(leaf.id);
    const body = [0, 4, ...Buffer.from('MQTT'), 4, 0xc2, 0, 60];
    const connecting = [...body, ...text(id), ...text(id), ...text(secret)];
    const length = [(connecting.length & 0x7f) | 0x80, connecting.length >> 7];
    const envelopes = Array.from({ length: 200 }, () => sealed({}));
    const bytes = Buffer.concat([
      Uint8Array.from([0x10, ...length, ...connecting]),
      ...envelopes.map((envelope, i) => publish(topic('event'), new Uint8Array(envelope), i + 1)),
    ]);
    const answers = await raw(bytes, 4 + 4 * envelopes.length);
    expect([...answers.subarray(0, 4)]).toEqual([0x20, 2, 0, 0]);
    expect(answers).toHaveLength(4 + 4 * envelopes.length);
    expect((await kept()).map(({ envelope }) => Buffer.from(envelope))).toEqual(
      envelopes.map((each) => Buffer.from(each)),
    );
  });

  test('gets QoS 0 where it asks for that', async () => {
    const client = await login();
    const [granted] = await client.subscribeAsync(topic('receipt'), { qos: 0 });
    expect(granted!.qos).toBe(0);
    const heard = new Promise<number>((resolve) =>
      client.once('message', (_topic, _bytes, { qos }) => resolve(qos)),
    );
    gateway.relayDown(
      encodeRelayDown({ leaf: leaf.id, kind: 'receipt', envelope: Uint8Array.of(1) }),
    );
    expect(await heard).toBe(0);
    expect(gateway.status().leaves[0]!.mail).toBe(0);
  });
});

describe('a connection ends', () => {
  test.each<[string, (client: MqttClient) => unknown]>([
    ['that publishes for another', (client) => send(client, sealed({}), topic('event', self))],
    ['that publishes a relay', (client) => send(client, sealed({}), topic('relay'))],
    ['that publishes what comes down', (client) => send(client, sealed({}), topic('receipt'))],
    ['with QoS 2', (client) => client.publish(topic('event'), 'x', { qos: 2 })],
    [
      'with a retained message',
      (client) => client.publish(topic('event'), 'x', { retain: true, qos: 1 }),
    ],
  ])('%s', async (_what, act) => {
    const client = await login();
    const closed = ends(client);
    Promise.resolve(act(client)).catch(() => {});
    await closed;
    expect(await kept()).toEqual([]);
  });

  test('that asks for what is not its own is told no', async () => {
    const client = await login();
    for (const filter of ['#', '+', topic('+', self), topic('relay-down'), topic('telemetry')]) {
      await expect(client.subscribeAsync(filter, { qos: 1 })).rejects.toThrow();
    }
  });

  test.each<[string, Uint8Array]>([
    ['another protocol', new TextEncoder().encode('SSH-2.0-x\r\n')],
    ['a web page', new TextEncoder().encode('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['a packet of 200 MB', Uint8Array.of(0x10, 0xff, 0xff, 0xff, 0x7f)],
    ['PUBLISH before CONNECT', publish('a', Uint8Array.of(1), 1)],
    ['a head without an end', new TextEncoder().encode(`GET /${'x'.repeat(4000)}`)],
  ])('with %s', async (_what, bytes) => {
    await new Promise<void>((resolve) => {
      const socket: Socket = connect(gateway.port, '127.0.0.1', () => socket.write(bytes));
      socket.on('error', () => {});
      socket.resume().on('close', () => resolve());
    });
  });

  test('above gateway.maxConnections', async () => {
    await gateway.stop();
    await outbox.close();
    await open({ maxConnections: 3 });
    const sockets = Array.from({ length: 5 }, () => connect(gateway.port, '127.0.0.1'));
    for (const socket of sockets) socket.on('error', () => {});
    await until(() => gateway.status().turnedAway === 2);
    for (const socket of sockets) socket.destroy();
  });
});

describe('what is no envelope', () => {
  const at = (path: string, init?: RequestInit) =>
    fetch(`http://127.0.0.1:${gateway.port}${path}`, init);
  const enrolment = (token: Uint8Array | null) => {
    const { signer } = leaf;
    const body = {
      ...{ nonce: random(32), token, key: signer.publicKey, owner: `did:key:${leaf.id}` },
      ...{ ownership: new Uint8Array(8), name: 'x' },
    };
    const bytes = sealEnrolment(body, { network: NETWORK, signer });
    return { method: 'POST', body: Buffer.from(bytes) };
  };
  const hello = `/v1/hello?nonce=${'A'.repeat(22)}`;

  test('is passed on as it is: the descriptor, the hello, a renewal', async () => {
    const asked: unknown[] = [];
    network = async (method, path, body) => {
      asked.push([method, path, body?.length]);
      return { status: path === '/v1/enrol' ? 403 : 200, body: Uint8Array.of(1, 2, 3) };
    };
    for (const path of ['/v1/descriptor', hello]) {
      const answer = await at(path);
      expect([answer.status, [...new Uint8Array(await answer.arrayBuffer())]]).toEqual([
        200,
        [1, 2, 3],
      ]);
    }
    const renewal = enrolment(null);
    expect((await at('/v1/enrol', renewal)).status).toBe(403);
    expect(asked).toEqual([
      ['GET', '/v1/descriptor', undefined],
      ['GET', hello, undefined],
      ['POST', '/v1/enrol', renewal.body.length],
    ]);
  });

  test('never a token, and nothing else', async () => {
    let asked = 0;
    network = async () => {
      asked += 1;
      return { status: 200, body: new Uint8Array(0) };
    };
    expect((await at('/v1/enrol', enrolment(random(16)))).status).toBe(403);
    expect((await at('/v1/enrol', { method: 'POST', body: 'junk' })).status).toBe(403);
    for (const path of [
      '/',
      '/admin/devices',
      '/v1/tail?from=0',
      '/v1/hello?nonce=x',
      '/metrics',
    ]) {
      expect((await at(path)).status).toBe(404);
    }
    expect((await at('/v1/rotate', enrolment(null))).status).toBe(404);
    expect(asked).toBe(0);
  });

  test('not without a network, and not for ever', async () => {
    expect((await at(hello)).status).toBe(503);
    const answers = await Promise.all(Array.from({ length: 6 }, () => at(hello)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
    network = () => new Promise(() => {});
    const waiting = Array.from({ length: 4 }, () => at(hello).catch(() => null));
    await until(async () => (await at(hello)).status === 429);
    await gateway.stop();
    await Promise.all(waiting);
  });
});

function all(reader: PacketReader): readonly LeafPacket[] {
  const packets: LeafPacket[] = [];
  for (let it = reader.next(); it !== undefined; it = reader.next()) packets.push(it);
  return packets;
}

describe('parts of it', () => {
  test('packets are read in whatever pieces they come', () => {
    const bytes = Buffer.concat([
      publish('a/b', random(200), 7),
      Uint8Array.of(0xc0, 0),
      Uint8Array.of(0x82, 6, 0, 1, 0, 1, 0x61, 1),
    ]);
    for (const size of [1, 2, 3, 7, 500]) {
      const reader = new PacketReader();
      const packets = [];
      for (let at = 0; at < bytes.length; at += size) {
        reader.push(new Uint8Array(bytes.subarray(at, at + size)));
        packets.push(...all(reader));
      }
      expect(packets.map(({ cmd }) => cmd)).toEqual(['publish', 'pingreq', 'subscribe']);
    }
  });

  test('random bytes are packets or an error, and nothing else', () => {
    for (let i = 0; i < 2000; i++) {
      const reader = new PacketReader();
      try {
        reader.push(random(1 + (i % 40)));
        all(reader);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_AGENT_LEAF' });
      }
    }
  });

  test('mail is bounded, and keeps the newest receipt', () => {
    const mail = new LeafMail();
    for (let i = 0; i < 300; i++) {
      mail.put({ kind: 'reject', envelope: random(100) });
      mail.put({ kind: 'receipt', envelope: Uint8Array.of(i & 0xff) });
    }
    expect(mail.size).toBe(128);
    for (let i = 0; i < 20; i++) mail.put({ kind: 'task', envelope: random(60_000) });
    expect(mail.size).toBeLessThan(10);
  });

  test('a nonce is good for a minute, once, and at its gateway only', () => {
    let now = 0;
    const make = () => new LeafNonces({ random, monotonicMs: () => now });
    const [nonces, others] = [make(), make()];
    const nonce = nonces.issue();
    expect(others.use(nonce)).toBe(false);
    expect([nonces.use(nonce), nonces.use(nonce)]).toEqual([true, false]);
    const late = nonces.issue();
    now = 60_001;
    expect(nonces.use(late)).toBe(false);
    expect(nonces.use(nonce)).toBe(false);
  });
});
