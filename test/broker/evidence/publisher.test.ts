import { parseCheckpoint } from '@fieldproof/protocol/checkpoint';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { portableHasher, rootFromLeafHashes } from '@fieldproof/protocol/merkle';
import {
  consistencyProof,
  inclusionProof,
  rootFromNodes,
  verifyConsistency,
  verifyInclusion,
} from '@fieldproof/protocol/merkle-proof';
import { parseNote } from '@fieldproof/protocol/signed-note';
import {
  decodeEntryBundle,
  getNodeFromTiles,
  TILE_WIDTH,
  tilePath,
  tileWidth,
} from '@fieldproof/protocol/tlog-tile';
import { describe, expect, test } from '@jest/globals';
import { MemoryFiles } from './memory-files.ts';
import { envelope, openLog, put } from './open-log.ts';

const PUBLISHED = '/log/published';

/** What an outsider sees who has only the static files: every tile and entry is checked against the checkpoint. */
async function audit(files: MemoryFiles): Promise<{ size: number; root: Uint8Array }> {
  const note = files.get(`${PUBLISHED}/checkpoint`);
  const { size, root } = parseCheckpoint(parseNote(note).text);
  const getNode = nodesOf(files, size);
  expect(await rootFromNodes(size, getNode)).toEqual(root);
  const leaves: Uint8Array[] = [];
  for (let index = 0; index * TILE_WIDTH < size; index += 1) {
    const width = tileWidth(0, index, size);
    const path = tilePath({ level: 'entries', index, width });
    for (const entry of decodeEntryBundle(files.get(`${PUBLISHED}/${path}`), width)) {
      expect(decodeEvidenceEntry(entry)).toMatchObject({ seq: leaves.length });
      leaves.push(portableHasher.leafHash(entry));
    }
  }
  expect(rootFromLeafHashes(leaves)).toEqual(root);
  for (const index of new Set([0, size >> 1, size - 1])) {
    const proof = await inclusionProof(index, size, getNode);
    verifyInclusion({ index, size, leafHash: leaves[index]!, proof, root });
  }
  return { size, root };
}

function nodesOf(files: MemoryFiles, size: number) {
  return getNodeFromTiles(size, (tile) => files.get(`${PUBLISHED}/${tilePath(tile)}`));
}

describe('published files', () => {
  test('verify at every size, and each checkpoint is consistent with the one before', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    let before: { size: number; root: Uint8Array } | undefined;
    let seq = 0;
    for (const size of [1, 2, 255, 256, 257, 511, 513, 700]) {
      while (seq < size) {
        const burst = Array.from({ length: size - seq }, (_, i) => put(log, envelope(seq + i)));
        await Promise.all(burst);
        seq = size;
      }
      await log.publish();
      const head = await audit(files);
      expect(head.size).toBe(size);
      if (before !== undefined) {
        const proof = await consistencyProof(before.size, size, nodesOf(files, size));
        const claim = { size1: before.size, size2: size, root1: before.root, root2: head.root };
        verifyConsistency({ ...claim, proof });
        expect(await log.proofs.consistency(before.size, size)).toEqual(proof);
      }
      before = head;
    }
    // Partial tiles go when the full one is there.
    expect(files.paths().filter((path) => path.includes('000.p/'))).toEqual(
      [`${PUBLISHED}/tile/1/000.p/2`, `${PUBLISHED}/tile/1/000.p/1`].sort(),
    );
    await log.close();
  });

  test('proofs for any published size come from the tiles that are there now', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    await Promise.all(Array.from({ length: 600 }, (_, seq) => put(log, envelope(seq))));
    await log.publish();
    const leaves: Uint8Array[] = [];
    for (let index = 0; index < 600; index += 1) {
      leaves.push(portableHasher.leafHash((await log.readFrame(index)).entry));
    }
    for (const size of [1, 3, 255, 256, 300, 599, 600]) {
      const root = rootFromLeafHashes(leaves.slice(0, size));
      for (const index of [0, size >> 1, size - 1]) {
        const proof = await log.proofs.inclusion(index, size);
        verifyInclusion({ index, size, leafHash: leaves[index]!, proof, root });
      }
      const proof = await log.proofs.consistency(size, 600);
      verifyConsistency({
        size1: size,
        size2: 600,
        root1: root,
        root2: rootFromLeafHashes(leaves),
        proof,
      });
    }
    for (const [index, size] of [
      [0, 0],
      [0, 601],
      [600, 600],
      [-1, 5],
    ] as const) {
      await expect(log.proofs.inclusion(index, size)).rejects.toMatchObject({
        code: 'ERR_INDEX_RANGE',
      });
    }
    await log.close();
  });

  test('after a power cut at any operation verify, never go back, and are written again alike', async () => {
    const count = await operationsOf();
    for (let cut = 1; cut <= count; cut += 2) {
      const files = new MemoryFiles();
      let after: MemoryFiles | undefined;
      let durableThen = 0;
      files.fault = () => {
        if (files.operations.length !== cut) return undefined;
        durableThen = publishedIn(files.afterPowerCut());
        // Of what was not synced, nothing, a half or all may have reached the disk.
        after = files.afterPowerCut((_path, unsynced) => (unsynced * (cut % 3)) >> 1);
        return undefined;
      };
      await workload(files);
      const reference = files.afterKill();

      const log = await openLog(after!);
      expect(log.checkpoint?.size ?? 0).toBe(durableThen);
      if (durableThen > 0) await audit(after!);
      for (let seq = log.size; seq < 260; seq += 1) void put(log, envelope(seq));
      await put(log, envelope(259));
      await log.publish();
      await audit(after!);
      await log.close();
      for (const path of reference.paths().filter((name) => /tile.*\d{3}$/.test(name))) {
        expect(after!.get(path)).toEqual(reference.get(path));
      }
      expect(after!.get(`${PUBLISHED}/checkpoint`)).toEqual(
        reference.get(`${PUBLISHED}/checkpoint`),
      );
    }
  });

  test('a disk that refuses delays the checkpoint and tears nothing', async () => {
    for (let at = 0; at < 40; at += 3) {
      const files = new MemoryFiles();
      const log = await openLog(files);
      await Promise.all(Array.from({ length: 260 }, (_, seq) => put(log, envelope(seq))));
      await log.publish();
      await Promise.all(Array.from({ length: 260 }, (_, i) => put(log, envelope(260 + i))));
      const from = files.operations.length;
      files.fault = () => (files.operations.length === from + at ? {} : undefined);
      await log.publish().catch(() => undefined);
      files.fault = () => undefined;
      expect([260, 520]).toContain((await audit(files)).size);
      await log.publish();
      expect((await audit(files)).size).toBe(520);
      expect(log.checkpoint?.size).toBe(520);
      await log.close();
    }
  });

  test('without anything new nothing is written', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files);
    await log.publish();
    expect(log.checkpoint).toBeNull();
    await put(log, envelope(0));
    await log.publish();
    const operations = files.operations.length;
    await log.publish();
    expect(files.operations.length).toBe(operations);
    await log.close();
  });

  test('come by themselves after a commit, and after a start that finds more than is published', async () => {
    const files = new MemoryFiles();
    const log = await openLog(files, { publishIntervalMs: 1 });
    await put(log, envelope(0));
    while (log.checkpoint?.size !== 1) await new Promise((resolve) => setTimeout(resolve, 1));
    const killed = files.afterKill();
    await killed.remove(`${PUBLISHED}/checkpoint`);
    const again = await openLog(killed, { publishIntervalMs: 1 });
    while (again.checkpoint?.size !== 1) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(killed.get(`${PUBLISHED}/checkpoint`)).toEqual(files.get(`${PUBLISHED}/checkpoint`));
    await again.close();
    await log.close();
  });
});

async function workload(files: MemoryFiles): Promise<void> {
  const log = await openLog(files);
  let seq = 0;
  for (const size of [3, 257, 260]) {
    const burst = Array.from({ length: size - seq }, (_, i) => put(log, envelope(seq + i)));
    await Promise.all(burst);
    seq = size;
    await log.publish();
  }
  await log.close();
}

async function operationsOf(): Promise<number> {
  const files = new MemoryFiles();
  await workload(files);
  return files.operations.length;
}

/** Size of the checkpoint on disk; 0 before the first. */
function publishedIn(files: MemoryFiles): number {
  if (!files.paths().includes(`${PUBLISHED}/checkpoint`)) return 0;
  return parseCheckpoint(parseNote(files.get(`${PUBLISHED}/checkpoint`)).text).size;
}
