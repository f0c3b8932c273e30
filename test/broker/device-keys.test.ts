import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Directory } from '@fieldproof/broker/registry/directory';
import { deviceIdFromPublicKey, didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import type { Signer } from '@fieldproof/protocol/envelope';
import { parseJoinLine } from '@fieldproof/protocol/join-line';
import { sealOwnership } from '@fieldproof/protocol/statements';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { startCommands } from './support/commands.ts';
import { TestDevice, until } from './support/device.ts';
import {
  credentialFrom,
  enrolmentOf,
  newKey,
  post,
  refusal,
  rotationOf,
  transferOf,
} from './support/owner-requests.ts';

const DAY = 86_400_000;
/** The order-2 point (0, −1): y = p − 1. */
const SMALL_ORDER = Uint8Array.of(0xec, ...new Uint8Array(30).fill(0xff), 0x7f);

let broker: TestBroker;
let now = Date.now();

beforeAll(async () => {
  broker = await startTestBroker({}, { now: () => now });
});

afterAll(async () => {
  await broker.close();
});

function entries(): number {
  return broker.running.status().evidence.entries;
}

async function shown(device: TestDevice): Promise<Record<string, unknown>> {
  return (await broker.admin('GET', `/admin/devices/${device.id}`)).body as never;
}

/** The code with which an envelope is refused, or null when it is recorded. */
async function verdict(
  device: TestDevice,
  changes: { readonly signer: Signer; readonly bootCounter: number },
): Promise<string | null> {
  const before = entries();
  device.rejects.length = 0;
  await device.publish('telemetry', device.seal({ ...changes, boundMs: DAY }));
  await until(() => entries() > before || device.rejects.length > 0, 'a verdict');
  return device.rejects[0]?.code ?? null;
}

/** The CONNACK return code of a refused login. */
async function loginCode(device: TestDevice, signer: Signer): Promise<number> {
  const password = await device.loginPassword(undefined, signer);
  return device.connect({ password }).then(
    () => 0,
    (error: { code: number }) => error.code,
  );
}

async function rotate(device: TestDevice, changes: object = {}): Promise<Signer> {
  const next = newKey();
  const request = await rotationOf(device, next, changes);
  await credentialFrom(device, '/v1/rotate', { request, key: next });
  return next;
}

async function swapToken(device: TestDevice, options: object = {}): Promise<Uint8Array> {
  const { status, body } = await broker.admin('POST', `/admin/devices/${device.id}/swap`, options);
  expect(status).toBe(201);
  return parseJoinLine((body as { joinLine: string }).joinLine).token;
}

/** Starts again at the same addresses that devices then know. */
async function restart(devices: readonly TestDevice[], between: () => void = () => {}) {
  await broker.running.stop();
  between();
  await broker.restart();
  for (const device of devices) {
    Object.assign(device, {
      http: broker.running.addresses.http,
      mqttUrl: broker.running.addresses.mqtt,
    });
  }
}

describe('a device that replaces its key', () => {
  let device: TestDevice;
  let old: Signer;
  let next: Signer;
  let request: Uint8Array;

  beforeAll(async () => {
    device = await broker.device();
    device.bootCounter = 7;
    await device.connect();
    await device.publish('telemetry', device.seal());
    old = device.signer;
    next = newKey();
    request = await rotationOf(device, next);
  });

  test('gets a credential that says from which boot on the key counts; its session ends', async () => {
    const before = entries();
    const client = device.client!;
    const credential = await credentialFrom(device, '/v1/rotate', { request, key: next });
    expect(credential).toMatchObject({ device: device.id, firstBoot: 8, name: 'test device' });
    expect(entries()).toBe(before + 1);
    await until(() => !client.connected, 'the end of the session');
    expect(await shown(device)).toMatchObject({
      key: deviceIdFromPublicKey(next.publicKey),
      retired: [{ key: device.id, firstBoot: 0, endBoot: 8, until: now + 30 * DAY }],
    });
  });

  test('logs in with the new key only', async () => {
    expect(await loginCode(device, old)).toBe(4);
    expect(await loginCode(device, next)).toBe(0);
  });

  test('gets no session when its key is replaced while its login is answered', async () => {
    const late = await broker.device();
    const { deviceKey } = Directory.prototype;
    let asked = 0;
    Directory.prototype.deviceKey = function (this: Directory, id) {
      const key = deviceKey.call(this, id);
      if (id !== late.id || key === null) return key;
      asked += 1;
      return asked === 1 ? key : { ...key, kid: new Uint8Array(8) };
    };
    try {
      late.connect().catch(() => {});
      await until(() => late.client?.connected === false, 'the end of the connection');
      expect(await shown(late)).toMatchObject({ online: false });
    } finally {
      Directory.prototype.deviceKey = deviceKey;
    }
  });

  test('has what its outbox holds of older boots recorded, each boot under its key', async () => {
    expect(await verdict(device, { signer: old, bootCounter: 7 })).toBeNull();
    expect(await verdict(device, { signer: next, bootCounter: 8 })).toBeNull();
    expect(await verdict(device, { signer: old, bootCounter: 8 })).toBe('ERR_KEY_RETIRED');
    expect(await verdict(device, { signer: next, bootCounter: 7 })).toBe('ERR_KEY_RETIRED');
    expect(await verdict(device, { signer: newKey(), bootCounter: 8 })).toBe('ERR_KEY_UNKNOWN');
  });

  test('asks in vain with the same request, and is answered when it asks afresh', async () => {
    expect(await refusal(device, '/v1/rotate', request)).toBe('401 ERR_NONCE_INVALID');
    const before = entries();
    for (const signer of [old, device.owner]) {
      const again = await rotationOf(device, next, { signer, firstBoot: 8 });
      const credential = await credentialFrom(device, '/v1/rotate', { request: again, key: next });
      expect(credential).toMatchObject({ device: device.id, firstBoot: 8 });
    }
    expect(entries()).toBe(before);
    const other = await rotationOf(device, newKey(), { signer: old, firstBoot: 20 });
    expect(await refusal(device, '/v1/rotate', other)).toBe('409 ERR_KEY_RETIRED');
  });

  test('renews with the new key as the device that it is, and not with the old one', async () => {
    for (const about of [device.id, deviceIdFromPublicKey(next.publicKey)]) {
      const renewal = await enrolmentOf(device, next, { token: null, about });
      expect(await credentialFrom(device, '/v1/enrol', { request: renewal, key: next })).toEqual(
        expect.objectContaining({ device: device.id, firstBoot: 8 }),
      );
    }
    const { token } = parseJoinLine(await broker.joinLine());
    const renewal = await enrolmentOf(device, old, { token });
    expect(await refusal(device, '/v1/enrol', renewal)).toBe('409 ERR_KEY_RETIRED');
  });

  test('is all that after a restart, with a registry from before, and without one', async () => {
    const file = join(broker.dataDir, 'registry.sqlite');
    const kept = join(broker.dataDir, 'kept.sqlite');
    const ways: readonly (() => void)[] = [
      () => copyFileSync(file, kept),
      // As a crash between log and database leaves it, were it ever so long ago.
      () => copyFileSync(kept, file),
      () => rmSync(file),
    ];
    let signer = next;
    let boot = 8;
    for (const between of ways) {
      await device.close();
      const earlier = signer;
      device.signer = earlier;
      device.bootCounter = boot;
      signer = await rotate(device);
      boot += 1;
      await restart([device], between);
      expect(await loginCode(device, earlier)).toBe(4);
      expect(await loginCode(device, signer)).toBe(0);
      expect(await verdict(device, { signer: old, bootCounter: 7 })).toBeNull();
      expect(await verdict(device, { signer: earlier, bootCounter: boot - 1 })).toBeNull();
      expect(await verdict(device, { signer, bootCounter: boot })).toBeNull();
      expect(await verdict(device, { signer: earlier, bootCounter: boot })).toBe('ERR_KEY_RETIRED');
      const taken = await rotationOf(device, next, { signer, firstBoot: 99 });
      expect(await refusal(device, '/v1/rotate', taken)).toBe('409 ERR_KEY_IN_USE');
    }
  });

  test('has its first key taken until the grace is over', async () => {
    now += 30 * DAY;
    await device.close();
    const [{ until: end } = { until: 0 }] = (await shown(device)).retired as { until: number }[];
    expect(end).toBeGreaterThan(now - DAY);
    now = Math.max(now, end);
    const signer = await lastKey(device);
    expect(await loginCode(device, signer)).toBe(0);
    expect(await verdict(device, { signer: old, bootCounter: 7 })).toBe('ERR_KEY_RETIRED');
  });
});

/** Gives a device another key by its owner, as the last one is lost. */
async function lastKey(device: TestDevice): Promise<Signer> {
  return rotate(device, { signer: device.owner, firstBoot: 1000 });
}

describe('a rotation is refused', () => {
  let device: TestDevice;

  beforeAll(async () => {
    device = await broker.device();
    device.bootCounter = 7;
    await device.connect();
    await device.publish('telemetry', device.seal());
  });

  const requests: readonly [string, () => Promise<Uint8Array>, string][] = [
    [
      'by a stranger',
      () => rotationOf(device, newKey(), { signer: newKey() }),
      '400 ERR_SIGNATURE_INVALID',
    ],
    [
      'for boots that are recorded',
      () => rotationOf(device, newKey(), { firstBoot: 7 }),
      '409 ERR_FIRST_BOOT',
    ],
    ['to the key that it has', () => rotationOf(device, device.signer), '409 ERR_KEY_IN_USE'],
    [
      'to a key that cannot sign',
      () => rotationOf(device, newKey(), { key: SMALL_ORDER }),
      '400 ERR_KEY_INVALID',
    ],
    [
      'to a key that nobody has shown to have',
      () => rotationOf(device, newKey(), { key: newKey().publicKey }),
      '400 ERR_SIGNATURE_INVALID',
    ],
    [
      'when the device says that its key is compromised',
      () => rotationOf(device, newKey(), { cause: 'compromise' }),
      '400 ERR_REQUEST',
    ],
    [
      'with a nonce that is not ours',
      () => rotationOf(device, newKey(), { nonce: new Uint8Array(32) }),
      '401 ERR_NONCE_INVALID',
    ],
    [
      'of a device that there is not',
      () =>
        rotationOf(new TestDevice({ ...device, mqtt: '', network: device.network }), newKey(), {
          nonce: new Uint8Array(32),
        }),
      '404 ERR_DEVICE_UNKNOWN',
    ],
  ];

  test.each(requests)('%s', async (_why, request, code) => {
    const before = entries();
    expect(await refusal(device, '/v1/rotate', await request())).toBe(code);
    expect(entries()).toBe(before);
    expect(await shown(device)).toMatchObject({ key: device.id, retired: [] });
  });

  test('to the key of another device', async () => {
    const other = await broker.device();
    const taken = await rotationOf(device, other.signer);
    expect(await refusal(device, '/v1/rotate', taken)).toBe('409 ERR_KEY_IN_USE');
  });

  test('by the key of a suspended device; its owner may', async () => {
    const suspended = await broker.device();
    await broker.admin('POST', `/admin/devices/${suspended.id}/suspend`, { reason: 'test' });
    const request = await rotationOf(suspended, newKey());
    expect(await refusal(suspended, '/v1/rotate', request)).toBe('403 ERR_SUSPENDED');
    await rotate(suspended, { signer: suspended.owner });
    expect(await shown(suspended)).toMatchObject({ status: 'suspended', firstBoot: 2 });
  });

  test('when the ninth would make forget one that still counts, but not when it is compromised', async () => {
    const many = await broker.device();
    const keys: Signer[] = [];
    for (let boot = 2; boot < 10; boot += 1) {
      many.signer = await rotate(many, { firstBoot: boot });
      keys.push(many.signer);
    }
    const ninth = await rotationOf(many, newKey(), { firstBoot: 10 });
    expect(await refusal(many, '/v1/rotate', ninth)).toBe('409 ERR_TOO_MANY_KEYS');
    const byOwner = { cause: 'compromise', signer: many.owner };
    await rotate(many, { firstBoot: 10, ...byOwner });
    await rotate(many, { firstBoot: 11, ...byOwner });
    await restart([many, device]);
    const second = keys[0]!;
    const listed = ((await shown(many)).retired as { key: string }[]).map(({ key }) => key);
    expect(listed).toHaveLength(8);
    expect(listed).not.toContain(deviceIdFromPublicKey(second.publicKey));
    // What the device has forgotten is nobody else's all the same.
    const again = await rotationOf(device, second);
    expect(await refusal(device, '/v1/rotate', again)).toBe('409 ERR_KEY_IN_USE');
    const { token } = parseJoinLine(await broker.joinLine());
    const anew = await enrolmentOf(device, second, { token });
    expect(await refusal(device, '/v1/enrol', anew)).toBe('409 ERR_KEY_RETIRED');
  });

  test('of two at once, one', async () => {
    const [a, b] = [newKey(), newKey()];
    const twin = await broker.device();
    const answers = await Promise.all(
      [a, b].map(async (key) => post(twin, '/v1/rotate', await rotationOf(twin, key))),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
  });
});

test('an owner whose device’s key is stolen ends it at once, with all that it has signed', async () => {
  const device = await broker.device();
  await device.connect();
  await device.publish('telemetry', device.seal());
  const old = device.signer;
  const next = await rotate(device, { cause: 'compromise', signer: device.owner });
  expect(await loginCode(device, next)).toBe(0);
  expect(await verdict(device, { signer: old, bootCounter: 1 })).toBe('ERR_KEY_RETIRED');
  expect(await verdict(device, { signer: next, bootCounter: 2 })).toBeNull();
  // Also for a broker whose clock is set back to before it was said.
  now -= DAY;
  expect(await verdict(device, { signer: old, bootCounter: 1 })).toBe('ERR_KEY_RETIRED');
  now += DAY;
});

test('a device and its owner replace its key so often in a day, each apart from the other', async () => {
  const device = await broker.device();
  const byOwner = { cause: 'compromise' as const, signer: device.owner };
  let boot = 2;
  for (; boot < 22; boot += 1) {
    device.signer = await rotate(device, { firstBoot: boot, ...byOwner });
  }
  const before = entries();
  const next = newKey();
  const refused = await rotationOf(device, next, { firstBoot: boot, ...byOwner });
  const answer = await post(device, '/v1/rotate', refused);
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([429, '4320']);
  expect(await answer.json()).toMatchObject({ code: 'ERR_ROTATION_RATE' });
  expect(entries()).toBe(before);
  // Whoever has stolen the one key has not used up what the other may.
  const own = await rotate(device, { firstBoot: boot });
  device.signer = own;
  now += DAY / 20;
  await rotate(device, { firstBoot: boot + 1, ...byOwner });
  const again = await rotationOf(device, newKey(), { firstBoot: boot + 2, ...byOwner });
  expect(await refusal(device, '/v1/rotate', again)).toBe('429 ERR_ROTATION_RATE');
  const metrics = await fetch(`${broker.running.addresses.http}/metrics`);
  expect(await metrics.text()).toContain('rate_limited_total{limit="rotations"} 2');
});

describe('a spare part', () => {
  let device: TestDevice;
  const spare = newKey();

  beforeAll(async () => {
    device = await broker.device();
    device.bootCounter = 40;
    await device.connect();
    await device.publish('telemetry', device.seal());
  });

  test('of another owner is refused and spends no use', async () => {
    const token = await swapToken(device);
    const request = await enrolmentOf(device, newKey(), { token, owner: newKey() });
    expect(await refusal(device, '/v1/enrol', request)).toBe('409 ERR_DEVICE_OWNED');
    const other = await broker.device();
    const known = await enrolmentOf(device, other.signer, { token });
    // It is enrolled as what it is: the token is not looked at.
    expect(await refusal(device, '/v1/enrol', known)).toBe('409 ERR_DEVICE_OWNED');
    const mine = await enrolmentOf(other, other.signer, { token });
    expect(await credentialFrom(other, '/v1/enrol', { request: mine, key: other.signer })).toEqual(
      expect.objectContaining({ device: other.id }),
    );
    const { body } = await broker.admin('GET', '/admin/tokens');
    const { tokens } = body as { tokens: { device: string; used: number }[] };
    expect(tokens.filter((known) => known.device === device.id)).toMatchObject([{ used: 0 }]);
  });

  test('takes the place of a device: its id, name and history', async () => {
    const token = await swapToken(device);
    const client = device.client!;
    const request = await enrolmentOf(device, spare, { token });
    const credential = await credentialFrom(device, '/v1/enrol', { request, key: spare });
    expect(credential).toMatchObject({ device: device.id, firstBoot: 1040, name: 'test device' });
    await until(() => !client.connected, 'the end of the session');
    expect(await loginCode(device, device.signer)).toBe(4);
    expect(await loginCode(device, spare)).toBe(0);
    expect(await verdict(device, { signer: device.signer, bootCounter: 41 })).toBeNull();
    expect(await verdict(device, { signer: spare, bootCounter: 1040 })).toBeNull();
    expect(await verdict(device, { signer: spare, bootCounter: 1 })).toBe('ERR_KEY_RETIRED');
    const again = await enrolmentOf(device, spare, { token });
    expect(await credentialFrom(device, '/v1/enrol', { request: again, key: spare })).toEqual(
      expect.objectContaining({ device: device.id, firstBoot: 1040 }),
    );
    const third = await enrolmentOf(device, newKey(), { token });
    expect(await refusal(device, '/v1/enrol', third)).toBe('403 ERR_TOKEN_INVALID');
  });

  test('of a device in the wrong hands ends what those send, at once', async () => {
    const token = await swapToken(device, { compromised: true });
    const next = newKey();
    const request = await enrolmentOf(device, next, { token });
    const credential = await credentialFrom(device, '/v1/enrol', { request, key: next });
    expect(credential.firstBoot).toBe(2040);
    expect(await loginCode(device, next)).toBe(0);
    for (const [signer, bootCounter] of [
      [spare, 1040],
      [device.signer, 41],
    ] as const) {
      expect(await verdict(device, { signer, bootCounter })).toBe('ERR_KEY_RETIRED');
    }
  });

  test('is none that was a device itself, also when it is unenrolled at that moment', async () => {
    const own = await broker.device();
    const token = await swapToken(device);
    const request = await enrolmentOf(own, own.signer, { token });
    await Promise.all([
      broker.admin('POST', `/admin/devices/${own.id}/unenrol`, { reason: 'sold' }),
      post(own, '/v1/enrol', request),
    ]);
    expect(await shown(own)).toMatchObject({ status: 'unenrolled' });
    const again = await enrolmentOf(own, own.signer, { token });
    expect(await refusal(own, '/v1/enrol', again)).toBe('409 ERR_KEY_IN_USE');
  });

  test('is none for a device that there is not', async () => {
    const { status } = await broker.admin('POST', `/admin/devices/${spare.publicKey[0]}/swap`, {});
    expect(status).toBe(404);
  });
});

describe('a device that changes hands', () => {
  let device: TestDevice;
  const heir = newKey();

  beforeAll(async () => {
    device = await broker.device();
  });

  test('does so by the present owner, once for each request', async () => {
    const forged = await transferOf(device, heir, heir);
    expect(await refusal(device, '/v1/transfer', forged)).toBe('400 ERR_SIGNATURE_INVALID');
    const request = await transferOf(device, heir);
    expect((await post(device, '/v1/transfer', request)).status).toBe(204);
    expect(await shown(device)).toMatchObject({ owner: didKeyFromPublicKey(heir.publicKey) });
    expect(await refusal(device, '/v1/transfer', request)).toBe('401 ERR_NONCE_INVALID');
    const before = entries();
    expect((await post(device, '/v1/transfer', await transferOf(device, heir))).status).toBe(204);
    expect(entries()).toBe(before);
    const late = await transferOf(device, newKey());
    expect(await refusal(device, '/v1/transfer', late)).toBe('409 ERR_DEVICE_OWNED');
  });

  test('renews under its former owner’s name and learns the new one, also after a restart', async () => {
    for (const between of [() => {}, () => rmSync(join(broker.dataDir, 'registry.sqlite'))]) {
      await restart([device], between);
      const request = await enrolmentOf(device, device.signer, { token: null });
      const credential = await credentialFrom(device, '/v1/enrol', { request, key: device.signer });
      expect(credential.owner).toBe(didKeyFromPublicKey(heir.publicKey));
      const stranger = await enrolmentOf(device, device.signer, { token: null, owner: newKey() });
      expect(await refusal(device, '/v1/enrol', stranger)).toBe('409 ERR_DEVICE_OWNED');
    }
  });

  test('has its key replaced by the new owner and not by the former one', async () => {
    const former = await rotationOf(device, newKey(), { signer: device.owner });
    expect(await refusal(device, '/v1/rotate', former)).toBe('400 ERR_SIGNATURE_INVALID');
    await rotate(device, { signer: heir });
  });

  test('does so by an operator when the phrase is lost', async () => {
    const finder = newKey();
    const owner = didKeyFromPublicKey(finder.publicKey);
    const { id, network } = device;
    const statement = (about: string) =>
      Buffer.from(sealOwnership(about, { network, signer: finder })).toString('base64url');
    const call = (body: object) => broker.admin('POST', `/admin/devices/${id}/transfer`, body);
    const reason = 'phrase lost in a fire';
    const wrong = await call({ owner, ownership: statement((await broker.device()).id), reason });
    expect(wrong.body).toMatchObject({ code: 'ERR_MESSAGE_MALFORMED' });
    expect((await call({ owner, ownership: statement(id) })).status).toBe(400);
    expect((await call({ owner: 'me', ownership: statement(id), reason })).status).toBe(400);
    const done = await call({ owner, ownership: statement(id), reason });
    expect(done.body).toMatchObject({ owner });
  });
});

test('operators do it from the command line', async () => {
  const device = await broker.device();
  const running = await startCommands();
  const devices = async (...args: string[]) =>
    (await running.run('devices', ...args, '--data', broker.dataDir)).stdout;
  const line = /^fieldproof:\S+$/m.exec(await devices('swap', device.id, '--compromised'))![0];
  const { token } = parseJoinLine(line);
  const key = newKey();
  const request = await enrolmentOf(device, key, { token });
  const credential = await credentialFrom(device, '/v1/enrol', { request, key });
  expect(credential).toMatchObject({ device: device.id, firstBoot: 1000 });
  const shownThen = await devices('show', device.id);
  expect(shownThen).toContain(`${deviceIdFromPublicKey(key.publicKey)} from boot 1000`);
  expect(shownThen).toMatch(new RegExp(`${device.id} boots 0 to 999`));
  expect(await devices('unenrol', device.id, '--reason', 'broken')).toContain('unenrolled');
  await running.stop();
});

test('replace-key is the way to another key when that of a device is lost or stolen', async () => {
  const device = await broker.device();
  const running = await startCommands();
  const folder = mkdtempSync(join(tmpdir(), 'fieldproof-replace-'));
  const run = (...args: string[]) =>
    running.run('devices', 'replace-key', ...args, '--data', broker.dataDir);
  try {
    for (const flags of [[], ['--lost', '--stolen'], ['--lost', '--out', 'x']]) {
      const { code, stderr } = await run(device.id, ...flags);
      expect([code, stderr]).toEqual([1, expect.stringContaining('ERR_REQUEST')]);
    }
    const line = async (flag: string) => {
      const { stdout } = await run(device.id, flag);
      return parseJoinLine(/^fieldproof:\S+$/m.exec(stdout)![0]).token;
    };
    const first = device.signer;
    const second = newKey();
    const lost = await enrolmentOf(device, second, { token: await line('--lost') });
    await credentialFrom(device, '/v1/enrol', { request: lost, key: second });
    device.signer = second;
    expect(await loginCode(device, second)).toBe(0);
    expect(await verdict(device, { signer: first, bootCounter: 1 })).toBeNull();
    const third = newKey();
    const stolen = await enrolmentOf(device, third, { token: await line('--stolen') });
    const { firstBoot } = await credentialFrom(device, '/v1/enrol', {
      request: stolen,
      key: third,
    });
    expect(await loginCode(device, third)).toBe(0);
    for (const [signer, bootCounter] of [
      [first, 2],
      [second, 1000],
    ] as const) {
      expect(await verdict(device, { signer, bootCounter })).toBe('ERR_KEY_RETIRED');
    }
    // What the owner has signed elsewhere is sent as it is, and its answer kept for the device.
    const fourth = newKey();
    const byOwner = { cause: 'compromise' as const, signer: device.owner };
    const request = await rotationOf(device, fourth, { firstBoot: firstBoot! + 1, ...byOwner });
    const [file, out] = [join(folder, 'request.cose'), join(folder, 'answer.cbor')];
    writeFileSync(file, request);
    const other = await broker.device();
    const wrong = await run(other.id, '--request-file', file);
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('expected a rotation')]);
    const done = await run(device.id, '--request-file', file, '--out', out);
    expect([done.code, done.stderr]).toEqual([0, '']);
    expect(done.stdout).toContain(deviceIdFromPublicKey(fourth.publicKey));
    expect(readFileSync(out).length).toBeGreaterThan(100);
    expect(await loginCode(device, fourth)).toBe(0);
    const again = await run(device.id, '--request-file', file, '--out', out);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('ERR_FILE_EXISTS')]);
  } finally {
    await running.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('an unenrolled device is out until a token lets it in, for any owner', async () => {
  const device = await broker.device();
  await device.connect();
  await device.publish('telemetry', device.seal());
  const client = device.client!;
  const call = (body: object) => broker.admin('POST', `/admin/devices/${device.id}/unenrol`, body);
  expect((await call({})).status).toBe(400);
  const { body } = await call({ reason: 'sold' });
  expect(body).toMatchObject({ status: 'unenrolled' });
  await until(() => !client.connected, 'the end of the session');
  expect(await loginCode(device, device.signer)).toBe(5);
  expect((await call({ reason: 'sold' })).status).toBe(404);
  const request = await rotationOf(device, newKey(), { firstBoot: 9 });
  expect(await refusal(device, '/v1/rotate', request)).toBe('404 ERR_DEVICE_UNKNOWN');
  const renewal = await enrolmentOf(device, device.signer, { token: null });
  expect(await refusal(device, '/v1/enrol', renewal)).toBe('404 ERR_DEVICE_UNKNOWN');
  const buyer = newKey();
  const { token } = parseJoinLine(await broker.joinLine());
  const entry = await enrolmentOf(device, device.signer, { token, owner: buyer });
  const credential = await credentialFrom(device, '/v1/enrol', {
    request: entry,
    key: device.signer,
  });
  expect(credential.owner).toBe(didKeyFromPublicKey(buyer.publicKey));
  expect(await loginCode(device, device.signer)).toBe(0);
  expect(await verdict(device, { signer: device.signer, bootCounter: 2 })).toBeNull();
  await device.close();
});
