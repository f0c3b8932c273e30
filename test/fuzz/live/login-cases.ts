/** Logins: good ones, and those that must fail, with the return code that identity.md section 6 and topics.md 5 give. */

import { toBase64url } from '@fieldproof/protocol/bytes';
import { sealLogin } from '@fieldproof/protocol/statements';
import type { IConnectPacket } from 'mqtt-packet';
import type { TestDevice } from '../../broker/support/device.ts';
import type { Chance } from '../chance.ts';
import type { LiveBroker } from './live-broker.ts';

export interface Login {
  readonly how: string;
  readonly packet: IConnectPacket;
  /** Return codes that are right; 'end' where the connection may end without one. */
  readonly expected: readonly (number | 'end')[];
}

export interface LoginParts {
  readonly broker: LiveBroker;
  readonly device: TestDevice;
  readonly other: TestDevice;
  /** A password that was good once. */
  readonly used: string | null;
}

export function connectPacket(id: string, password: string): IConnectPacket {
  return {
    ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 60 },
    ...{ clientId: id, username: id, password: Buffer.from(password) },
  };
}

/** A login that must work. */
export async function goodLogin(device: TestDevice): Promise<Login> {
  const packet = connectPacket(device.id, await device.loginPassword());
  return { how: 'good', packet, expected: [0] };
}

/** Any login. */
export async function anyLogin(
  { broker, device, other, used }: LoginParts,
  chance: Chance,
): Promise<Login> {
  const { network } = broker;
  const { id, signer } = device;
  const good = await device.loginPassword();
  const packet = connectPacket(id, good);
  const with_ = (how: string, password: string): Login => ({
    ...{ how, packet: connectPacket(id, password), expected: [4] },
  });
  const stranger = broker.newDevice();
  switch (chance.int(16)) {
    case 0:
      return with_('a nonce of our own', await device.loginPassword(chance.bytes(32)));
    case 1:
      return used === null ? { how: 'good', packet, expected: [0] } : with_('again', used);
    case 2:
      return with_('signed by another device', await device.loginPassword(undefined, other.signer));
    case 3:
      return with_("another device's password", await other.loginPassword());
    case 4: {
      const login = { device: other.id, nonce: await device.hello() };
      return with_("another's name inside", toBase64url(sealLogin(login, { network, signer })));
    }
    case 5: {
      const login = { device: id, nonce: await device.hello() };
      const context = { network: `${network.slice(0, -1)}x`, signer };
      return with_('of another network', toBase64url(sealLogin(login, context)));
    }
    case 6: {
      const bytes = Buffer.from(good, 'base64url');
      const at = chance.int(bytes.length);
      bytes[at] = bytes[at]! ^ (1 << chance.int(8));
      return with_('a bit of it flipped', bytes.toString('base64url'));
    }
    case 7:
      return with_('cut', good.slice(0, chance.int(good.length)));
    case 8:
      return with_('junk', Buffer.from(chance.bytes(chance.int(300))).toString('latin1'));
    case 9: {
      const nobody = connectPacket(
        stranger.id,
        toBase64url(
          sealLogin(
            { device: stranger.id, nonce: await device.hello() },
            { network, signer: stranger.signer },
          ),
        ),
      );
      return { how: 'of nobody', packet: nobody, expected: [5] };
    }
    case 10: {
      const will = { topic: 'a', payload: Buffer.of(1), qos: 0 as const, retain: false };
      return { how: 'with a will', packet: { ...packet, will }, expected: [5] };
    }
    case 11:
      return { how: 'session kept', packet: { ...packet, clean: false }, expected: [2] };
    case 12: {
      const { username: _u, password: _p, ...bare } = packet;
      return { how: 'without a name', packet: bare, expected: [4] };
    }
    case 13: {
      const clientId = chance.pick([
        '',
        'x',
        `${id}x`,
        id.toLowerCase(),
        other.id,
        '#',
        '../x',
        id.slice(1),
      ]);
      return {
        how: 'another client id',
        packet: { ...packet, clientId },
        expected: [2, 4, 5, 'end'],
      };
    }
    case 14:
      return {
        how: 'another user name',
        packet: { ...packet, username: chance.pick(['', 'x', other.id]) },
        expected: [4, 5],
      };
    default:
      return { how: 'good', packet, expected: [0] };
  }
}
