/** An outbox that is sealed anew: also of a gateway, whose envelopes may be longer than any leaf's. */

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@fieldproof/device-agent/clock';
import { silentLog } from '@fieldproof/device-agent/log';
import { Outbox } from '@fieldproof/device-agent/outbox';
import { rebaseOutbox } from '@fieldproof/device-agent/outbox-rebase';
import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { signerFromSeed } from '@fieldproof/protocol/ed25519-node';
import {
  MAX_ENVELOPE_BYTES,
  MAX_RELAY_BYTES,
  parseEnvelope,
  seal,
  upAad,
} from '@fieldproof/protocol/envelope';
import { decodeRelay, encodeRelay } from '@fieldproof/protocol/relay';
import { expect, test } from '@jest/globals';

test('takes what a gateway carries along, byte for byte, however long it is', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'rebase-'));
  const folder = join(parent, 'outbox');
  const [signer, leaf] = [3, 4].map((n) => signerFromSeed(new Uint8Array(32).fill(n)));
  const boot = { counter: 1, seed: Uint8Array.of(1, 2, 3, 4) };
  const open = async (path: string): Promise<Outbox> => {
    const outbox = new Outbox({
      ...{ folder: path, maxBytes: 8 << 20, maxEnvelopes: 100, segmentBytes: 65_536 },
      ...{ fsync: 'interval', fsyncEveryMs: 10, clock: systemClock, log: silentLog },
    });
    await outbox.open();
    return outbox;
  };
  const envelope = new Uint8Array(randomBytes(MAX_ENVELOPE_BYTES));
  const inside = {
    ...{ leaf: deviceIdFromPublicKey(leaf!.publicKey), envelope, kind: 'event' as const },
  };
  const bytes = seal({
    ...{ contentType: 60, payload: encodeRelay(inside), externalAad: upAad('testnet1', 'relay') },
    ...{ signer: signer!, maxBytes: MAX_RELAY_BYTES },
    stamp: { bootCounter: 1, bootSeed: boot.seed, seq: 0, bootMs: 1, boundMs: null },
  });
  expect(bytes.length).toBeGreaterThan(MAX_ENVELOPE_BYTES);
  const outbox = await open(folder);
  await outbox.append({ boot, seq: 0, kind: 'relay', bytes });
  const rebased = await rebaseOutbox(outbox, {
    ...{ network: 'testnet1', signer: signer!, folder, open },
    moved: ({ seed }) => ({ counter: 9, seed }),
  });
  const cursor = rebased.outbox.cursor();
  const record = (await cursor.next())!;
  await cursor.close();
  const { stamp, payload } = parseEnvelope(record.bytes, MAX_RELAY_BYTES);
  expect([record.kind, stamp!.bootCounter]).toEqual(['relay', 9]);
  expect(Buffer.from(decodeRelay(payload).envelope).equals(envelope)).toBe(true);
  await rebased.outbox.close();
  await rm(parent, { recursive: true });
});
