/** The control process’s way down: its tasks, configs and statements enter MQTT here. docs/spec/topics.md section 3.4. */

import { verify } from '@fieldproof/protocol/ed25519-node';
import { downAad, open } from '@fieldproof/protocol/envelope';
import type { Descriptor } from '@fieldproof/protocol/statements';
import type { FastifyInstance } from 'fastify';
import { BrokerError } from '../errors.ts';
import type { PublishDown } from '../gate/session.ts';
import type { Access } from './access.ts';

const KINDS = ['task', 'config', 'statement'] as const;
type ControlKind = (typeof KINDS)[number];

export function addDownRoute(
  app: FastifyInstance,
  options: {
    readonly network: string;
    readonly access: Access;
    readonly publishDown: PublishDown;
    readonly isEnrolled: (deviceId: string) => boolean;
    readonly descriptor: () => { readonly descriptor: Descriptor };
  },
): void {
  app.post('/v1/down/:device/:kind', async (request) => {
    options.access(request, 'down');
    const { device, kind } = request.params as { readonly device: string; readonly kind: string };
    if (!KINDS.includes(kind as ControlKind)) {
      throw new BrokerError('ERR_REQUEST', `kind: expected ${KINDS.join(', ')}`);
    }
    if (!options.isEnrolled(device)) {
      throw new BrokerError('ERR_DEVICE_UNKNOWN', `device ${device.slice(0, 64)}: not enrolled`);
    }
    if (!Buffer.isBuffer(request.body)) {
      throw new BrokerError('ERR_REQUEST', 'body: expected a COSE_Sign1 message');
    }
    const envelope = Uint8Array.from(request.body);
    open(envelope, {
      externalAad: downAad(options.network, kind as ControlKind, device),
      publicKey: options.descriptor().descriptor.keys.control,
      verify,
    });
    return { sent: options.publishDown(device, kind as ControlKind, { envelope }) };
  });
}
