import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBroker } from '@fieldproof/broker/broker';
import type { ShownKey } from '@fieldproof/broker/descriptor-desk';
import { type KeyFileLayer, nodeKeyFiles } from '@fieldproof/broker/key-file-layer';
import { fromBase64url, toBase64url } from '@fieldproof/protocol/bytes';
import { verifyCheckpoint } from '@fieldproof/protocol/checkpoint';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { NetworkHistory } from '@fieldproof/protocol/network-history';
import { noteVerifier } from '@fieldproof/protocol/note-key';
import { parseNote } from '@fieldproof/protocol/signed-note';
import {
  decodeDescriptor,
  openDescriptor,
  openHello,
  sealDescriptor,
} from '@fieldproof/protocol/statements';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type TestDevice, until } from './support/device.ts';

const ROLES = ['registry', 'log', 'control', 'ledger'] as const;
type Role = (typeof ROLES)[number];

/** Everything in a log that is signed, verified as an outsider would, from the root key alone. */
async function readLog(http: string, context: { dataDir: string; network: string }) {
  const rootKey = fromBase64url(
    readFileSync(join(context.dataDir, 'keys/root.pub'), 'utf8').trim(),
  );
  const history = new NetworkHistory({ network: context.network, rootKey, verify });
  const token = readFileSync(join(context.dataDir, 'tokens/admin'), 'utf8').trim();
  const response = await fetch(`${http}/v1/tail?from=0&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = new FrameReader(0);
  reader.push(new Uint8Array(await response.arrayBuffer()));
  const counts = { entries: 0, statements: 0 };
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    const { index } = frame;
    const entry = decodeEvidenceEntry(frame.entry);
    counts.entries += 1;
    if (entry.type === 'network') history.add({ ...entry, index });
    if (entry.type !== 'registry') continue;
    history.openRegistryEntry({ ...entry, index });
    counts.statements += 1;
  }
  const note = await (await fetch(`${http}/log/evidence/checkpoint`)).text();
  return { history, rootKey, counts, note };
}

/** Whether what a broker signs now is under the keys of its own descriptor. */
async function agrees(http: string, context: { dataDir: string; network: string }) {
  const { network } = context;
  const { history, rootKey, note, counts } = await readLog(http, context);
  const bytes = new Uint8Array(await (await fetch(`${http}/v1/descriptor`)).arrayBuffer());
  const descriptor = openDescriptor(bytes, { network, publicKey: rootKey, verify });
  expect(history.versions.at(-1)?.descriptor).toEqual(descriptor);
  const clientNonce = randomBytes(16);
  const url = `${http}/v1/hello?nonce=${toBase64url(clientNonce)}`;
  const hello = new Uint8Array(await (await fetch(url)).arrayBuffer());
  openHello(hello, { network, publicKey: descriptor.keys.registry, verify, clientNonce });
  const origin = descriptor.origins.evidence;
  const size = Number(parseNote(note).text.split('\n')[1]);
  verifyCheckpoint(note, { origin, log: history.checkpointKey(size), verify });
  return { descriptor, history, counts };
}

const keyFile = (dataDir: string, name: string) =>
  signerFromSeed(fromBase64url(readFileSync(join(dataDir, 'keys', name), 'utf8').trim())).publicKey;

describe('role keys of a live broker', () => {
  let broker: TestBroker;
  let device: TestDevice;
  /** Copies of the data folder after each file operation, while it is asked for. */
  let copies: string[] | null = null;
  let folder: string;

  const copyAfter = <A extends unknown[]>(operation: (...args: A) => void) => {
    return (...args: A) => {
      operation(...args);
      if (copies === null) return;
      const copy = join(folder, String(copies.length));
      cpSync(broker.dataDir, copy, { recursive: true, filter: (path) => !/lock$/.test(path) });
      copies.push(copy);
    };
  };
  const keyFiles: KeyFileLayer = {
    replace: copyAfter(nodeKeyFiles.replace),
    rename: copyAfter(nodeKeyFiles.rename),
    remove: copyAfter(nodeKeyFiles.remove),
  };

  const keys = async () =>
    ((await broker.admin('GET', '/admin/keys')).body as { keys: readonly ShownKey[] }).keys;
  const inForce = async (role: Role) => (await keys()).find((key) => key.role === role)!;
  const rotate = (role: string, body: object = {}) =>
    broker.admin('POST', `/admin/keys/${role}/rotate`, body);
  const context = () => ({ dataDir: broker.dataDir, network: broker.running.network });

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-role-keys-'));
    broker = await startTestBroker({}, { keyFiles });
    device = await broker.device();
    device.isLenient = true;
    await device.connect();
    await device.publish('birth', device.seal({ kind: 'birth' }));
  });
  afterAll(async () => {
    await broker.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each(ROLES)(
    '%s: is replaced without a restart, and signs from its entry on',
    async (role) => {
      const before = await inForce(role);
      const { status, body } = await rotate(role);
      expect([status, body]).toEqual([200, expect.objectContaining({ installed: true })]);
      const after = await inForce(role);
      expect(after).toMatchObject({ next: null, here: true, compromised: false });
      expect(after.key).not.toBe(before.key);
      expect(after.since).toBeGreaterThanOrEqual(before.since!);
      expect(deviceIdFromPublicKey(keyFile(broker.dataDir, `${role}.key`))).toBe(after.key);
      expect(existsSync(join(broker.dataDir, `keys/${role}.next.key`))).toBe(false);
      // A registry entry and a batch behind it.
      await broker.admin('POST', `/admin/devices/${device.id}/rename`, { name: `under ${role}` });
      await device.publish('telemetry', device.seal());
      const { descriptor } = await agrees(broker.running.addresses.http, context());
      expect(deviceIdFromPublicKey(descriptor.keys[role])).toBe(after.key);
    },
  );

  test('whoever has the older descriptor verifies checkpoints too, unless the key was compromised', async () => {
    const { http } = broker.running.addresses;
    const old = (await inForce('log')).key;
    await rotate('log');
    const checkpoint = async () => (await fetch(`${http}/log/evidence/checkpoint`)).text();
    const origin = `fieldproof/${broker.running.network}/evidence`;
    const names = async () => parseNote(await checkpoint()).signatures.map(({ keyId }) => keyId);
    const idOf = (key: Uint8Array) => noteVerifier(origin, key).keyId;
    const { descriptor, history } = await agrees(http, context());
    const before = history.versions.at(-2)!.descriptor.keys.log;
    expect(deviceIdFromPublicKey(before)).toBe(old);
    expect(await names()).toEqual([idOf(descriptor.keys.log), idOf(before)]);
    await rotate('log', { compromised: true });
    const after = await agrees(http, context());
    expect(await names()).toEqual([idOf(after.descriptor.keys.log)]);
    expect(after.descriptor.compromised).toEqual([descriptor.keys.log]);
    expect(after.history.receiptKeys(1).map(deviceIdFromPublicKey)).not.toContain(
      deviceIdFromPublicKey(descriptor.keys.log),
    );
  });

  test('a broker that is killed after any step of a replacement starts with keys that belong together', async () => {
    const { http } = broker.running.addresses;
    const versionBefore = (await agrees(http, context())).descriptor.version;
    copies = [];
    for (const role of ['log', 'registry'] as const) await rotate(role, { compromised: true });
    const all = copies;
    copies = null;
    expect(all.length).toBeGreaterThanOrEqual(8);
    const versions = new Set<number>();
    for (const dataDir of all) {
      const again = await startBroker({
        ...{ dataDir, httpPort: 0, mqttPort: 0, logLevel: 'silent', verifierThreads: 0 },
        publishIntervalMs: 10,
      });
      try {
        await until(
          () => readdirSync(join(dataDir, 'evidence/published')).includes('checkpoint'),
          'a checkpoint',
        );
        const copied = { dataDir, network: broker.running.network };
        const { descriptor } = await agrees(again.addresses.http, copied);
        versions.add(descriptor.version);
        for (const role of ROLES) {
          expect([dataDir, keyFile(dataDir, `${role}.key`)]).toEqual([
            dataDir,
            descriptor.keys[role],
          ]);
        }
      } finally {
        await again.stop();
      }
    }
    // New ports make a version more: the starts came before and behind each of the two replacements.
    expect(Math.min(...versions)).toBe(versionBefore + 1);
    expect(Math.max(...versions)).toBe(versionBefore + 3);
  });

  test('with the root key offline a key waits until a descriptor that names it is installed', async () => {
    const root = signerFromSeed(
      fromBase64url(readFileSync(join(broker.dataDir, 'keys/root.key'), 'utf8').trim()),
    );
    rmSync(join(broker.dataDir, 'keys/root.key'));
    const before = await inForce('log');
    expect((await rotate('log')).body).toMatchObject({ installed: false });
    const waiting = await inForce('log');
    expect(waiting).toMatchObject({ key: before.key, next: expect.stringMatching(/^z6Mk/) });
    // Until then operators are reminded, and only they: the key may be in wrong hands.
    const state = (await broker.admin('GET', '/admin/descriptor')).body as { problem: string };
    expect(state.problem).toContain(`keys.log: ${before.key} → ${waiting.next}`);
    const problems = async () =>
      ((await broker.admin('GET', '/admin/status')).body as { problems: object[] }).problems;
    expect(await problems()).toMatchObject([{ part: 'change', code: 'ERR_DESCRIPTOR_STALE' }]);
    const ready = await (await fetch(`${broker.running.addresses.http}/readyz`)).json();
    expect(ready).toEqual({ ready: true });
    // Again: the same key waits.
    expect((await rotate('log')).body).toMatchObject({ key: waiting.next });
    const answer = await broker.admin('GET', '/admin/descriptor/draft');
    const draft = decodeDescriptor(fromBase64url((answer.body as { draft: string }).draft));
    expect(deviceIdFromPublicKey(draft.keys.log)).toBe(waiting.next);
    const install = (changes: object, signer = root) =>
      broker.admin('POST', '/admin/descriptor', {
        descriptor: toBase64url(sealDescriptor({ ...draft, ...changes }, { signer })),
      });
    const refused = { status: 409, body: { code: 'ERR_DESCRIPTOR_REFUSED' } };
    const other = signerFromSeed(randomBytes(32));
    expect(await install({}, other)).toMatchObject(refused);
    expect(await install({ version: draft.version - 1 })).toMatchObject(refused);
    expect(await install({ expires: Date.now() - 1 })).toMatchObject(refused);
    expect(await install({ network: 'aaaaaaaa' })).toMatchObject(refused);
    expect(await install({ keys: { ...draft.keys, log: other.publicKey } })).toMatchObject(refused);
    expect((await inForce('log')).key).toBe(before.key);
    expect((await install({})).status).toBe(200);
    // A second time changes nothing.
    expect((await install({})).status).toBe(200);
    expect(await inForce('log')).toMatchObject({ key: waiting.next, next: null });
    expect(await problems()).toEqual([]);
    await agrees(broker.running.addresses.http, context());
  });

  test('a key that waits can be given up', async () => {
    await rotate('control');
    expect((await broker.admin('DELETE', '/admin/keys/control/next')).status).toBe(204);
    expect((await inForce('control')).next).toBeNull();
    expect((await broker.admin('DELETE', '/admin/keys/control/next')).status).toBe(404);
  });

  test('of a key that is kept elsewhere only the public half is taken, and of no key with which the broker signs', async () => {
    const elsewhere = deviceIdFromPublicKey(signerFromSeed(randomBytes(32)).publicKey);
    expect(await rotate('ledger', { public: elsewhere })).toMatchObject({
      status: 200,
      body: { key: elsewhere },
    });
    expect((await rotate('log', { public: elsewhere })).status).toBe(400);
    expect((await rotate('root')).status).toBe(400);
    expect((await rotate('ledger', { public: 'z6Mk' })).status).toBe(400);
  });
});
