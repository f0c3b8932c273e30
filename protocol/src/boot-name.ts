/** How a boot is named to people: its counter, a full stop, its seed as 8 hex digits. docs/spec/registry.md 4.5. */

import type { BootName } from './registry-device.ts';

const NAME = /^(0|[1-9][0-9]{0,9})\.([0-9a-f]{8})$/;
const MAX_COUNTER = 0xffff_ffff;

/** For example `7.a1b2c3d4`. */
export function formatBootName({ bootCounter, bootSeed }: BootName): string {
  return `${bootCounter}.${bootSeed.toString(16).padStart(8, '0')}`;
}

/** The boot that a text names, or null when it names none. */
export function parseBootName(text: string): BootName | null {
  const [, counter, seed] = NAME.exec(text) ?? [];
  if (counter === undefined || seed === undefined || Number(counter) > MAX_COUNTER) return null;
  return { bootCounter: Number(counter), bootSeed: Number.parseInt(seed, 16) };
}

/** As registry entries name a boot: its counter and the four bytes of its seed. */
export function bootPair({ bootCounter, bootSeed }: BootName): readonly [number, Uint8Array] {
  const seed = new Uint8Array(4);
  new DataView(seed.buffer).setUint32(0, bootSeed);
  return [bootCounter, seed];
}
