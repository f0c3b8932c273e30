/** An agent whose small files a worn card does not give any more, or gives otherwise than they were written. */

import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@fieldproof/device-agent/agent';
import { checkConfig } from '@fieldproof/device-agent/config';
import { type Disk, systemDisk } from '@fieldproof/device-agent/disk';
import { initAgent } from '@fieldproof/device-agent/init';
import { lineLog } from '@fieldproof/device-agent/log';
import { saveRemoteRecord } from '@fieldproof/device-agent/remote-file';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { until } from './fake-clock.ts';
import { FakeNetwork } from './fake-network.ts';

const random = (length: number) => new Uint8Array(randomBytes(length));

let folder: string;
/** Of an agent that has run, with receipts and with something that waits. */
let used: string;
let lines: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-worn-'));
  used = join(folder, 'used');
  const network = new FakeNetwork();
  await network.start();
  const joinLine = network.joinLine();
  await initAgent({ dataDir: used, joinLine, name: 'test', owner: { type: 'new' }, random });
  const agent = await makeAgent(used);
  await agent.start();
  await until(() => agent.status().counts.recorded > 2, 'receipts');
  await network.stop();
  const { sealed } = agent.status().counts;
  await until(() => agent.status().counts.sealed > sealed + 2, 'more readings');
  await agent.stop();
  await saveRemoteRecord(join(used, 'state'), {
    ...{ newest: 3, inForce: null, sinceMs: 0, trial: null, last: null },
  });
});
afterAll(() => rm(folder, { recursive: true }));

async function makeAgent(dataDir: string, disk: Disk = systemDisk): Promise<Agent> {
  return new Agent({
    config: await checkConfig({
      sensors: [{ driver: 'simulated', profile: 'room', intervalMs: 100 }],
      batch: { sealEveryMs: 100 },
    }),
    ...{ dataDir, random, disk },
    log: lineLog({
      ...{ level: 'info', format: 'text', nowMs: Date.now },
      write: (line) => lines.push(line),
    }),
  });
}

/** The machine's disk, on which one file lies on blocks that cannot be read. */
function unreadable(bad: string): Disk {
  const fails = async () => {
    throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
  };
  return {
    ...systemDisk,
    readFile: (path) => (path === bad ? fails() : systemDisk.readFile(path)),
    open: async (path, flags, mode) => {
      const file = await systemDisk.open(path, flags, mode);
      if (path === bad) (file as { read: unknown }).read = fails;
      return file;
    },
  };
}

const DAMAGE: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  'is empty': () => Buffer.alloc(0),
  'is all zeros': (bytes) => Buffer.alloc(bytes.length),
  'ends in zeros': (bytes) => Buffer.from(bytes).fill(0, bytes.length >> 1),
  'is cut in the middle': (bytes) => bytes.subarray(0, bytes.length >> 1),
  'has a flipped bit': (bytes) => {
    const flipped = Buffer.from(bytes);
    flipped[bytes.length >> 1]! ^= 0x40;
    return flipped;
  },
  'cannot be read': (bytes) => bytes,
};
const CASES = Object.keys(DAMAGE);

test.each(CASES)(
  'whichever file of the state %s: it starts, says so, and numbers no boot twice',
  async (damage) => {
    const state = join(used, 'state');
    const names = (await readdir(state, { recursive: true })).filter((name) => name !== 'lock');
    const before = JSON.parse(await readFile(join(state, 'boot.json'), 'utf8')) as {
      counter: number;
    };
    const seen: string[] = [];
    for (const name of names) {
      const path = join(state, name);
      if (!(await stat(path)).isFile()) continue;
      const dataDir = join(folder, 'copy');
      await cp(used, dataDir, { recursive: true });
      const bad = join(dataDir, 'state', name);
      await writeFile(bad, DAMAGE[damage]!(await readFile(path)));
      lines = [];
      const isUnread = damage === 'cannot be read';
      const agent = await makeAgent(dataDir, isUnread ? unreadable(bad) : systemDisk);
      await agent.start();
      expect([name, agent.status().boot.counter]).toEqual([name, before.counter + 1]);
      // A count of boots with another digit, and a segment without a byte, look like any other.
      const isSilent = damage === 'is empty' && name.endsWith('.seg');
      const isNumber = damage === 'has a flipped bit' && name.startsWith('boot');
      const told = lines.filter(
        (line) => / (warn|error) /.test(line) && !line.includes('connected'),
      );
      expect([name, told.length > 0 || isSilent || isNumber]).toEqual([name, true]);
      await agent.stop();
      await rm(dataDir, { recursive: true });
      seen.push(name);
    }
    expect(seen).toEqual(
      expect.arrayContaining([
        'boot.json',
        'receipt.cose',
        'remote-config.cbor',
        'credential.cose',
      ]),
    );
  },
);
