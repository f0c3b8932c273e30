import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadDescriptor } from '@fieldproof/broker/descriptor';
import { loadKeys } from '@fieldproof/broker/keys';
import { sealDescriptor } from '@fieldproof/protocol/statements';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startTestBroker } from './support/broker.ts';

const CONTENT = {
  ca: null,
  mergeDelayMs: 1000,
  addresses: { http: ['http://127.0.0.1:1'], mqtt: [], control: [] },
};
const lost = (message: RegExp) => ({
  code: 'ERR_DESCRIPTOR_FILE',
  message: expect.stringMatching(message),
});

const random = (bytes: number) => Uint8Array.from(randomBytes(bytes));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-descriptor-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the descriptor of a data folder', () => {
  test('the descriptor gets a new version when it has something new to say, and only then', async () => {
    const keys = loadKeys(folder, random);
    const load = (changes = {}, now = 1_000_000, with_ = keys) => {
      return loadDescriptor(folder, with_, {
        ...{ content: { ...CONTENT, ...changes }, now, inForce: 0 },
        logged: async () => null,
      });
    };
    expect(await load()).toMatchObject({ isNew: true, descriptor: { version: 1 } });
    expect(await load()).toMatchObject({ isNew: false, descriptor: { version: 1 } });
    const second = await load({ mergeDelayMs: 2 });
    expect(second).toMatchObject({ isNew: true, descriptor: { version: 2 } });
    const away = await load({}, 1_000_000, { ...keys, root: null });
    expect(away).toMatchObject({ isNew: false, descriptor: { version: 2 } });
    expect(away.stale).toEqual(['mergeDelayMs: 2 → 1000']);
    const later = await load({ mergeDelayMs: 2 }, 300 * 86_400_000);
    expect(later).toMatchObject({ isNew: true, descriptor: { version: 3 } });
  });

  test('another root key than that of the network is refused, and none is made in its place', async () => {
    const path = (name: string) => join(folder, 'keys', name);
    const keys = loadKeys(folder, random);
    const options = { content: CONTENT, now: 1, inForce: 0, logged: async () => null };
    await loadDescriptor(folder, keys, options);
    const own = readFileSync(path('root.key'));
    writeFileSync(path('root.key'), `${randomBytes(32).toString('base64url')}\n`);
    const refused = expect.objectContaining({ code: 'ERR_KEY_FILE' });
    expect(() => loadKeys(folder, random)).toThrow(refused);
    writeFileSync(path('root.key'), own);
    rmSync(path('root.pub'));
    // It is that of the key that is here.
    expect(loadKeys(folder, random).rootKey).toEqual(keys.rootKey);
    for (const name of ['root.key', 'root.pub']) rmSync(path(name));
    expect(() => loadKeys(folder, random)).toThrow(refused);
    expect(existsSync(path('root.key'))).toBe(false);
  });

  test('a network without its root key has no first descriptor', async () => {
    const keys = { ...loadKeys(folder, random), root: null };
    const options = { content: CONTENT, now: 1, inForce: 0, logged: async () => null };
    await expect(loadDescriptor(folder, keys, options)).rejects.toMatchObject({
      code: 'ERR_DESCRIPTOR_NEEDED',
    });
  });
});

describe('a descriptor that is lost', () => {
  const stewards = [new Uint8Array(32).fill(7)];
  const witnesses = [new Uint8Array(32).fill(8), new Uint8Array(32).fill(9)];
  let keys: ReturnType<typeof loadKeys>;
  let path: string;
  let good: Uint8Array;
  beforeEach(async () => {
    keys = loadKeys(folder, random);
    path = join(folder, 'descriptor.cose');
    const options = { content: CONTENT, now: 1_000_000, inForce: 0, logged: async () => null };
    const { descriptor } = await loadDescriptor(folder, keys, options);
    good = sealDescriptor(
      { ...descriptor, version: 4, stewards, witnesses },
      { signer: keys.root! },
    );
  });

  const load = (logged: Uint8Array | null, with_ = keys, content = CONTENT) => {
    const told: unknown[] = [];
    const loading = loadDescriptor(folder, with_, {
      ...{ content, now: 1_000_000, inForce: 4, logged: async () => logged },
      onDamaged: (error, version) => told.push([error.message, version]),
    });
    return loading.then((loaded) => ({ ...loaded, told }));
  };

  const DAMAGES: readonly [string, (bytes: Uint8Array) => Uint8Array | null, RegExp][] = [
    ['gone', () => null, /missing/],
    ['empty', () => new Uint8Array(0), /./],
    ['cut', (bytes) => bytes.subarray(0, 100), /./],
    ['zeros', (bytes) => new Uint8Array(bytes.length), /./],
    ['one bit', (bytes) => bytes.with(bytes.length - 1, bytes.at(-1)! ^ 1), /signature/],
    ['older than the one in force', () => null, /version 4 or newer, got 1/],
  ];

  describe.each(DAMAGES)('(%s)', (what, damage, why) => {
    beforeEach(() => {
      if (what.startsWith('older')) return;
      const bytes = damage(good);
      if (bytes === null) rmSync(path);
      else writeFileSync(path, bytes);
    });

    test('comes back from the evidence log with all that it says, and that is told', async () => {
      const loaded = await load(good, { ...keys, root: null });
      expect(loaded).toMatchObject({ isNew: false, stale: [] });
      expect(loaded.descriptor).toMatchObject({ version: 4, stewards, witnesses });
      expect(loaded.told).toEqual([[expect.stringMatching(why), 4]]);
      expect(Uint8Array.from(readFileSync(path))).toEqual(good);
      expect((await load(null)).told).toEqual([]);
      const changed = await load(null, keys, { ...CONTENT, mergeDelayMs: 5 });
      expect(changed).toMatchObject({
        isNew: true,
        descriptor: { version: 5, stewards, witnesses },
      });
    });

    test('stops the start when the log has no copy that is whole and in force', async () => {
      const before = existsSync(path) ? readFileSync(path) : null;
      const old = sealDescriptor(
        { ...(await load(good)).descriptor, version: 3 },
        { signer: keys.root! },
      );
      if (before === null) rmSync(path);
      else writeFileSync(path, before);
      for (const copy of [null, old, good.with(50, good[50]! ^ 1)]) {
        await expect(load(copy)).rejects.toMatchObject(lost(why));
      }
      expect(existsSync(path) ? readFileSync(path) : null).toEqual(before);
    });
  });
});

test('a broker whose descriptor is damaged serves the one of its log, or a newer version', async () => {
  const broker = await startTestBroker();
  try {
    const path = join(broker.dataDir, 'descriptor.cose');
    await broker.running.stop();
    const before = readFileSync(path);
    writeFileSync(path, before.subarray(0, 60));
    await broker.restart();
    // Other ports: what was restored is signed again.
    const device = await broker.device();
    expect((await device.descriptor()).version).toBe(2);
  } finally {
    await broker.close();
  }
});

test('a broker whose descriptor and registry are from an older copy than its log goes on from the newest version', async () => {
  const broker = await startTestBroker();
  const files = ['descriptor.cose', 'registry.sqlite'];
  try {
    await broker.running.stop();
    for (const name of files) copyFileSync(join(broker.dataDir, name), join(folder, name));
    // Other ports each time: a new version.
    await broker.restart();
    await broker.restart();
    await broker.running.stop();
    for (const name of files) copyFileSync(join(folder, name), join(broker.dataDir, name));
    await broker.restart();
    const device = await broker.device();
    expect((await device.descriptor()).version).toBe(4);
  } finally {
    await broker.close();
  }
});
