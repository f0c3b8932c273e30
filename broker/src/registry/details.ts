/**
 * What operators say of a device: name, place, notes and wanted series. docs/spec/registry.md section 5. A device's
 * next credential carries what it is to know of it.
 */

import { fromHex } from '@fieldproof/protocol/bytes';
import type { RegistryAction } from '@fieldproof/protocol/registry-actions';
import type { Stream } from '@fieldproof/protocol/registry-device';
import { BrokerError } from '../errors.ts';
import type { DeviceTexts, TextKind } from './device-texts.ts';
import type { Directory } from './directory.ts';
import type { Device } from './registry.ts';

/** What is left out stays; a text that is null is erased. */
export interface SiteChange {
  readonly group?: string;
  readonly cell?: string;
  readonly text?: string | null;
}

export class DetailsDesk {
  private readonly directory: Directory;
  private readonly texts: DeviceTexts;

  constructor(directory: Directory, texts: DeviceTexts) {
    this.directory = directory;
    this.texts = texts;
  }

  /**
   * @throws {BrokerError} ERR_DEVICE_UNKNOWN, ERR_LOG_FULL, as all methods; of texts also ERR_REGISTRY_DATABASE. The
   * message says when the log has it nevertheless.
   */
  rename(deviceId: string, name: string): Promise<Device> {
    return this.change(deviceId, () => ({ action: 'rename', subject: deviceId, name }));
  }

  /** @param streamsOf - what is wanted, by what was. */
  streams(
    deviceId: string,
    streamsOf: (before: readonly Stream[]) => readonly Stream[],
  ): Promise<Device> {
    return this.change(deviceId, ({ streams }) => ({
      action: 'streams',
      subject: deviceId,
      streams: streamsOf(streams),
    }));
  }

  site(deviceId: string, { group, cell, text }: SiteChange): Promise<Device> {
    return this.write(deviceId, { kind: 'site', text }, (device, commitment) => ({
      action: 'site',
      subject: deviceId,
      group: group ?? device.group,
      cell: cell ?? device.cell,
      text: commitment,
    }));
  }

  notes(deviceId: string, text: string | null): Promise<Device> {
    return this.write(deviceId, { kind: 'notes', text }, (_device, commitment) => ({
      action: 'notes',
      subject: deviceId,
      text: commitment,
    }));
  }

  private change(deviceId: string, actionFor: (device: Device) => RegistryAction): Promise<Device> {
    const { directory } = this;
    return directory.inTurn(deviceId, async () =>
      directory.record(actionFor(directory.require(deviceId))),
    );
  }

  /** The text is kept first and the one before it erased last, so that what the log names is there at any time. */
  private write(
    deviceId: string,
    { kind, text }: { readonly kind: TextKind; readonly text: string | null | undefined },
    actionFor: (device: Device, commitment: Uint8Array | null) => RegistryAction,
  ): Promise<Device> {
    const { directory, texts } = this;
    return directory.inTurn(deviceId, async () => {
      const before = directory.require(deviceId);
      const known = before.texts[kind];
      const kept = known === null ? null : fromHex(known);
      const commitment =
        text === undefined ? kept : text === null ? null : await texts.keep(deviceId, kind, text);
      const device = await directory.record(actionFor(before, commitment));
      if (text !== undefined) await this.eraseBefore(device, kind);
      return device;
    });
  }

  private async eraseBefore({ deviceId, texts }: Device, kind: TextKind): Promise<void> {
    try {
      await this.texts.eraseOthers(deviceId, kind, texts[kind]);
    } catch (cause) {
      const message = `${kind}: in the log; what was written before is erased when the database answers`;
      throw new BrokerError('ERR_REGISTRY_DATABASE', message, { cause });
    }
  }
}

/**
 * Erases what the database has not erased when it was asked to, each in the turn of its device.
 *
 * @returns whether nothing is left of it. Never rejects.
 */
export async function eraseOwed(directory: Directory, texts: DeviceTexts): Promise<boolean> {
  for (const { deviceId, kind } of texts.owedErasures) {
    const isErased = await directory
      .inTurn(deviceId, () =>
        texts.eraseOthers(deviceId, kind, directory.get(deviceId)?.texts[kind] ?? null),
      )
      .then(
        () => true,
        () => false,
      );
    // It does not answer: the others wait.
    if (!isErased) return false;
  }
  return texts.owedErasures.length === 0;
}
