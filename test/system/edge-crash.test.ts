/**
 * An agent with edge functions, killed with kill −9 in the midst of its work and started again, against a real broker:
 * whatever the log has of it can be computed again from the raw readings that the device keeps, and nothing is counted
 * twice. When it dies is left to chance; what must hold holds whenever.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auditEdgeResult, edgeStateDigest } from '@fieldproof/compute/edge-audit';
import { decodeRawChunk } from '@fieldproof/compute/edge-chunk';
import { systemDisk } from '@fieldproof/device-agent/disk';
import { readRawSegments } from '@fieldproof/device-agent/edge/raw-store';
import { initAgent } from '@fieldproof/device-agent/init';
import { decodeEdgeResult } from '@fieldproof/protocol/edge-result';
import { CONTENT_TYPES, parseEnvelope, type Stamp } from '@fieldproof/protocol/envelope';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from '../broker/support/broker.ts';
import { until } from '../support/network.ts';
import { programPath } from '../support/program.ts';
import { REPOSITORY } from '../support/repository.ts';

const AGENT = 'device-agent/bin/fieldproof-agent.mjs';
const KILLS = 2;
const CONFIG = `sensors:
  - driver: simulated
    profile: room
    intervalMs: 100
batch: { sealEveryMs: 150 }
outbox: { fsyncEveryMs: 50 }
link: { backoffMinMs: 50, backoffMaxMs: 1000 }
raw: { sealEveryMs: 1000 }
edge:
  temperature: window 1s count,mean
  humidity: deadband 0.02
`;

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-edge-crash-'));
const data = join(folder, 'agent');
let broker: TestBroker;
let child: ChildProcess | undefined;
/** Its last words. */
let said = '';

beforeAll(async () => {
  broker = await startTestBroker();
});
afterAll(async () => {
  child?.kill('SIGKILL');
  await broker.close();
  rmSync(folder, { recursive: true });
});

interface Recorded {
  readonly boot: number;
  readonly seq: number;
  readonly payload: Uint8Array;
  readonly stamp: Stamp;
}

/** Results of edge functions in the log, in its order. */
async function recorded(): Promise<Recorded[]> {
  const token = readFileSync(join(broker.dataDir, 'tokens/service'), 'utf8').trim();
  const response = await fetch(`${broker.running.addresses.http}/v1/tail?from=0&live=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const reader = new FrameReader(0);
  reader.push(new Uint8Array(await response.arrayBuffer()));
  const results: Recorded[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    const entry = decodeEvidenceEntry(frame.entry);
    if (entry.type !== 'batch' || entry.kind !== 'result') continue;
    const { contentType, payload, stamp } = parseEnvelope(frame.body.slice());
    expect(contentType).toBe(CONTENT_TYPES.edgeResult);
    results.push({ boot: entry.bootCounter, seq: entry.seq, payload, stamp: stamp! });
  }
  return results;
}

function run(): Promise<unknown> {
  const args = [programPath(AGENT), 'run', '--data', data];
  const env = { ...process.env, NODE_OPTIONS: '' };
  child = spawn(process.execPath, args, {
    cwd: REPOSITORY,
    stdio: ['ignore', 'ignore', 'pipe'],
    env,
  });
  child.stderr!.on('data', (bytes: Buffer) => {
    said = bytes.toString();
  });
  return new Promise((done) => child!.once('exit', done));
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('what the log has of an agent that is killed over and over follows from its raw readings', async () => {
  const random = (length: number) => new Uint8Array(length).map(() => Math.random() * 256);
  const joinLine = await broker.joinLine();
  const owner = { type: 'new' } as const;
  await initAgent({ dataDir: data, joinLine, name: 'crash', owner, configYaml: CONFIG, random });
  for (let boot = 1; boot <= KILLS + 1; boot++) {
    const gone = run();
    await until(`boot ${boot} has results in the log`, async () => {
      if (child!.exitCode !== null) throw new Error(`the agent ended: ${said}`);
      return (await recorded()).filter((each) => each.boot === boot).length >= 2;
    });
    child!.kill(boot <= KILLS ? 'SIGKILL' : 'SIGTERM');
    await gone;
  }

  const chunks = new Map<number, Uint8Array>();
  for await (const records of readRawSegments(join(data, 'state/raw'), systemDisk)) {
    for (const each of records) {
      if (each.type !== 'chunk') continue;
      expect(chunks.has(each.number)).toBe(false);
      chunks.set(each.number, each.bytes);
    }
  }
  const raw = new Map<string, number[]>();
  for (const bytes of chunks.values()) {
    for (const { profile, metric, timesUs } of decodeRawChunk(bytes)) {
      const name = `${profile}/${metric}`;
      raw.set(name, [...(raw.get(name) ?? []), ...timesUs]);
    }
  }

  const results = await recorded();
  expect(new Set(results.map(({ boot }) => boot)).size).toBe(KILLS + 1);
  const states = new Map<string, Uint8Array>();
  const values = new Map<string, number>();
  let goesOn = 0;
  for (const { boot, payload, stamp } of results) {
    const { raw: range, streams, decoded } = decodeEdgeResult(payload);
    const numbers = Array.from({ length: range.to - range.from + 1 }, (_, i) => range.from + i);
    const before = streams.map(({ profile, metric, before }) => {
      const state = before === null ? null : states.get(hex(before));
      if (boot > 1 && before !== null) goesOn += 1;
      return [`${profile}/${metric}`, state] as const;
    });
    const verdict = auditEdgeResult({
      ...{ result: payload, bootMs: stamp.bootMs, boundMs: stamp.boundMs },
      chunks: numbers.map((number) => ({ number, bytes: chunks.get(number)! })),
      states: new Map(before as [string, Uint8Array | null][]),
    });
    expect(verdict).toMatchObject({ ok: true });
    if (verdict.ok)
      for (const state of verdict.after.values()) states.set(hex(edgeStateDigest(state)), state);
    for (const { metric, start, end } of decoded.runs) {
      for (let i = start; i < end; i++) {
        const key = `${metric} at ${decoded.timesUs[i]}`;
        // A result that came twice has the same number: stores have one.
        expect(decoded.values[i]).toBe(values.get(key) ?? decoded.values[i]);
        values.set(key, decoded.values[i] as number);
      }
    }
  }
  expect(goesOn).toBeGreaterThan(0);
  for (const times of raw.values()) expect(new Set(times).size).toBe(times.length);
  const taken = new Map<number, number>();
  for (const timeUs of raw.get('room/temperature')!) {
    const second = Math.floor(timeUs / 1e6) * 1e6;
    taken.set(second, (taken.get(second) ?? 0) + 1);
  }
  for (const [key, count] of values) {
    const [metric, timeUs] = key.split(' at ');
    if (metric !== 'temperature.count') continue;
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(taken.get(Number(timeUs)) ?? 0);
  }
}, 240_000);
