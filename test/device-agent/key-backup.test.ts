import { createPublicKey, verify } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beginBoot, lastBootCounter } from '@fieldproof/device-agent/boot';
import { createDeviceKey, loadDeviceKey, savePlace } from '@fieldproof/device-agent/device-key';
import { backupKey, publicKeyInfo, restoreKey } from '@fieldproof/device-agent/key-backup';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { agentCli } from '../support/agent-cli.ts';

const PASSPHRASE = 'correct horse battery';

let folder: string;
let counter = 0;
const random = (length: number) => {
  counter += 1;
  return new Uint8Array(length).fill(counter);
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-keys-'));
  await createDeviceKey(folder, random);
});
afterEach(() => rm(folder, { recursive: true }));

const fresh = () => mkdtemp(join(folder, 'other-'));
const backup = (passphrase = PASSPHRASE) => backupKey(folder, { passphrase, random });

describe('the public key', () => {
  test('verifies what the device signs, by any library that reads SPKI', async () => {
    const { signer, deviceId } = await loadDeviceKey(folder);
    const { pem, did, device, firstBoot } = await publicKeyInfo(folder);
    expect({ did, device, firstBoot }).toEqual({
      ...{ did: `did:key:${deviceId}`, device: deviceId, firstBoot: 0 },
    });
    const message = Buffer.from('hello');
    expect(verify(null, message, createPublicKey(pem), signer.sign(message))).toBe(true);
  });
});

describe('a backup', () => {
  test('brings the device back, its boots far above all that it had', async () => {
    await beginBoot({ folder, atLeast: 41, random });
    await rm(join(folder, 'boot.json'));
    const text = await backup();
    const other = await fresh();
    const { deviceId } = await loadDeviceKey(folder);
    expect(await restoreKey(other, { text, passphrase: PASSPHRASE })).toBe(deviceId);
    expect((await loadDeviceKey(other)).deviceId).toBe(deviceId);
    const state = join(other, 'state');
    const next = await beginBoot({ folder: state, atLeast: 0, random });
    expect(next.counter).toBeGreaterThan(1_000_000);
    expect(next.hasLeapt).toBe(false);
    expect(await lastBootCounter(state)).toBe(next.counter);
  });

  test('knows whose place the key has', async () => {
    const { keyId } = await loadDeviceKey(folder);
    const spare = await fresh();
    await createDeviceKey(spare, random);
    const { keyId: device } = await loadDeviceKey(spare);
    const place = { device, firstBoot: 7, key: keyId, before: keyId };
    await savePlace(folder, place);
    const other = await fresh();
    await restoreKey(other, { text: await backup(), passphrase: PASSPHRASE });
    expect(await loadDeviceKey(other)).toMatchObject({ deviceId: device, keyId, firstBoot: 7 });
  });

  test('shows the key to nobody', async () => {
    const text = await backup();
    const seed = (await readFile(join(folder, 'device.key'), 'utf8')).trim();
    expect(text).not.toContain(seed);
    expect(text).not.toContain(Buffer.from(seed, 'hex').toString('base64url'));
  });

  test('opens with its passphrase alone, however that is composed', async () => {
    const text = await backup('Zürich an der Limmat');
    await expect(restoreKey(await fresh(), { text, passphrase: PASSPHRASE })).rejects.toMatchObject(
      {
        code: 'ERR_AGENT_KEY',
      },
    );
    const passphrase = 'Zürich an der Limmat'.normalize('NFD');
    await expect(restoreKey(await fresh(), { text, passphrase })).resolves.toMatch(/^z6Mk/);
  });

  test('is refused when any member of it was changed', async () => {
    const whole = JSON.parse(await backup()) as Record<string, unknown>;
    const { deviceId } = await loadDeviceKey(await otherDevice());
    const changes: Record<string, unknown> = {
      ...{ format: 'x', device: deviceId, key: deviceId, bootCounter: 5, extra: 1 },
      place: { device: deviceId, firstBoot: 0, key: deviceId, before: deviceId },
      salt: flipped(whole.salt),
      nonce: flipped(whole.nonce),
      sealed: flipped(whole.sealed),
    };
    for (const [member, value] of Object.entries(changes)) {
      const text = JSON.stringify({ ...whole, [member]: value });
      const other = await fresh();
      const restoring = restoreKey(other, { text, passphrase: PASSPHRASE });
      await expect(restoring.catch(({ code }) => `${member} ${code}`)).resolves.toBe(
        `${member} ERR_AGENT_KEY`,
      );
      await expect(stat(join(other, 'device.key'))).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  test.each(['', '{}', 'null', '[]', '{"format":"fieldproof-device-key-1"}', 'x'.repeat(1000)])(
    'what is none is refused: %s',
    async (text) => {
      const restoring = restoreKey(await fresh(), { text, passphrase: PASSPHRASE });
      await expect(restoring).rejects.toMatchObject({ code: 'ERR_AGENT_KEY' });
    },
  );

  test('is not put over another device, and a short passphrase is refused', async () => {
    const text = await backup();
    const before = await readFile(join(folder, 'device.key'), 'utf8');
    const over = restoreKey(folder, { text, passphrase: PASSPHRASE });
    await expect(over).rejects.toMatchObject({ code: 'ERR_AGENT_KEY' });
    expect(await readFile(join(folder, 'device.key'), 'utf8')).toBe(before);
    await expect(backup('7 chars')).rejects.toMatchObject({ code: 'ERR_AGENT_USAGE' });
  });

  async function otherDevice(): Promise<string> {
    const other = await fresh();
    await createDeviceKey(other, random);
    return other;
  }

  function flipped(text: unknown): string {
    const bytes = Buffer.from(String(text), 'base64url');
    bytes[0]! ^= 1;
    return bytes.toString('base64url');
  }
});

describe('fieldproof-agent keys', () => {
  async function cli(args: readonly string[], phrases: readonly string[] = []) {
    const left = [...phrases];
    return await agentCli(['keys', ...args], {
      ask: async () => undefined,
      askPhrase: async () => left.shift() ?? '',
    });
  }

  test('export shows the public key and nothing secret', async () => {
    const { code, out } = await cli(['export', '--data', folder]);
    expect(code).toBe(0);
    expect(out).toMatch(
      /^device +z6Mk\w+\nkey +did:key:z6Mk\w+, from boot 0 on\n\n-----BEGIN PUBLIC/,
    );
    expect(out).not.toContain((await readFile(join(folder, 'device.key'), 'utf8')).trim());
  });

  test('export --backup and import carry a device to another folder', async () => {
    const file = join(folder, 'backup.json');
    const args = ['export', '--data', folder, '--backup', file];
    expect(await cli(args, [PASSPHRASE, 'another one'])).toMatchObject({ code: 64 });
    const made = await cli(args, [PASSPHRASE, PASSPHRASE]);
    expect(made).toMatchObject({ code: 0, err: '' });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    // What is there already is not overwritten.
    expect(await cli(args, [PASSPHRASE, PASSPHRASE])).toMatchObject({ code: 64 });
    const passphraseFile = join(folder, 'passphrase');
    await writeFile(passphraseFile, `${PASSPHRASE}\n`);
    const other = join(folder, 'new');
    const from = ['--data', other, '--passphrase-file', passphraseFile, '--json'];
    const { code, out } = await cli(['import', file, ...from]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ device: (await loadDeviceKey(folder)).deviceId });
  });
});
