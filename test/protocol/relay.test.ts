import { randomBytes } from 'node:crypto';
import { decode, encode } from '@fieldproof/protocol/cbor';
import { openDelegation, readDelegation, sealDelegation } from '@fieldproof/protocol/delegation';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed, verify } from '@fieldproof/protocol/ed25519-node';
import {
  MAX_ENVELOPE_BYTES,
  MAX_RELAY_BYTES,
  parseEnvelope,
  seal,
} from '@fieldproof/protocol/envelope';
import {
  openGatewayHello,
  openGatewayLogin,
  sealGatewayHello,
  sealGatewayLogin,
} from '@fieldproof/protocol/gateway-login';
import {
  decodeRelay,
  decodeRelayDown,
  encodeRelay,
  encodeRelayDown,
} from '@fieldproof/protocol/relay';
import { sealCredential, sealLogin } from '@fieldproof/protocol/statements';
import { describe, expect, test } from '@jest/globals';

const person = () => {
  const signer = signerFromSeed(randomBytes(32));
  return { signer, publicKey: signer.publicKey, id: deviceIdFromPublicKey(signer.publicKey) };
};
const network = 'h7dz6lhl';
const [leaf, gateway, registry, other] = [person(), person(), person(), person()];
const registryKey = registry.publicKey;

/** Every good message with one bit of one byte turned. */
function corruptions(good: Uint8Array): Uint8Array[] {
  return [...good.keys()].map((at) =>
    good.map((byte, i) => (i === at ? byte ^ (1 << (at % 8)) : byte)),
  );
}

describe('a relay', () => {
  const envelope = Uint8Array.from(randomBytes(100));

  test('carries an envelope as it is, and the longest fits', () => {
    const relayed = { leaf: leaf.id, kind: 'telemetry', envelope } as const;
    expect(decodeRelay(encodeRelay(relayed))).toEqual(relayed);
    const down = { leaf: leaf.id, kind: 'receipt', envelope } as const;
    expect(decodeRelayDown(encodeRelayDown(down))).toEqual(down);
    const payload = encodeRelay({ ...relayed, envelope: new Uint8Array(MAX_ENVELOPE_BYTES) });
    const stamp = {
      ...{ bootCounter: 2 ** 32 - 1, bootSeed: new Uint8Array(4), seq: Number.MAX_SAFE_INTEGER },
      ...{ bootMs: Number.MAX_SAFE_INTEGER, boundMs: 86_400_000 },
    };
    const outer = seal({
      ...{
        contentType: 60,
        payload,
        externalAad: new Uint8Array(0),
        signer: gateway.signer,
        stamp,
      },
      maxBytes: MAX_RELAY_BYTES,
    });
    expect(parseEnvelope(outer, MAX_RELAY_BYTES).payload).toHaveLength(payload.length);
    expect(() => parseEnvelope(outer)).toThrow('at most 60000');
  });

  test('may have more items in a later version', () => {
    const more = encode([leaf.id, 'gap', envelope, 'new']);
    expect(decodeRelay(more)).toMatchObject({ kind: 'gap' });
  });

  test.each<[string, unknown]>([
    ['a relay within', [leaf.id, 'relay', envelope]],
    ['a kind that comes down', [leaf.id, 'receipt', envelope]],
    ['no device id', ['z6Mk', 'event', envelope]],
    ['no bytes', [leaf.id, 'event', 'text']],
    ['too many bytes', [leaf.id, 'event', new Uint8Array(MAX_ENVELOPE_BYTES + 1)]],
    ['too few items', [leaf.id, 'event']],
    ['a map', new Map([['leaf', leaf.id]])],
  ])('with %s is refused', (_what, value) => {
    expect(() => decodeRelay(encode(value as never))).toThrow();
  });
});

describe('a delegation', () => {
  const body = { leaf: leaf.id, gateway: gateway.id, issued: 7, expires: null };
  const context = { network, publicKey: leaf.publicKey, verify };
  const good = sealDelegation(body, { network, signer: leaf.signer });

  test('says what was signed', () => {
    expect(openDelegation(good, context)).toEqual(body);
    expect(readDelegation(good)).toEqual(body);
  });

  test('does not verify with any byte changed, under another key or in another network', () => {
    for (const bad of corruptions(good)) expect(() => openDelegation(bad, context)).toThrow();
    expect(() => openDelegation(good, { ...context, publicKey: other.publicKey })).toThrow();
    expect(() => openDelegation(good, { ...context, network: 'elsewhere' })).toThrow();
  });

  test('of a leaf to itself is none', () => {
    const self = { ...body, gateway: leaf.id };
    expect(() => sealDelegation(self, { network, signer: leaf.signer })).toThrow('another device');
  });
});

describe('a login at a gateway', () => {
  const nonce = Uint8Array.from(randomBytes(32));
  const clientNonce = Uint8Array.from(randomBytes(16));
  const delegation = new Uint8Array(3);
  const credentialOf = (key: Uint8Array, by = registry) =>
    sealCredential(
      {
        ...{ device: leaf.id, key, owner: `did:key:${leaf.id}`, name: 'x', group: 'default' },
        ...{ cell: '', streams: [], issued: 1, expires: 2 },
      },
      { network, signer: by.signer },
    );
  const login = { leaf: leaf.id, nonce, credential: null, delegation };
  const context = { network, gateway: gateway.id, leaf: leaf.id, verify, registryKey };
  const sealing = { network, gateway: gateway.id };
  const good = sealGatewayLogin(login, { ...sealing, signer: leaf.signer });

  test('is opened under the first key, or that of a credential', () => {
    expect(openGatewayLogin(good, context)).toEqual({
      ...{ login, publicKey: leaf.publicKey, isEnrolled: false },
    });
    const rotated = { ...login, credential: credentialOf(other.publicKey) };
    const under = sealGatewayLogin(rotated, { ...sealing, signer: other.signer });
    expect(openGatewayLogin(under, context).publicKey).toEqual(other.publicKey);
    expect(() => openGatewayLogin(under, { ...context, registryKey: undefined })).toThrow();
    // The first key does not count beside a credential that names another.
    const first = sealGatewayLogin(rotated, { ...sealing, signer: leaf.signer });
    expect(() => openGatewayLogin(first, context)).toThrow();
    const forged = { ...login, credential: credentialOf(other.publicKey, other) };
    const stolen = sealGatewayLogin(forged, { ...sealing, signer: other.signer });
    expect(() => openGatewayLogin(stolen, context)).toThrow();
  });

  test('is good for that gateway and leaf alone, and no login of the broker is one', () => {
    for (const bad of corruptions(good)) expect(() => openGatewayLogin(bad, context)).toThrow();
    expect(() => openGatewayLogin(good, { ...context, gateway: other.id })).toThrow();
    expect(() => openGatewayLogin(good, { ...context, leaf: other.id })).toThrow();
    const broker = sealLogin({ device: leaf.id, nonce }, { network, signer: leaf.signer });
    expect(() => openGatewayLogin(broker, context)).toThrow();
  });

  test('begins with a hello that only the gateway can give', () => {
    const hello = { gateway: gateway.id, nonce, clientNonce, credential: null };
    const bytes = sealGatewayHello(hello, { network, signer: gateway.signer });
    const asked = { network, gateway: gateway.id, clientNonce, verify, registryKey };
    expect(openGatewayHello(bytes, asked)).toEqual(hello);
    for (const bad of corruptions(bytes)) expect(() => openGatewayHello(bad, asked)).toThrow();
    expect(() => openGatewayHello(bytes, { ...asked, clientNonce: nonce })).toThrow();
    expect(() => openGatewayHello(bytes, { ...asked, gateway: other.id })).toThrow();
    const impostor = sealGatewayHello(hello, { network, signer: other.signer });
    expect(() => openGatewayHello(impostor, asked)).toThrow();
    expect(decode(parseEnvelope(bytes).payload)).toBeInstanceOf(Map);
  });
});
