/**
 * One subscription at a local MQTT broker, for as long as its connection lasts. MQTT 3.1.1, which all brokers speak.
 *
 * Leaves out coming back: the sampler does that, with growing pauses.
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { isAbsolute, join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { AgentError, reasonOf } from '../errors.ts';
import { type Checks, integer, oneOf, text } from '../schema.ts';
import { packetGuard } from './mqtt-packet-guard.ts';
import type { SensorContext } from './sensor.ts';

const CONNECT_TIMEOUT_MS = 20_000;
const KEEP_ALIVE_SECONDS = 30;
/** Header and topic of a packet, beside its payload. */
const PACKET_OVERHEAD = 65_540;

export interface MqttKeys {
  readonly url: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly maxBytes: number;
  readonly retained: 'ignored' | 'taken';
}

export const MQTT_KEYS: Checks<MqttKeys> = {
  url: text({
    pattern: /^mqtts?:\/\/(?:\[[0-9a-f:.]+\]|[^\s/:@?#[\]]+)(?::\d{1,5})?\/?$/i,
    is: 'mqtt://host:port or mqtts://host:port',
    byDefault: 'mqtt://127.0.0.1:1883',
  }),
  username: text({ byDefault: undefined }),
  passwordFile: text({ is: 'a file name', byDefault: undefined }),
  caFile: text({ is: 'a file name', byDefault: undefined }),
  maxBytes: integer({ min: 16, max: 1_048_576, byDefault: 65_536 }),
  retained: oneOf(['ignored', 'taken'], 'ignored'),
};

/**
 * Hears the topics until the signal is given; then it resolves.
 *
 * @param onMessage - is not called for messages above `maxBytes`, which are counted, nor for retained ones unless wanted.
 * @throws {AgentError} ERR_AGENT_SENSOR when it cannot connect or subscribe, or the connection ends.
 */
export async function hearTopics(options: {
  readonly keys: MqttKeys;
  readonly topics: readonly string[];
  readonly context: SensorContext;
  readonly signal: AbortSignal;
  readonly onMessage: (topic: string, payload: Buffer) => void;
}): Promise<void> {
  const { keys, topics, context, signal, onMessage } = options;
  const { dataDir, reject } = context;
  const load = (name: string) => readFile(isAbsolute(name) ? name : join(dataDir, name));
  const password = keys.passwordFile === undefined ? undefined : await load(keys.passwordFile);
  const ca = keys.caFile === undefined ? undefined : await load(keys.caFile);
  const { MqttClient } = await import('mqtt');
  if (signal.aborted) return;
  const socket = openSocket(keys.url, ca);
  const fail = (why: unknown): AgentError =>
    new AgentError('ERR_AGENT_SENSOR', `${keys.url}: ${reasonOf(why)}`);
  await new Promise<void>((resolve, rejectRun) => {
    let reason: unknown = new Error('the connection was closed');
    const giveUp = (why: unknown): void => {
      reason = why;
      socket.destroy();
    };
    // Before mqtt sees a byte: it would gather a gigabyte before it says anything.
    socket.on(
      'data',
      packetGuard(keys.maxBytes + PACKET_OVERHEAD, (bytes) => {
        reject('too-long', `a packet of ${bytes} bytes`);
        giveUp(new Error(`a packet of ${bytes} bytes, which is too long`));
      }),
    );
    socket.on('error', giveUp);
    const client = new MqttClient(() => socket, {
      protocolVersion: 4,
      clientId: `fieldproof-${randomBytes(5).toString('hex')}`,
      ...(keys.username === undefined ? {} : { username: keys.username }),
      ...(password === undefined ? {} : { password: password.toString('utf8').trim() }),
      clean: true,
      keepalive: KEEP_ALIVE_SECONDS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: 0,
      resubscribe: false,
      // Else mqtt-packet builds 65,536 small buffers: 19 MiB on a device.
      writeCache: false,
      timerVariant: 'native',
    });
    const stop = (): void => {
      signal.removeEventListener('abort', stopped);
      client.end(true);
      socket.destroy();
    };
    const stopped = (): void => {
      stop();
      resolve();
    };
    signal.addEventListener('abort', stopped, { once: true });
    client.on('error', giveUp);
    client.on('close', () => {
      stop();
      rejectRun(fail(reason));
    });
    client.on('connect', () => {
      client.subscribe([...new Set(topics)], { qos: 0 }, (error, grants) => {
        const refused = grants?.find(({ qos }) => Number(qos) >= 128);
        if (error) giveUp(error);
        else if (refused) giveUp(new Error(`may not subscribe to ${refused.topic}`));
      });
    });
    client.on('message', (topic, payload, { retain }) => {
      if (signal.aborted || (retain && keys.retained === 'ignored')) return;
      if (payload.length > keys.maxBytes) {
        reject('too-long', `${topic.slice(0, 80)}: ${payload.length} bytes`);
        return;
      }
      onMessage(topic, payload);
    });
  });
}

function openSocket(address: string, ca: Buffer | undefined): Socket {
  const url = new URL(address);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (url.protocol === 'mqtt:') return connectTcp({ host, port: Number(url.port || 1883) });
  return connectTls({
    host,
    port: Number(url.port || 8883),
    servername: /^[\d.]+$|:/.test(host) ? '' : host,
    ...(ca === undefined ? {} : { ca }),
  });
}
