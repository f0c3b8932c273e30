/**
 * Replacing role keys, stopped at every step: of each file operation also half-way through, and around each write and
 * sync of the evidence log. What is left starts with the old key or the new one, and the descriptor names that.
 */

import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBroker } from '@fieldproof/broker/broker';
import { wantedDescriptor } from '@fieldproof/broker/descriptor';
import { installInFolder, readFolderDescriptor } from '@fieldproof/broker/descriptor-folder';
import { type FileLayer, nodeFiles } from '@fieldproof/broker/evidence/file-layer';
import { type KeyFileLayer, nodeKeyFiles } from '@fieldproof/broker/key-file-layer';
import { compromisedRoles, finishRotations, prepareNextKey } from '@fieldproof/broker/key-rotation';
import { keyInForce, loadKeys, ROLES } from '@fieldproof/broker/keys';
import { fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  type Descriptor,
  decodeDescriptor,
  openDescriptor,
  openHello,
  sealDescriptor,
} from '@fieldproof/protocol/statements';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';

type Role = (typeof ROLES)[number];

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-role-crash-'));
let broker: TestBroker;
/** Copies of the data folder as a kill at that moment would leave it. */
let copies: string[] | null = null;
let counter = 0;
/** Whether they are taken around the writes of the log as well. */
let withLog = false;
/** Operations until one fails; null: none does. */
let failsIn: number | null = null;

function snap(): void {
  if (copies === null) return;
  counter += 1;
  const copy = join(folder, String(counter));
  cpSync(broker.dataDir, copy, { recursive: true, filter: (path) => !/lock$/.test(path) });
  copies.push(copy);
}

/** Fails before or after the operation, when it is its turn. */
function operation(run: () => void): void {
  const fail = () => {
    if (failsIn === null) return;
    failsIn -= 1;
    if (failsIn === 0) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  };
  fail();
  run();
  snap();
  fail();
}

const keyFiles: KeyFileLayer = {
  replace: (path, content, mode) => {
    if (copies !== null) {
      const bytes = Buffer.from(content);
      for (const end of [bytes.length / 2, bytes.length]) {
        writeFileSync(`${path}.tmp`, bytes.subarray(0, end));
        snap();
      }
    }
    operation(() => nodeKeyFiles.replace(path, content, mode));
  },
  rename: (from, to) => operation(() => nodeKeyFiles.rename(from, to)),
  remove: (path) => operation(() => nodeKeyFiles.remove(path)),
};

const files: FileLayer = {
  ...nodeFiles,
  open: async (path, mode) => {
    const file = await nodeFiles.open(path, mode);
    return {
      ...file,
      write: async (position, bytes) => {
        const half = bytes.subarray(0, bytes.length / 2);
        if (!withLog) return file.write(position, bytes);
        if (copies !== null && half.length > 0) {
          await file.write(position, half);
          snap();
        }
        await file.write(position, bytes);
        snap();
      },
      sync: async () => {
        await file.sync();
        if (withLog) snap();
      },
    };
  },
};

const rotate = (role: Role, body: object = {}) =>
  broker.admin('POST', `/admin/keys/${role}/rotate`, body);

/** Takes copies while a key is replaced. */
async function copiesOf(role: Role, body: object = {}): Promise<readonly string[]> {
  copies = [];
  const { status } = await rotate(role, body);
  const all = copies;
  copies = null;
  expect(status).toBe(200);
  return all;
}

/** That a start finds in a folder every key that the descriptor there names, and goes back behind none of them. */
function agrees(dataDir: string): Descriptor {
  const none = () => {
    throw new Error('a key would be made');
  };
  const { descriptor } = readFolderDescriptor(dataDir)!;
  const { ca, addresses, mergeDelayMs } = descriptor;
  const wanted = wantedDescriptor(
    loadKeys(dataDir, none),
    { ca, addresses, mergeDelayMs },
    descriptor,
  );
  expect([dataDir, wanted.keys]).toEqual([dataDir, descriptor.keys]);
  for (const role of ROLES) expect(keyInForce(dataDir, role, descriptor.keys)).toBeDefined();
  finishRotations(dataDir, descriptor.keys, nodeKeyFiles);
  expect([dataDir, loadKeys(dataDir, none).roles]).toEqual([dataDir, descriptor.keys]);
  return descriptor;
}

/** Starts a broker in a folder: what it serves is signed by the keys of its files. */
async function starts(dataDir: string): Promise<Descriptor> {
  const again = await startBroker({
    ...{ dataDir, httpPort: 0, mqttPort: 0, logLevel: 'silent', verifierThreads: 0 },
  });
  try {
    const { network, rootKey: publicKey } = again;
    const get = async (path: string) =>
      new Uint8Array(await (await fetch(`${again.addresses.http}${path}`)).arrayBuffer());
    const served = openDescriptor(await get('/v1/descriptor'), { network, publicKey, verify });
    const clientNonce = randomBytes(16);
    const hello = await get(`/v1/hello?nonce=${toBase64url(clientNonce)}`);
    openHello(hello, { network, publicKey: served.keys.registry, verify, clientNonce });
    return served;
  } finally {
    await again.stop();
  }
}

const inForce = () => readFolderDescriptor(broker.dataDir)!.descriptor;

beforeAll(async () => {
  broker = await startTestBroker({ publishIntervalMs: 60_000 }, { keyFiles, files });
});
beforeEach(() => {
  copies = null;
  failsIn = null;
});
afterAll(async () => {
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('a kill at any step leaves the old key or the new one', () => {
  test.each<readonly [Role, object]>([
    ['registry', {}],
    ['log', { compromised: true }],
    ['control', { compromised: true }],
    ['ledger', {}],
  ])('%s, %j', async (role, body) => {
    const before = inForce();
    const all = await copiesOf(role, body);
    const after = inForce();
    const seen = all.map((copy) => {
      const { version, keys } = agrees(copy);
      expect(keys).toEqual((version === before.version ? before : after).keys);
      return version;
    });
    // What is left of this replacement calls no later key compromised.
    for (const copy of all.filter((_, i) => seen[i] === after.version)) {
      const how = { isCompromised: false, random: randomBytes, files: nodeKeyFiles };
      prepareNextKey(copy, role, how);
      expect([copy, compromisedRoles(copy)]).toEqual([copy, []]);
    }
    // In the order of the steps: never back from the new to the old.
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(new Set(seen)).toEqual(new Set([before.version, after.version]));
  });

  test('also where the new key’s seed is kept elsewhere: the old one, which is here, does not come back', async () => {
    const elsewhere = signerFromSeed(randomBytes(32)).publicKey;
    const body = { public: deviceIdFromPublicKey(elsewhere), compromised: true };
    const all = await copiesOf('ledger', body);
    const after = inForce();
    const served: Uint8Array[] = [];
    // The last steps: the new one has its name, and the old one is still there.
    const last = all.filter((copy) => existsSync(join(copy, 'keys/ledger.pub')));
    for (const copy of last.filter((path) => existsSync(join(path, 'keys/ledger.key')))) {
      served.push((await starts(copy)).keys.ledger);
    }
    expect(served.length).toBeGreaterThan(0);
    for (const key of served) expect(key).toEqual(elsewhere);
    for (const copy of all) {
      const { keys } = agrees(copy);
      if (keys.ledger.every((byte, i) => byte === elsewhere[i])) expect(keys).toEqual(after.keys);
    }
  });

  test('a broker starts with it inside the append of its entry', async () => {
    const before = inForce();
    withLog = true;
    const all = await copiesOf('log');
    withLog = false;
    const { version } = inForce();
    const changed = all.filter(
      (copy) => readFolderDescriptor(copy)!.descriptor.version > before.version,
    );
    // The descriptor is there first; what follows is the log, then the names of the key files.
    const inside = changed.filter((copy) => existsSync(join(copy, 'keys/log.next.key')));
    expect(inside.length).toBeGreaterThanOrEqual(3);
    const places = [0, Math.floor(inside.length / 2), inside.length - 1];
    for (const place of places) {
      const served = await starts(inside[place]!);
      expect(served.version).toBeGreaterThanOrEqual(version);
      expect(served.keys).toEqual(inForce().keys);
      agrees(inside[place]!);
    }
  });
});

test('a broker whose disk refuses any one step answers with an error or success, goes on, and can be asked again', async () => {
  const device = await broker.device();
  for (const role of ['control', 'log'] as const) {
    let failures = 0;
    for (let step = 1; failsIn === null; step += 1) {
      failsIn = step;
      const { status } = await rotate(role, { compromised: true });
      const wasReached = failsIn <= 0;
      failsIn = null;
      if (!wasReached) break;
      failures += 1;
      expect([role, step, status === 200 || status >= 500]).toEqual([role, step, true]);
      const rename = { name: `${role} ${step}` };
      const path = `/admin/devices/${device.id}/rename`;
      expect((await broker.admin('POST', path, rename)).status).toBe(200);
      await device.hello().catch(() => {});
      const copy = join(folder, `failed-${role}-${step}`);
      cpSync(broker.dataDir, copy, { recursive: true, filter: (at) => !/lock$/.test(at) });
      agrees(copy);
    }
    expect(failures).toBeGreaterThanOrEqual(6);
    expect((await rotate(role)).status).toBe(200);
    await broker.restart();
    Object.assign(device, { http: broker.running.addresses.http });
    agrees(broker.dataDir);
  }
});

test('an install into a folder whose broker is stopped is there whole or not at all, and the start follows it', async () => {
  const rootFile = join(broker.dataDir, 'keys/root.key');
  const root = signerFromSeed(fromBase64url(readFileSync(rootFile, 'utf8').trim()));
  rmSync(rootFile);
  expect((await rotate('registry')).body).toMatchObject({ installed: false });
  const answer = await broker.admin('GET', '/admin/descriptor/draft');
  const draft = decodeDescriptor(fromBase64url((answer.body as { draft: string }).draft));
  const before = inForce();
  await broker.running.stop();
  copies = [];
  await installInFolder(broker.dataDir, sealDescriptor(draft, { signer: root }), {
    now: Date.now(),
    files: keyFiles,
  });
  const all = copies;
  copies = null;
  const versions = all.map((copy) => agrees(copy).version);
  expect(versions).toEqual([before.version, before.version, draft.version]);
  const served: Descriptor[] = [];
  for (const copy of all.slice(1)) served.push(await starts(copy));
  expect(served.map(({ keys }) => keys.registry)).toEqual([
    before.keys.registry,
    draft.keys.registry,
  ]);
  await broker.restart();
});
