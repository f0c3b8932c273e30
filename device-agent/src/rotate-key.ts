/**
 * Another key for a device that keeps its id and history. docs/spec/identity.md section 7.
 *
 * The new key is durable before the network is asked (`device.key.next`), and takes the place of the old one when the
 * network's answer is; a command that was interrupted in between is run again and goes on. A running agent starts anew with
 * the new key when the network ends its session.
 */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import type { Signer } from '@fieldproof/protocol/envelope';
import { sealPossession, sealRotation } from '@fieldproof/protocol/rotation';
import { decodeEnrolmentAnswer, openCredential } from '@fieldproof/protocol/statements';
import { lastBootCounter } from './boot.ts';
import { type ContactOptions, openMembership } from './contact.ts';
import { type DeviceIdentity, replaceDeviceKey, savePlace } from './device-key.ts';
import { readIfPresent, replaceFile } from './durable-file.ts';
import { AgentError } from './errors.ts';
import type { Membership } from './membership.ts';

const NEXT_FILE = 'device.key.next';
const SEED_BYTES = 32;
/** Boots that an agent may begin with the old key until the network has answered. */
const BOOTS_MEANWHILE = 100;

export interface RotatedKey {
  readonly device: string;
  /** Ids of the keys. */
  readonly from: string;
  readonly to: string;
  readonly firstBoot: number;
}

interface NextKey {
  readonly seed: Uint8Array;
  readonly signer: Signer;
  readonly id: string;
  readonly firstBoot: number;
}

/**
 * @throws {AgentError} ERR_AGENT_NOT_INITIALISED before the device is enrolled, ERR_AGENT_ROTATION_REFUSED, and as
 * `Membership.prepare`.
 */
export async function rotateKey(options: ContactOptions): Promise<RotatedKey> {
  const { dataDir, random } = options;
  const { membership, identity } = await openMembership(options);
  if (membership.credential === undefined) {
    throw new AgentError(
      'ERR_AGENT_NOT_INITIALISED',
      'keys rotate: the device is not enrolled yet',
    );
  }
  const next = await nextKey(dataDir, identity, random);
  const answer = await ask(membership, identity, next).catch(async (error: unknown) => {
    // A key that the network will not take is not offered again.
    if (isUseless(error)) await rm(join(dataDir, NEXT_FILE), { force: true });
    throw error;
  });
  const { keys } = membership.descriptor!;
  const { credential: envelope } = decodeEnrolmentAnswer(answer);
  const { network, deviceId } = membership;
  const key = next.signer.publicKey;
  const { device } = openCredential(envelope, { network, publicKey: keys.registry, verify, key });
  if (device !== deviceId) {
    throw new AgentError('ERR_AGENT_ANSWER_INVALID', `rotate: expected ${deviceId}, got ${device}`);
  }
  const { firstBoot, id, seed } = next;
  // In this order: whatever is the last that is durable, key, id and boots fit.
  await savePlace(dataDir, { device, firstBoot, key: id, before: identity.keyId });
  await replaceFile(join(dataDir, 'state', 'credential.cose'), envelope);
  await replaceDeviceKey(dataDir, seed);
  await rm(join(dataDir, NEXT_FILE), { force: true });
  return { device, from: identity.keyId, to: id, firstBoot };
}

async function ask(membership: Membership, identity: DeviceIdentity, next: NextKey) {
  const { network, deviceId: device } = membership;
  const { nonce } = await membership.hello();
  const request = sealRotation(
    {
      ...{ nonce, device, key: next.signer.publicKey, firstBoot: next.firstBoot },
      cause: 'rotation',
      proof: sealPossession(device, { network, signer: next.signer }),
    },
    { network, signer: identity.signer },
  );
  const { status, problem, body } = await membership.ask('POST', '/v1/rotate', request);
  if (status >= 200 && status <= 299) return body;
  const { code = `HTTP ${status}`, detail = '' } = problem ?? {};
  throw new AgentError('ERR_AGENT_ROTATION_REFUSED', `rotate: ${code} ${detail}`.trim());
}

/** The boot counter has gone past what the key was to begin with, or another device has it. */
function isUseless(error: unknown): boolean {
  return error instanceof AgentError && /ERR_FIRST_BOOT|ERR_KEY_IN_USE/.test(error.message);
}

/** The key of a command that was interrupted, or a new one. */
async function nextKey(
  dataDir: string,
  { keyId, firstBoot: before }: DeviceIdentity,
  random: (length: number) => Uint8Array,
): Promise<NextKey> {
  const path = join(dataDir, NEXT_FILE);
  const kept = await readIfPresent(path);
  if (kept !== undefined) {
    const key = parseNext(path, Buffer.from(kept).toString('utf8'));
    // In force already: only its removal was missed.
    if (key.id !== keyId) return key;
  }
  const counter = Math.max(await lastBootCounter(join(dataDir, 'state')), before);
  const text = `${Buffer.from(random(SEED_BYTES)).toString('hex')} ${counter + BOOTS_MEANWHILE}\n`;
  await replaceFile(path, text, { mode: 0o600 });
  return parseNext(path, text);
}

/** @throws {AgentError} ERR_AGENT_KEY. */
function parseNext(path: string, text: string): NextKey {
  const [, hex, boot] = /^([0-9a-f]{64}) (\d{1,10})\n?$/.exec(text) ?? [];
  if (hex === undefined || boot === undefined) {
    throw new AgentError('ERR_AGENT_KEY', `${path}: expected 64 hex digits and a boot counter`);
  }
  const seed = new Uint8Array(Buffer.from(hex, 'hex'));
  const signer = signerFromSeed(seed);
  return { seed, signer, id: deviceIdFromPublicKey(signer.publicKey), firstBoot: Number(boot) };
}
