/** The parts of a device that are asked for with it and never searched: one JSON column. */

import { fromHex, toHex } from '@fieldproof/protocol/bytes';
import type { RetiredKey } from '@fieldproof/protocol/key-ring';
import type { RegisteredDevice } from '@fieldproof/protocol/registry-device';

type Rights = Pick<
  RegisteredDevice,
  | 'firstBoot'
  | 'retired'
  | 'formerOwners'
  | 'texts'
  | 'suspension'
  | 'quarantined'
  | 'released'
  | 'delegation'
>;

const NOTHING: readonly never[] = [];

/** Of a device that never had any, as rows of the first version say by an empty column. */
const NONE: Rights = {
  firstBoot: 0,
  retired: NOTHING,
  formerOwners: NOTHING,
  texts: { site: null, notes: null },
  suspension: null,
  quarantined: NOTHING,
  released: NOTHING,
  delegation: null,
};

interface Stored extends Omit<Rights, 'retired'> {
  readonly retired: readonly (Omit<RetiredKey, 'publicKey'> & { readonly publicKey: string })[];
}

export function encodeRights(device: Rights): string {
  const { firstBoot, formerOwners, texts, suspension, quarantined, released, delegation } = device;
  const retired = device.retired.map((key) => ({ ...key, publicKey: toHex(key.publicKey) }));
  const stored: Stored = {
    firstBoot,
    retired,
    formerOwners,
    texts,
    suspension,
    quarantined,
    released,
    delegation,
  };
  return JSON.stringify(stored);
}

export function decodeRights(column: string): Rights {
  if (column === '') return NONE;
  // Rows of before a column had a field do without it.
  const stored: Stored = { ...NONE, retired: [], ...(JSON.parse(column) as Partial<Stored>) };
  const { formerOwners, texts, quarantined, released } = stored;
  const retired = stored.retired.map((key) => ({ ...key, publicKey: fromHex(key.publicKey) }));
  return {
    ...stored,
    retired: shared(retired),
    formerOwners: shared(formerOwners),
    texts: texts.site === null && texts.notes === null ? NONE.texts : texts,
    quarantined: shared(quarantined),
    released: shared(released),
  };
}

/** Ten thousand devices that have none of something have the same none. */
function shared<Item>(items: readonly Item[]): readonly Item[] {
  return items.length === 0 ? NOTHING : items;
}
