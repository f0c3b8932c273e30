/** Examples of docs/spec/identity.md. */

import { concatBytes, encodeUtf8, toBase64url, toHex } from '../../src/bytes.ts';
import { formatJoinLine } from '../../src/join-line.ts';
import { networkIdFromRootKey } from '../../src/network-id.ts';
import { sealPossession, sealRotation } from '../../src/rotation.ts';
import {
  type Credential,
  type Descriptor,
  sealCredential,
  sealDescriptor,
  sealEnrolment,
  sealHello,
  sealLogin,
  sealOwnership,
} from '../../src/statements.ts';
import { sealTransfer } from '../../src/transfer.ts';
import {
  control,
  device,
  exampleBytes,
  ledger,
  log,
  NOON,
  newOwner,
  nextKey,
  owner,
  registry,
  root,
} from './people.ts';
import { cborCase, type VectorCase, type VectorFile } from './vector-file.ts';

const DAY = 86_400_000;

/** The network id that the example root key gives (topics.md 1.1). */
export const network = networkIdFromRootKey(root.publicKey);

/** The server nonce of the example login: time ‖ random ‖ truncated HMAC, here stand-in bytes. */
export const serverNonce = concatBytes(uint64(NOON), exampleBytes('nonce', 24));

export const descriptor: Descriptor = {
  network,
  version: 1,
  issued: NOON,
  expires: NOON + 365 * DAY,
  keys: {
    registry: registry.publicKey,
    log: log.publicKey,
    control: control.publicKey,
    ledger: ledger.publicKey,
  },
  origins: {
    evidence: `fieldproof/${network}/evidence`,
    ledger: `fieldproof/${network}/ledger`,
  },
  ca: null,
  addresses: {
    http: ['http://127.0.0.1:7880'],
    mqtt: ['mqtt://127.0.0.1:7883'],
    control: ['http://127.0.0.1:7881'],
  },
  witnesses: [],
  stewards: [],
  mergeDelayMs: 60_000,
};

const credential: Credential = {
  device: device.id,
  key: device.publicKey,
  owner: `did:key:${owner.id}`,
  name: 'roof-north',
  group: 'default',
  cell: '871f91d91ffffff',
  streams: [{ metric: 'air/temp', cadenceMs: 60_000, resolution: 0.01 }],
  issued: NOON,
  expires: NOON + 30 * DAY,
};

export function identityVectors(): VectorFile {
  const descriptorBytes = sealDescriptor(descriptor, { signer: root });
  const ownership = sealOwnership(device.id, { network, signer: owner });
  const possession = sealPossession(device.id, { network, signer: nextKey });
  const token = exampleBytes('token', 16);
  const clientNonce = exampleBytes('client nonce', 16);
  const login = sealLogin({ device: device.id, nonce: serverNonce }, { network, signer: device });
  return {
    spec: 'docs/spec/identity.md',
    cases: [
      ...[root, registry, log, control, ledger, device, owner, nextKey, newOwner].map(keyCase),
      cborCase(
        {
          name: 'network descriptor',
          about: `Signed by root, external_aad ["${network}", "descriptor"].`,
        },
        descriptorBytes,
      ),
      {
        name: 'join line',
        about: 'Plain HTTP on loopback; the bytes are its UTF-8 text.',
        inputs: { token: toHex(token), root: toHex(root.publicKey) },
        ...textCase(
          formatJoinLine({
            host: '127.0.0.1',
            port: 7880,
            plain: true,
            network,
            rootKey: root.publicKey,
            token,
          }),
        ),
      },
      cborCase(
        {
          name: 'hello',
          about: `Signed by registry, external_aad ["${network}", "hello"].`,
          inputs: { clientNonce: toBase64url(clientNonce) },
        },
        sealHello(
          { network, time: NOON, nonce: serverNonce, clientNonce, descriptor: 1 },
          { signer: registry },
        ),
      ),
      cborCase(
        { name: 'ownership', about: `Signed by owner, external_aad ["${network}", "ownership"].` },
        ownership,
      ),
      cborCase(
        { name: 'enrolment', about: `Signed by device, external_aad ["${network}", "enrol"].` },
        sealEnrolment(
          {
            nonce: serverNonce,
            token,
            key: device.publicKey,
            owner: `did:key:${owner.id}`,
            ownership,
            name: 'roof-north',
            cell: '871f91d91ffffff',
            agent: 'example/1',
          },
          { network, signer: device },
        ),
      ),
      cborCase(
        {
          name: 'credential',
          about: `Signed by registry, external_aad ["${network}", "credential", device id].`,
        },
        sealCredential(credential, { network, signer: registry }),
      ),
      cborCase(
        {
          name: 'login',
          about: `Signed by device, external_aad ["${network}", "login"]. The MQTT password is its base64url text.`,
          inputs: { username: device.id, password: toBase64url(login) },
        },
        login,
      ),
      cborCase(
        {
          name: 'possession',
          about: `Signed by the next key, external_aad ["${network}", "possession", device id].`,
        },
        possession,
      ),
      cborCase(
        {
          name: 'rotation',
          about: `Signed by device, external_aad ["${network}", "rotate", device id]. The next key signs boots from 8 on.`,
        },
        sealRotation(
          {
            nonce: serverNonce,
            device: device.id,
            key: nextKey.publicKey,
            firstBoot: 8,
            cause: 'rotation',
            proof: possession,
          },
          { network, signer: device },
        ),
      ),
      cborCase(
        {
          name: 'credential after the rotation',
          about: `Signed by registry, external_aad ["${network}", "credential", device id].`,
        },
        sealCredential(
          { ...credential, key: nextKey.publicKey, firstBoot: 8 },
          { network, signer: registry },
        ),
      ),
      cborCase(
        {
          name: 'transfer',
          about: `Signed by owner, external_aad ["${network}", "transfer", device id].`,
        },
        sealTransfer(
          {
            nonce: serverNonce,
            device: device.id,
            owner: `did:key:${newOwner.id}`,
            ownership: sealOwnership(device.id, { network, signer: newOwner }),
          },
          { network, signer: owner },
        ),
      ),
    ],
  };
}

function keyCase(person: typeof root): VectorCase {
  return {
    name: person.seedText.replace('fieldproof example ', 'key: '),
    about: `Seed = SHA-256("${person.seedText}"); the bytes are the public key.`,
    inputs: { seed: toHex(person.seed), id: person.id },
    hex: toHex(person.publicKey),
  };
}

function textCase(text: string): Pick<VectorCase, 'hex' | 'diagnostic'> {
  return { hex: toHex(encodeUtf8(text)), diagnostic: text };
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}
