/** The areas that need no process: the guard, and gate with evidence log. Their parts can be exchanged for broken ones. */

import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { loadSignatureVerifier } from '@fieldproof/broker/gate/signature-verifier';
import { PacketGuard } from '@fieldproof/broker/mqtt/guard';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { REPOSITORY } from '../support/repository.ts';
import type { Area } from './area.ts';
import { EnvelopeCases } from './envelopes/envelope-cases.ts';
import { type GateParts, REAL_PARTS } from './envelopes/gate-bench.ts';
import { guardCase, type MakeGuard } from './packets/guard-cases.ts';

export function packetsArea(makeGuard: MakeGuard = (limits) => new PacketGuard(limits)): Area {
  const recorded = recordedPackets();
  return {
    name: 'packets',
    share: 720,
    width: 1,
    run: (_number, chance) => guardCase(chance, { makeGuard, recorded }),
  };
}

export async function envelopesArea(parts: GateParts = REAL_PARTS): Promise<Area> {
  // Both libraries that a broker may verify with.
  const { verify: other } = await loadSignatureVerifier('auto');
  const cases = new EnvelopeCases(parts, [verify, other]);
  return {
    name: 'envelopes',
    share: 200,
    width: 64,
    run: (number, chance) => cases.run(number, chance),
    settle: () => cases.settle(),
    close: () => cases.close(),
  };
}

/** Packets of other programs: of the shared vectors, or those in the repository. */
function recordedPackets(): Buffer[] {
  const shared = process.env.VECTORS_DIR ?? resolve(REPOSITORY, '../shared/vectors');
  const folders = [join(shared, 'mqtt'), join(REPOSITORY, 'test/vectors/mqtt')];
  const folder = folders.find((each) => existsSync(each));
  if (folder === undefined) return [];
  const read = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), 'utf8'));
  const { cases } = read('own_malformed_even.json') as { readonly cases: readonly Vector[] };
  const recorded = read('recorded_packets_even.json') as readonly Vector[];
  return [...cases, ...recorded].map(({ hex }) => Buffer.from(hex, 'hex'));
}

interface Vector {
  readonly hex: string;
}
