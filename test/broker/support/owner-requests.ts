/** Requests about a device that change its key or its owner, as a device, a spare part or an owner makes them. */

import { randomBytes } from 'node:crypto';
import { deviceIdFromPublicKey, didKeyFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import type { Signer } from '@fieldproof/protocol/envelope';
import { type Rotation, sealPossession, sealRotation } from '@fieldproof/protocol/rotation';
import {
  type Credential,
  decodeEnrolmentAnswer,
  openCredential,
  sealEnrolment,
  sealOwnership,
} from '@fieldproof/protocol/statements';
import { sealTransfer } from '@fieldproof/protocol/transfer';
import type { TestDevice } from './device.ts';

export function newKey(): Signer {
  return signerFromSeed(randomBytes(32));
}

/** A rotation to `next`, with a fresh nonce; by the device's key unless another signer is given. */
export async function rotationOf(
  device: TestDevice,
  next: Signer,
  changes: Partial<Rotation> & { readonly signer?: Signer } = {},
): Promise<Uint8Array> {
  const { network, id } = device;
  const { signer = device.signer, ...fields } = changes;
  const body: Rotation = {
    nonce: changes.nonce ?? (await device.hello()),
    device: id,
    key: next.publicKey,
    firstBoot: device.bootCounter + 1,
    cause: 'rotation',
    proof: sealPossession(id, { network, signer: next }),
    ...fields,
  };
  return sealRotation(body, { network, signer });
}

/** A transfer to `heir`, with a fresh nonce; by the device's owner unless another signer is given. */
export async function transferOf(
  device: TestDevice,
  heir: Signer,
  signer = device.owner,
): Promise<Uint8Array> {
  const { network, id } = device;
  return sealTransfer(
    {
      nonce: await device.hello(),
      device: id,
      owner: didKeyFromPublicKey(heir.publicKey),
      ownership: sealOwnership(id, { network, signer: heir }),
    },
    { network, signer },
  );
}

/** An enrolment by any key, with a fresh nonce. The ownership names `about`, by default the id of the key. */
export async function enrolmentOf(
  device: TestDevice,
  key: Signer,
  options: { readonly token: Uint8Array | null; readonly owner?: Signer; readonly about?: string },
): Promise<Uint8Array> {
  const { network } = device;
  const owner = options.owner ?? device.owner;
  const about = options.about ?? deviceIdFromPublicKey(key.publicKey);
  return sealEnrolment(
    {
      nonce: await device.hello(),
      token: options.token,
      key: key.publicKey,
      owner: didKeyFromPublicKey(owner.publicKey),
      ownership: sealOwnership(about, { network, signer: owner }),
      name: 'test device',
    },
    { network, signer: key },
  );
}

export async function post(
  device: TestDevice,
  path: string,
  request: Uint8Array,
): Promise<Response> {
  const headers = { 'content-type': 'application/cose; cose-type="cose-sign1"' };
  return fetch(`${device.http}${path}`, { method: 'POST', headers, body: Buffer.from(request) });
}

/** Posts a request that must be refused. @returns its status and code. */
export async function refusal(
  device: TestDevice,
  path: string,
  request: Uint8Array,
): Promise<string> {
  const response = await post(device, path, request);
  const { code } = response.ok ? { code: 'none' } : ((await response.json()) as { code: string });
  return `${response.status} ${code}`;
}

/** Posts a request that must be granted. @returns the credential in the answer, for `key`. */
export async function credentialFrom(
  device: TestDevice,
  path: string,
  { request, key }: { readonly request: Uint8Array; readonly key: Signer },
): Promise<Credential> {
  const response = await post(device, path, request);
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  const answer = decodeEnrolmentAnswer(new Uint8Array(await response.arrayBuffer()));
  const { keys } = await device.descriptor();
  const context = { network: device.network, publicKey: keys.registry, verify };
  return openCredential(answer.credential, { ...context, key: key.publicKey });
}
