/**
 * What a device still knows of what it signed, from the files of its agent: the outbox's envelopes and marks, and the
 * parked ones. Reads only; the agent may run, but then its last frames may be missing.
 */
import { createHash } from 'node:crypto';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bootKey } from '@fieldproof/device-agent/boot';
import { loadDeviceKey } from '@fieldproof/device-agent/device-key';
import { scanSegment } from '@fieldproof/device-agent/outbox-segment';
import { decode } from '@fieldproof/protocol/cbor';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { parseEnvelope } from '@fieldproof/protocol/envelope';
import { IntervalSet } from '@fieldproof/protocol/interval-set';
import { AnalyticsError } from '../errors.ts';

const SEGMENT = /^\d{10}\.seg$/;
const PARKED = /^(\d+)-([0-9a-f]{8})-(\d+)\.ERR_[A-Z0-9_]+\.cose$/;

/** Of one boot, by its key `<counter>-<seed hex>`. */
export interface OutboxBoot {
  readonly counter: number;
  /** SHA-256 in hex of the envelopes that lie in the outbox, by seq. */
  readonly envelopes: ReadonlyMap<number, string>;
  /** The device has forgotten these: it had the network's word for them. */
  readonly settled: IntervalSet;
  /** The device has given these up. */
  readonly dropped: IntervalSet;
  /** Refused for good, and kept aside. */
  readonly parked: IntervalSet;
}

export interface DeviceOutbox {
  /** `z6Mk…` */
  readonly device: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
  readonly boots: ReadonlyMap<string, OutboxBoot>;
  /** Bytes of the outbox that are no frames. */
  readonly unreadableBytes: number;
}

/**
 * Reads the files of the agent with this data folder.
 *
 * @throws {AnalyticsError} ERR_AUDIT_INPUT when there is no agent's state.
 */
export async function readOutbox(agentDataDir: string): Promise<DeviceOutbox> {
  const boots = new Map<string, Mutable<OutboxBoot>>();
  const bootAt = (counter: number, seed: Uint8Array) => {
    const key = bootKey({ counter, seed });
    let boot = boots.get(key);
    if (boot === undefined) {
      boot = { counter, envelopes: new Map(), ...emptySets() };
      boots.set(key, boot);
    }
    return boot;
  };
  const state = join(agentDataDir, 'state');
  const outbox = join(state, 'outbox');
  let unreadableBytes = 0;
  for (const name of (await list(outbox)).filter((name) => SEGMENT.test(name)).sort()) {
    const file = await open(join(outbox, name), 'r');
    try {
      for await (const item of scanSegment(file)) {
        if (item.type === 'damage') unreadableBytes += item.end - item.offset;
        if (item.type !== 'frame') continue;
        const { body } = item;
        if (body.type === 'clock') continue;
        const boot = bootAt(body.boot.counter, body.boot.seed);
        if (body.type === 'envelope') {
          const digest = createHash('sha256').update(body.bytes).digest('hex');
          (boot.envelopes as Map<number, string>).set(body.seq, digest);
        } else {
          for (const [from, to] of body.ranges) boot[body.type].addRange(from, to);
        }
      }
    } finally {
      await file.close();
    }
  }
  for (const name of await list(join(state, 'parked')).catch(() => [])) {
    const [, counter, seed, seq] = PARKED.exec(name) ?? [];
    if (counter === undefined) continue;
    bootAt(Number(counter), Buffer.from(seed!, 'hex')).parked.add(Number(seq));
  }
  const device = await deviceOf(agentDataDir);
  return { device, key: publicKeyFromDeviceId(device), boots, unreadableBytes };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function emptySets() {
  return { settled: new IntervalSet(), dropped: new IntervalSet(), parked: new IntervalSet() };
}

/** The id as the credential states it; else, for an agent that was never enrolled, that of its key. */
async function deviceOf(agentDataDir: string): Promise<string> {
  try {
    const bytes = await readFile(join(agentDataDir, 'state', 'credential.cose'));
    const body = decode(parseEnvelope(bytes).payload);
    const device = body instanceof Map ? body.get('device') : undefined;
    if (typeof device === 'string') return device;
  } catch {
    // The key file says it too.
  }
  try {
    return (await loadDeviceKey(agentDataDir)).deviceId;
  } catch (cause) {
    const message = `${agentDataDir}: expected an agent's folder: ${(cause as Error).message}`;
    throw new AnalyticsError('ERR_AUDIT_INPUT', message, { cause });
  }
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    const message = `${folder}: expected an outbox, got ${(cause as Error).message}`;
    throw new AnalyticsError('ERR_AUDIT_INPUT', message, { cause });
  }
}
