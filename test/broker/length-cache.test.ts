/** The encoded lengths that mqtt-packet keeps do not keep the buffer pool. */

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { packetWriterOfAedes, packLengthCache } from '@fieldproof/broker/mqtt/length-cache';
import { describe, expect, test } from '@jest/globals';
import mqttPacket from 'mqtt-packet';
import { REPOSITORY } from '../support/repository.ts';

/** A process of its own, for the cache is one for each: blocks of the pool that lengths written now and then keep. */
function blocksKept(prepare: string): number {
  const script = `
    import { packetWriterOfAedes, packLengthCache } from '@fieldproof/broker/mqtt/length-cache';
    const writer = packetWriterOfAedes();
    ${prepare}
    const kept = new Set();
    for (let length = 3; length < 16_384; length += 16) {
      const chunks = [];
      const stream = { write: (chunk) => chunks.push(chunk) > 0 };
      const payload = Buffer.alloc(length - 3);
      writer.writeToStream({ cmd: 'publish', topic: 'a', qos: 0, payload }, stream);
      if (chunks[1].length !== (length < 128 ? 1 : 2)) throw new Error('not the length');
      kept.add(chunks[1].buffer);
      Buffer.from('what else a broker does with the pool'.repeat(100));
    }
    process.stdout.write(String(kept.size));`;
  const run = ['--import', 'tsx', '--input-type=module', '--eval', script];
  return Number(execFileSync(process.execPath, run, { cwd: join(REPOSITORY, 'test') }));
}

describe('the lengths that mqtt-packet keeps', () => {
  test('keep hundreds of blocks of the pool when they are written now and then', () => {
    expect(blocksKept('')).toBeGreaterThan(200);
  });

  test('keep a few after they were made in one go', () => {
    expect(blocksKept('packLengthCache(writer);')).toBeLessThan(64);
  });

  test('are those of the library that Aedes writes with', () => {
    expect(packetWriterOfAedes().writeToStream).toBe(mqttPacket.writeToStream);
  });

  test('are written as before', () => {
    packLengthCache(packetWriterOfAedes());
    for (const size of [0, 1, 122, 123, 124, 16_377, 16_378, 16_379, 70_000]) {
      const packet = { ...{ cmd: 'publish' as const, topic: 'abc', qos: 0 as const } };
      const payload = Buffer.alloc(size, 7);
      const bytes = mqttPacket.generate({ ...packet, payload, dup: false, retain: false });
      const parsed: unknown[] = [];
      const parser = mqttPacket.parser();
      parser.on('packet', (each) => parsed.push(each.length));
      parser.parse(bytes);
      expect(parsed).toEqual([size + 5]);
    }
  });
});
