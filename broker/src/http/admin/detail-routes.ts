/** What operators say of a device: name, place, notes, wanted series. docs/spec/registry.md section 5. */

import type { Stream } from '@fieldproof/protocol/registry-device';
import type { FastifyInstance } from 'fastify';
import { BrokerError } from '../../errors.ts';
import type { DetailsDesk, SiteChange } from '../../registry/details.ts';
import { checkCell, checkLabel, checkStreams, checkText } from '../../registry/device-fields.ts';
import { bodyOf } from './body-fields.ts';
import { type DeviceRoutesOptions, requireDevice, showChanged } from './device-routes.ts';

export interface DetailRoutesOptions extends DeviceRoutesOptions {
  readonly details: DetailsDesk;
}

export function addDetailRoutes(app: FastifyInstance, options: DetailRoutesOptions): void {
  const { directory, details } = options;

  app.post(
    '/admin/devices/:id/rename',
    { config: { scope: 'devices', takes: ['name'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const name = checkLabel('name', bodyOf(request).name);
      return showChanged(await details.rename(deviceId, name), request, options);
    },
  );

  app.post(
    '/admin/devices/:id/site',
    { config: { scope: 'devices', takes: ['group', 'cell', 'text'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const change = siteIn(bodyOf(request));
      return showChanged(await details.site(deviceId, change), request, options);
    },
  );

  app.post(
    '/admin/devices/:id/notes',
    { config: { scope: 'devices', takes: ['text'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const { text } = bodyOf(request);
      return showChanged(await details.notes(deviceId, checkText(text)), request, options);
    },
  );

  // `streams` instead of those before, or `add` to them, by metric, and `remove`, by name.
  app.post(
    '/admin/devices/:id/streams',
    { config: { scope: 'devices', takes: ['streams', 'add', 'remove'] } },
    async (request) => {
      const { deviceId } = requireDevice(directory, request);
      const streamsOf = streamChangeIn(bodyOf(request));
      return showChanged(await details.streams(deviceId, streamsOf), request, options);
    },
  );
}

function siteIn(body: Readonly<Record<string, unknown>>): SiteChange {
  const { group, cell, text } = body;
  if (group === undefined && cell === undefined && text === undefined) {
    throw new BrokerError('ERR_REQUEST', 'site: expected group, cell or text');
  }
  return {
    ...(group !== undefined && { group: checkLabel('group', group) }),
    ...(cell !== undefined && { cell: checkCell(cell) }),
    ...(text !== undefined && { text: checkText(text) }),
  };
}

function streamChangeIn(
  body: Readonly<Record<string, unknown>>,
): (before: readonly Stream[]) => readonly Stream[] {
  const { streams, add = [], remove = [] } = body;
  if (streams !== undefined) {
    if (body.add !== undefined || body.remove !== undefined) {
      throw new BrokerError('ERR_REQUEST', 'streams: expected no add and remove beside it');
    }
    const wanted = checkStreams(streams);
    return () => wanted;
  }
  const added = checkStreams(add);
  if (!Array.isArray(remove) || !remove.every((metric) => typeof metric === 'string')) {
    throw new BrokerError('ERR_REQUEST', 'remove: expected an array of metrics');
  }
  if (added.length + remove.length === 0) {
    throw new BrokerError('ERR_REQUEST', 'streams: expected streams, add or remove');
  }
  const gone = new Set([...remove, ...added.map(({ metric }) => metric)]);
  return (before) => {
    for (const metric of remove) {
      if (before.some((stream) => stream.metric === metric)) continue;
      throw new BrokerError('ERR_REQUEST', `remove: there is no ${String(metric).slice(0, 128)}`);
    }
    return checkStreams([...before.filter(({ metric }) => !gone.has(metric)), ...added]);
  };
}
