/** The parts of a device that are asked for with it and never searched: one JSON column. */

import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import type { RetiredKey } from '@fieldproof/protocol/key-ring';
import type { RegisteredDevice } from '@fieldproof/protocol/registry-device';

type Rights = Pick<
  RegisteredDevice,
  'firstBoot' | 'retired' | 'formerOwners' | 'texts' | 'suspension' | 'quarantined' | 'released'
>;

/** Of a device that never had any, as rows of the first version say by an empty column. */
const NONE: Rights = {
  firstBoot: 0,
  retired: [],
  formerOwners: [],
  texts: { site: null, notes: null },
  suspension: null,
  quarantined: [],
  released: [],
};

interface Stored extends Omit<Rights, 'retired'> {
  readonly retired: readonly (Omit<RetiredKey, 'publicKey'> & { readonly publicKey: string })[];
}

export function encodeRights(device: Rights): string {
  const { firstBoot, formerOwners, texts, suspension, quarantined, released } = device;
  const retired = device.retired.map((key) => ({ ...key, publicKey: toHex(key.publicKey) }));
  const stored: Stored = {
    firstBoot,
    retired,
    formerOwners,
    texts,
    suspension,
    quarantined,
    released,
  };
  return JSON.stringify(stored);
}

export function decodeRights(column: string): Rights {
  if (column === '') return NONE;
  const stored = JSON.parse(column) as Stored;
  const retired = stored.retired.map((key) => ({ ...key, publicKey: fromHex(key.publicKey) }));
  // Rows of before a column had a field do without it.
  return { ...NONE, ...stored, retired };
}
