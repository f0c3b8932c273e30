/**
 * Every file that a network writes, and what a start makes of each when it is torn, emptied, overwritten, missing or
 * older than it should be. A file of a kind that is not in the table fails the test: somebody must think of it first.
 */
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { auditConservation } from '@fieldproof/analytics/audit/conservation';
import {
  evidenceFolder,
  readCheckpoint,
  readRejects,
  readSegments,
} from '@fieldproof/analytics/audit/evidence-files';
import { readOutbox } from '@fieldproof/analytics/audit/outbox-files';
import { readDuckdbFile } from '@fieldproof/analytics/audit/stored-readings';
import { loadCursor } from '@fieldproof/analytics/projection/cursor-file';
import { nodeFiles } from '@fieldproof/broker/evidence/file-layer';
import { replaySegments } from '@fieldproof/broker/evidence/segment-replay';
import { systemClock } from '@fieldproof/device-agent/clock';
import { initAgent } from '@fieldproof/device-agent/init';
import { silentLog } from '@fieldproof/device-agent/log';
import { Outbox } from '@fieldproof/device-agent/outbox';
import { readFrame } from '@fieldproof/protocol/frame';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { TestDevice } from '../broker/support/device.ts';
import { until } from '../support/network.ts';
import { type OwnProcess, startProcess } from './support/own-process.ts';

const SEED = Number(process.env.SEED ?? 20_261_121);
const ROUNDS = process.env.SOAK === '1' ? 40 : 2;

type Kind =
  /** Grows at the end; a crash may leave any part of the last write. */
  | 'appended'
  /** Temp, fsync, rename: whole, or the one before. */
  | 'replaced'
  /** Written once, before anything depends on it. */
  | 'once'
  /** Somebody else's format, with its own recovery. */
  | 'database'
  /** Says who holds a folder; a dead process's does not count. */
  | 'lock';

/** Below the data folder of a network. */
const TABLE: readonly (readonly [RegExp, Kind])[] = [
  [/^broker\/evidence\/(segments|rejects)\/\d{16}\.seg$/, 'appended'],
  [/^broker\/evidence\/(segments|rejects)\/\d{16}\.idx$/, 'replaced'],
  // Written in place: 32 bytes with their own checksum, of no consequence when torn.
  [/^broker\/evidence\/(segments|rejects)\/acknowledged$/, 'replaced'],
  [/^broker\/evidence\/published\/(checkpoint|tile\/.*)$/, 'replaced'],
  [/^broker\/evidence\/state\.snapshot$/, 'replaced'],
  [/^broker\/(descriptor\.cose|http\.url|version)$/, 'replaced'],
  [/^broker\/(keys|tokens)\/[a-z.]+$/, 'once'],
  [/^broker\/registry\.sqlite(-wal|-shm)?$/, 'database'],
  [/^broker\/(broker\.lock|evidence\/lock)$/, 'lock'],
  [/^agent\/state\/outbox\/\d{10}\.seg$/, 'appended'],
  [/^agent\/state\/(boot(-copy)?\.json|(credential|descriptor|receipt)\.cose)$/, 'replaced'],
  [/^agent\/state\/parked\/[-0-9a-f]+\.ERR_[A-Z_]+\.cose$/, 'replaced'],
  [/^agent\/status\.json$/, 'replaced'],
  [/^agent\/(agent\.yaml|device\.key|join-line|owner\.json)$/, 'once'],
  [/^agent\/state\/lock$/, 'lock'],
  [/^control\/(address|tokens)\.json$/, 'replaced'],
  [/^control\/[a-z]+-token$/, 'once'],
  [/^control\/store\/readings\.duckdb(\.wal)?$/, 'database'],
  [/^flows\/state\/[-.a-z]+\.(cursor|state)(\.previous)?$/, 'replaced'],
  [/^flows\/state\/[-.a-z]+\.state\.journal-\d+$/, 'appended'],
  [/^flows\/state\/[-.a-z]+\.dead\.(frames|lp)$/, 'appended'],
  [/^flows\/(credential-secret|editor-password)$/, 'once'],
  [/^flows\/node-red\/[.a-z]+\.json(\.backup)?$/, 'replaced'],
];
/** What an interrupted replacement or lock leaves behind. */
const LEFTOVER = /(\.tmp|\/lock\.[0-9a-f.]+|\/broker\.lock\.\d+|\.\$\$\$)$/;

const good = mkdtempSync(join(tmpdir(), 'fieldproof-torn-'));
const work = `${good}-work`;
const random = mulberry32(SEED);
const processes: OwnProcess[] = [];
let ports = { http: '0', mqtt: '0', control: '0' };

afterAll(async () => {
  for (const one of processes) await one.end('SIGKILL');
  for (const folder of [good, work]) rmSync(folder, { recursive: true, force: true });
});

async function start(...args: Parameters<typeof startProcess>): Promise<OwnProcess> {
  const started = await startProcess(...args);
  processes.push(started);
  return started;
}

const startBroker = (root: string) =>
  start('broker/src/broker-main.ts', {
    env: {
      FIELDPROOF_BROKER_DATA_DIR: join(root, 'broker'),
      FIELDPROOF_BROKER_HTTP_PORT: ports.http,
      FIELDPROOF_BROKER_MQTT_PORT: ports.mqtt,
    },
  });

/** Control, flows and the agent, of which the last two find the others by their addresses. */
async function startOthers(root: string): Promise<void> {
  const broker = `http://127.0.0.1:${ports.http}`;
  const agent = start('stack/src/agents-main.ts', { args: [join(root, 'agent')] });
  const control = await start('analytics/src/control-main.ts', {
    env: {
      FIELDPROOF_CONTROL_DATA_DIR: join(root, 'control'),
      FIELDPROOF_CONTROL_PORT: ports.control,
      FIELDPROOF_BROKER_URL: broker,
    },
  });
  ports = { ...ports, control: new URL(String(control.ready.url)).port };
  await start('flows/src/flows-main.ts', {
    env: {
      FIELDPROOF_FLOWS_DATA_DIR: join(root, 'flows'),
      FIELDPROOF_FLOWS_PORT: '0',
      FIELDPROOF_FLOWS_BROKER_URL: broker,
      FIELDPROOF_FLOWS_TAIL_TOKEN_FILE: join(root, 'broker/tokens/service'),
      FIELDPROOF_FLOWS_CONTROL_URL: String(control.ready.url),
      FIELDPROOF_FLOWS_CONTROL_TOKEN_FILE: join(root, 'control/flows-token'),
    },
  });
  await agent;
}

async function endAll(signal: NodeJS.Signals): Promise<void> {
  const ended = processes.splice(0).reverse();
  for (const one of ended) await one.end(signal);
}

const cursorOf = async (root: string) => {
  const folder = join(root, 'flows/state');
  const name = existsSync(folder) && readdirSync(folder).find((file) => file.endsWith('.cursor'));
  return name ? (await loadCursor(join(folder, name))).index : 0;
};

/** The audit of what is on the disk; the store is read when nobody has it open. */
async function audit(root: string, { withStore }: { readonly withStore: boolean }) {
  const { segments, rejects, checkpoint } = evidenceFolder(join(root, 'broker'));
  return await auditConservation({
    frames: (onProblem) => readSegments(segments, onProblem),
    rejects: await readRejects(rejects, () => {}),
    checkpoint: await readCheckpoint(checkpoint),
    devices: [await readOutbox(join(root, 'agent'))],
    ...(withStore
      ? {
          store: readDuckdbFile(join(root, 'control/store/readings.duckdb')),
          cursor: await cursorOf(root),
        }
      : {}),
  });
}

function filesOf(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

beforeAll(async () => {
  const broker = await startBroker(good);
  const { network, addresses } = broker.ready as unknown as {
    network: string;
    addresses: { http: string; mqtt: string };
  };
  ports = {
    ...ports,
    http: new URL(addresses.http).port,
    mqtt: new URL(addresses.mqtt).port,
  };
  const tokenFile = join(good, 'broker/tokens/admin');
  const join_ = () => createJoinLine({ url: addresses.http, tokenFile }, { uses: 9, hours: 1 });
  await initAgent({
    ...{ dataDir: join(good, 'agent'), joinLine: await join_(), name: 'torn' },
    owner: { type: 'phrase', phrase: `${'abandon '.repeat(11)}about` },
    configYaml: AGENT_YAML,
    random: (length) => new Uint8Array(randomBytes(length)),
  });
  mkdirSync(join(good, 'flows/node-red'), { recursive: true });
  await startOthers(good);
  const device = new TestDevice({ ...addresses, network });
  await device.enrol(await join_());
  await device.connect();
  await device.publish('birth', device.seal({ kind: 'birth' }));
  for (let i = 0; i < 10; i++) await device.publish('telemetry', device.seal());
  // Refused for good: a record in the reject log.
  await device.publish('telemetry', device.seal({ payload: Uint8Array.of(0xff) }));
  await device.close();
  await until('the projection has begun', async () => (await cursorOf(good)) > 15);
  await until('a receipt is kept', () => existsSync(join(good, 'agent/state/receipt.cose')));
  await endAll('SIGKILL');
});

test('every file is of a kind that somebody has thought of', () => {
  const unknown = filesOf(good).filter(
    (path) => !LEFTOVER.test(path) && !TABLE.some(([pattern]) => pattern.test(path)),
  );
  expect(unknown).toEqual([]);
  const kinds = new Set(
    TABLE.filter(([p]) => filesOf(good).some((f) => p.test(f))).map(([, k]) => k),
  );
  expect([...kinds].sort()).toEqual(['appended', 'database', 'lock', 'once', 'replaced']);
});

/** The ways in which a crash or a bad card leaves the last record, which begins at `from`. */
function* tears(bytes: Uint8Array, from: number): Generator<readonly [string, Uint8Array]> {
  for (let at = from; at < bytes.length; at += 1) {
    yield [`cut at ${at}`, bytes.slice(0, at)];
    // Of these fewer, for the time that it takes.
    if (process.env.SOAK !== '1' && at % 31 !== 0 && at > from + 10) continue;
    for (const fill of [0, 0xa5]) {
      const over = bytes.slice();
      over.fill(fill, at);
      yield [`${fill} from ${at}`, over];
    }
    const flipped = bytes.slice();
    flipped[at]! ^= 0x10;
    yield [`flipped at ${at}`, flipped];
  }
}

test.each(['segments', 'rejects'])(
  'the last record of the broker’s %s may be torn at any byte, in any way',
  async (name) => {
    const source = join(good, 'broker/evidence', name);
    const file = readdirSync(source).findLast((each) => each.endsWith('.seg'))!;
    const bytes = new Uint8Array(readFileSync(join(source, file)));
    let last = 16;
    let end = 16;
    let frames = 0;
    for (let read = readFrame(bytes, end); read.kind === 'frame'; read = readFrame(bytes, end)) {
      last = end;
      end = read.end;
      frames += 1;
    }
    expect(end).toBe(bytes.length);
    const folder = join(work, name);
    mkdirSync(folder, { recursive: true });
    for (const [how, torn] of tears(bytes, last)) {
      if (Buffer.compare(torn, bytes) === 0) continue;
      writeFileSync(join(folder, file), torn);
      const found = await replaySegments(nodeFiles, folder, { from: 0, onFrame: () => {} });
      expect([how, found.nextIndex]).toEqual([how, frames - 1]);
      const bytesLeft = torn.length - last;
      if (bytesLeft === 0) expect(found.dropped).toBeUndefined();
      else {
        expect(found.dropped).toMatchObject({ offset: last, bytes: bytesLeft });
        expect(found.dropped?.reason).not.toBe('');
      }
    }
  },
);

test('the last record of the agent’s outbox may be torn at any byte, in any way', async () => {
  const source = join(good, 'agent/state/outbox');
  const file = readdirSync(source).sort().at(-1)!;
  const bytes = new Uint8Array(readFileSync(join(source, file)));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let last = 20;
  for (let at = last; at + 8 <= bytes.length; ) {
    last = at;
    at += 8 + view.getUint32(at, true);
  }
  const folder = join(work, 'outbox');
  mkdirSync(folder, { recursive: true });
  for (const [how, torn] of tears(bytes, last)) {
    if (Buffer.compare(torn, bytes) === 0) continue;
    for (const name of readdirSync(folder)) rmSync(join(folder, name));
    writeFileSync(join(folder, file), torn);
    const outbox = new Outbox({
      ...{ folder, maxBytes: 1 << 28, maxEnvelopes: 1e6, segmentBytes: 1 << 20 },
      ...{ fsync: 'interval', fsyncEveryMs: 1000, clock: systemClock, log: silentLog },
    });
    const report = await outbox.open();
    expect([how, report]).toEqual([how, { tornBytes: torn.length - last, damagedBytes: 0 }]);
    await outbox.close();
  }
});

/** A replaced file after an accident that a rename cannot have, but a card or a hand can. */
const ACCIDENTS: readonly ((path: string) => void)[] = [
  (path) => writeFileSync(path, ''),
  (path) => writeFileSync(path, Buffer.alloc(statSync(path).size, 0xa5)),
  (path) => truncateSync(path, statSync(path).size >> 1),
  (path) => rmSync(path),
  (path) => writeFileSync(`${path}.tmp`, 'half of the ne'),
];

/** Some tears for each process of a round: seven. */
function plan(round: number): readonly string[] {
  const done: string[] = [];
  const damage = (pattern: RegExp, how: (path: string) => void) => {
    const [path] = filesOf(work)
      .filter((file) => pattern.test(file))
      .sort()
      .reverse();
    if (path === undefined) throw new Error(`round ${round}: no file for ${pattern}`);
    how(join(work, path));
    done.push(path);
  };
  const tail = (path: string) => {
    const bytes = readFileSync(path);
    const more = Buffer.concat([bytes, randomBytes(5 + Math.floor(random() * 4000))]);
    writeFileSync(path, random() < 0.5 ? more : Buffer.concat([bytes, Buffer.alloc(700)]));
  };
  const accident = () => ACCIDENTS[Math.floor(random() * ACCIDENTS.length)]!;
  damage(/^broker\/evidence\/segments\/.*seg$/, tail);
  damage(/^broker\/evidence\/rejects\/.*seg$/, tail);
  const derived = [/descriptor\.cose$/, /tokens\/service$/, /http\.url$/];
  damage(derived[round % derived.length]!, accident());
  damage(/^agent\/state\/outbox\/.*seg$/, (path) =>
    random() < 0.5 ? tail(path) : truncateSync(path, statSync(path).size - 1 - round),
  );
  damage(/^agent\/(status\.json|state\/receipt\.cose)$/, accident());
  damage(/^flows\/state\/telemetry.*\.cursor$/, accident());
  damage(/^control\/address\.json$/, accident());
  return done;
}

test(
  `torn files in all processes at once: ${ROUNDS} starts without a hand, and conservation`,
  async () => {
    for (let round = 0; round < ROUNDS; round++) {
      rmSync(work, { recursive: true, force: true });
      cpSync(good, work, { recursive: true });
      const torn = plan(round);
      const what = `round ${round}, SEED=${SEED}: ${torn.join(', ')}`;
      const broker = await startBroker(work);
      for (const folder of ['segments', 'rejects']) {
        const line = broker
          .output()
          .split('\n')
          .find((each) => each.includes('cut off') && each.includes(`/${folder}/`));
        expect([what, line]).toEqual([
          what,
          expect.stringMatching(/"file":.*"bytes":\d+.*"reason":"/),
        ]);
      }
      await startOthers(work);
      const agent = processes.find(({ child }) =>
        child.spawnargs.some((arg) => arg.includes('agents-main')),
      )!;
      expect([what, agent.output()]).toEqual([
        what,
        expect.stringMatching(/cut off.*file=.*bytes=\d+/),
      ]);
      const before = (await audit(work, { withStore: false })).counts.entries;
      await until(
        `the projection goes on: ${what}`,
        async () => (await cursorOf(work)) > before + 3,
      );
      await endAll('SIGTERM');
      const report = await audit(work, { withStore: true });
      const failed = report.checks.filter(({ violations }) => violations > 0);
      expect([what, failed]).toEqual([what, []]);
    }
  },
  ROUNDS * 60_000,
);

const AGENT_YAML = `name: torn
sensors:
  - { driver: simulated, profile: room, intervalMs: 200, seed: 1 }
batch: { sealEveryMs: 400 }
outbox: { segmentBytes: 65536, fsyncEveryMs: 50 }
link: { backoffMinMs: 100, backoffMaxMs: 1000 }
`;

/** Numbers from 0 to below 1, the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
