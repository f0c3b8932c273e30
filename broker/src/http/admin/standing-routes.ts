/** Suspensions, appeals and quarantined boots, for operators. docs/spec/registry.md sections 4 and 6. */

import { readAppealText } from '@fieldproof/protocol/appeal';
import { parseBootName } from '@fieldproof/protocol/boot-name';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { readRegistryAction } from '@fieldproof/protocol/registry-actions';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BrokerError } from '../../errors.ts';
import type { DelegationDesk } from '../../registry/delegation.ts';
import { checkKind, checkReason } from '../../registry/device-fields.ts';
import type { EvidenceReader } from '../../registry/evidence-about.ts';
import type { QuarantineDesk } from '../../registry/quarantine.ts';
import type { Device } from '../../registry/registry.ts';
import type { SuspensionDesk } from '../../registry/suspensions.ts';
import { bodyOf } from './body-fields.ts';
import { type DeviceRoutesOptions, requireDevice, showChanged } from './device-routes.ts';

export interface AdminStandingOptions extends DeviceRoutesOptions {
  readonly suspensions: SuspensionDesk;
  readonly quarantine: QuarantineDesk;
  readonly delegations: DelegationDesk;
  readonly evidence: EvidenceReader;
}

/** A hundred years: no suspension is longer that has an end. */
const MAX_SUSPENSION_MS = 100 * 366 * 86_400_000;

export function addStandingRoutes(app: FastifyInstance, options: AdminStandingOptions): void {
  const { directory, suspensions, quarantine, delegations, now } = options;

  app.post(
    '/admin/devices/:id/suspend',
    { config: { scope: 'suspend', takes: ['reason', 'kind', 'evidence', 'until', 'forMs'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const { reason, kind = 'operator', evidence = [] } = bodyOf(request);
      const device = await suspensions.suspend(deviceId, {
        reason: checkReason(reason),
        kind: checkKind(kind),
        evidence: checkIndices(evidence),
        until: untilIn(request, now()),
      });
      return showChanged(device, request, options);
    },
  );

  app.post(
    '/admin/devices/:id/resume',
    { config: { scope: 'suspend', takes: ['reason'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      return showChanged(await suspensions.resume(deviceId, reasonIn(request)), request, options);
    },
  );

  app.post(
    '/admin/devices/:id/release',
    { config: { scope: 'suspend', takes: ['boot', 'reason'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const { boot } = bodyOf(request);
      const name = typeof boot === 'string' ? parseBootName(boot) : null;
      if (name === null) {
        const message = 'boot: expected <counter>.<seed as 8 hex digits>, such as 7.a1b2c3d4';
        throw new BrokerError('ERR_REQUEST', message);
      }
      return showChanged(
        await quarantine.release(deviceId, name, reasonIn(request)),
        request,
        options,
      );
    },
  );

  app.post(
    '/admin/devices/:id/undelegate',
    { config: { scope: 'suspend', takes: ['reason'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const device = await delegations.withdraw(deviceId, reasonIn(request));
      return showChanged(device, request, options);
    },
  );

  app.get('/admin/appeals', { config: { scope: 'read' } }, async () => {
    const appeals: object[] = [];
    for (const device of directory.all()) {
      if (device.suspension?.appeal) appeals.push(await showAppeal(device, options));
    }
    return { appeals };
  });

  app.post(
    '/admin/appeals/:id/decide',
    { config: { scope: 'suspend', takes: ['outcome', 'reason'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const { outcome, reason } = bodyOf(request);
      if (outcome !== 'lifted' && outcome !== 'upheld') {
        throw new BrokerError('ERR_REQUEST', 'outcome: expected lifted or upheld');
      }
      const device = await suspensions.decide(deviceId, { outcome, reason: checkReason(reason) });
      return showChanged(device, request, options);
    },
  );
}

/** The last suspension of a device with its appeal, and what the owner says in it. */
async function showAppeal(device: Device, { evidence }: AdminStandingOptions): Promise<object> {
  const { deviceId, name, owner } = device;
  const suspension = device.suspension!;
  const entry = decodeEvidenceEntry((await evidence.readFrame(suspension.appeal!.index)).entry);
  const action = entry.type === 'registry' ? readRegistryAction(entry.statement) : null;
  const text = action?.action === 'appeal' ? readAppealText(action.statement) : '';
  return { device: deviceId, name, owner, suspension, text };
}

function reasonIn(request: FastifyRequest): string | undefined {
  const { reason } = bodyOf(request);
  return reason === undefined ? undefined : checkReason(reason);
}

/** `until`, Unix ms, or `forMs` from now; null when there is neither. */
function untilIn(request: FastifyRequest, now: number): number | null {
  const { until = null, forMs = null } = bodyOf(request);
  if (until !== null && forMs !== null) {
    throw new BrokerError('ERR_REQUEST', 'until, forMs: expected one of them');
  }
  if (forMs !== null) {
    if (!isIndex(forMs) || forMs < 1 || forMs > MAX_SUSPENSION_MS) {
      throw new BrokerError('ERR_REQUEST', 'forMs: expected milliseconds from 1');
    }
    return now + forMs;
  }
  if (until === null) return null;
  if (isIndex(until) && until <= now + MAX_SUSPENSION_MS) return until;
  throw new BrokerError('ERR_REQUEST', 'until: expected a time to come, Unix ms');
}

function checkIndices(value: unknown): readonly number[] {
  if (Array.isArray(value) && value.every(isIndex)) return value;
  throw new BrokerError('ERR_REQUEST', 'evidence: expected an array of entry indices');
}

function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
