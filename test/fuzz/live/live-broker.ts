/** The broker under fire, watched: its process, its log, its memory, its counters, and a device that behaves well. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { RunningBroker } from '@fieldproof/broker/broker';
import { FrameReader } from '@fieldproof/protocol/frame';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { TestDevice } from '../../broker/support/device.ts';
import type { Recorded } from '../envelopes/gate-bench.ts';
import { Finding } from '../finding.ts';
import { whenLate, within } from '../patience.ts';

interface Look {
  readonly status: ReturnType<RunningBroker['status']>;
  readonly heldBytes: number;
}

/** pino's number for `error`. */
const ERROR_LEVEL = 50;
const WITNESS_LIMIT_MS = 20_000;

export class LiveBroker {
  readonly http: string;
  readonly mqtt: string;
  /** Of the plain profile. */
  readonly plain: string;
  readonly network: string;
  readonly witness: TestDevice;
  private readonly child: ChildProcess;
  private readonly dataDir: string;
  private readonly problems: string[];
  private read = 0;

  private constructor(parts: {
    readonly child: ChildProcess;
    readonly dataDir: string;
    readonly problems: string[];
    readonly ready: Pick<RunningBroker, 'addresses' | 'network'>;
  }) {
    const { child, dataDir, problems, ready } = parts;
    this.child = child;
    this.dataDir = dataDir;
    this.problems = problems;
    this.http = ready.addresses.http;
    this.mqtt = ready.addresses.mqtt;
    this.plain = ready.addresses.plain!;
    this.network = ready.network;
    this.witness = this.newDevice();
  }

  static async start(): Promise<LiveBroker> {
    const dataDir = mkdtempSync(join(tmpdir(), 'fieldproof-fuzz-'));
    const settings = {
      ...{ dataDir, httpPort: 0, mqttPort: 0, logLevel: 'warn', verifierThreads: 1 },
      ...{ receiptIntervalMs: 50, publishIntervalMs: 200, connectTimeoutMs: 5000 },
      // The limits have tests of their own; here they would only slow down.
      ...{ helloPerSecond: 0, enrolPerSecond: 0, failedLoginsPerMinute: 0, connectsPerSecond: 0 },
      ...{ deviceMessagesPerSecond: 0, deviceBytesPerSecond: 0, ownerMessagesPerSecond: 0 },
      ...{ plainPort: 0, plainPacketsPerSecond: 0 },
    };
    const file = join(import.meta.dirname, 'broker-child.ts');
    const flags = ['--expose-gc', '--unhandled-rejections=strict', '--import', 'tsx'];
    const child = spawn(process.execPath, [...flags, file], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, FUZZ_BROKER: JSON.stringify(settings) },
    });
    const problems: string[] = [];
    createInterface({ input: child.stderr! }).on('line', (line) => noteLine(line, problems));
    child.once('exit', (code, signal) => problems.push(`process: ended with ${code ?? signal}`));
    const ready = (await nextMessage(child)) as Pick<RunningBroker, 'addresses' | 'network'>;
    const broker = new LiveBroker({ child, dataDir, problems, ready });
    await broker.enrol(broker.witness);
    await broker.witness.connect();
    return broker;
  }

  /** A device of this network, not enrolled. */
  newDevice(): TestDevice {
    return new TestDevice({ http: this.http, mqtt: this.mqtt, network: this.network });
  }

  async enrol(device: TestDevice): Promise<TestDevice> {
    const response = await fetch(`${this.http}/admin/tokens`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${this.token('admin')}`,
        'content-type': 'application/json',
      },
      body: '{"uses":1}',
    });
    const { joinLine } = (await response.json()) as { readonly joinLine: string };
    await device.enrol(joinLine);
    return device;
  }

  token(name: 'admin' | 'service'): string {
    return readFileSync(join(this.dataDir, 'tokens', name), 'utf8').trim();
  }

  /** What went wrong since the last call. */
  takeProblems(): string[] {
    return this.problems.splice(0);
  }

  /** Status and memory after a collection. */
  async look(): Promise<Look> {
    if (!this.child.connected) throw new Finding('process: is gone');
    const answer = nextMessage(this.child);
    this.child.send('look');
    return (await answer) as Look;
  }

  /** Waits for an instant at which nothing is on its way to its verdict. */
  async idle(): Promise<void> {
    let isLate = false;
    const callOff = whenLate(WITNESS_LIMIT_MS, () => {
      isLate = true;
    });
    try {
      while ((await this.look()).status.verdicts.inFlight > 0) {
        if (isLate) throw new Finding('gate: messages without a verdict');
      }
    } finally {
      callOff();
    }
  }

  /** A device that behaves well is acknowledged, whatever the others do. */
  async checkWitness(): Promise<void> {
    const { witness } = this;
    const message = `witness: no PUBACK within ${WITNESS_LIMIT_MS} ms`;
    await within(witness.publish('telemetry', witness.seal()), WITNESS_LIMIT_MS, message);
  }

  /** What was recorded since the last call. */
  async newEntries(): Promise<Recorded[]> {
    const response = await fetch(`${this.http}/v1/tail?from=${this.read}&live=0`, {
      headers: { authorization: `Bearer ${this.token('service')}` },
    });
    const reader = new FrameReader(this.read);
    reader.push(new Uint8Array(await response.arrayBuffer()));
    const entries: Recorded[] = [];
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      entries.push({ entry: decodeEvidenceEntry(frame.entry), body: Uint8Array.from(frame.body) });
      this.read += 1;
    }
    return entries;
  }

  async close(): Promise<void> {
    await this.witness.close();
    if (this.child.exitCode === null) {
      const gone = new Promise((resolve) => this.child.once('exit', resolve));
      this.child.send('stop');
      await gone;
    }
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

/** A line at level error, or one that is no line of the log: a crash writes those. */
function noteLine(line: string, problems: string[]): void {
  try {
    const { level, msg } = JSON.parse(line) as { readonly level: number; readonly msg: string };
    if (level >= ERROR_LEVEL) problems.push(`log: ${msg}: ${line.slice(0, 500)}`);
  } catch {
    problems.push(`stderr: ${line}`);
  }
}

function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = () => reject(new Finding('process: ended before it answered'));
    child.once('exit', onExit);
    child.once('message', (message) => {
      child.off('exit', onExit);
      resolve(message);
    });
  });
}
