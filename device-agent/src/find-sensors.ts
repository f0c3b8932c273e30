/**
 * What this machine has to measure, as entries of `sensors` for agent.yaml: what works as it is, and what its owner
 * has to finish, as comments. Reads only; nothing is opened that answers to being opened.
 */

import { readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { findChannels } from './sensors/sysfs-channels.ts';

export interface FoundSensor {
  readonly driver: string;
  /** One line for people. */
  readonly found: string;
  /** Its entry of `sensors`, without indentation. */
  readonly entry: readonly string[];
  /** What its owner has to say before it can be used; empty where it works as it is. */
  readonly unfinished: string;
}

export interface FindSensorsOptions {
  /** Root of the file system, `/` but in tests. */
  readonly root: string;
  /** Whether something listens at this port of the machine. */
  readonly listens?: (port: number) => Promise<boolean>;
}

const MQTT_PORT = 1883;
const PROBE_MS = 300;
/** Channels that are named in one line. */
const NAMED = 6;
/** The `system` sensor has it already. */
const CPU_CHANNEL = /^(cpu_thermal|x86_pkg_temp|coretemp|k10temp|soc)/;

export const SYSTEM_SENSOR: FoundSensor = {
  driver: 'system',
  found: 'this machine itself: processor temperature, load, memory, disk, network',
  entry: ['- driver: system', '  profile: system', '  intervalMs: 10000'],
  unfinished: '',
};

export async function findSensors(options: FindSensorsOptions): Promise<readonly FoundSensor[]> {
  const found = await Promise.all([kernelSensors(options), serialLines(options), mqtt(options)]);
  return [SYSTEM_SENSOR, ...found.flat()];
}

/** Chips, thermometers and converters that the kernel drives: hwmon, thermal zones, IIO, 1-wire. */
async function kernelSensors({ root }: FindSensorsOptions): Promise<readonly FoundSensor[]> {
  const channels = await findChannels(root, ['hwmon', 'thermal', 'iio', 'w1']);
  const others = channels.filter(({ spec }) => !CPU_CHANNEL.test(spec.metric));
  if (others.length === 0) return [];
  const names = others
    .slice(0, NAMED)
    .map(({ spec }) => (spec.unit === '' ? spec.metric : `${spec.metric} (${spec.unit})`));
  const more = others.length > NAMED ? `, and ${others.length - NAMED} more` : '';
  return [
    {
      driver: 'sysfs',
      found: `sensors that Linux drives: ${names.join(', ')}${more}`,
      entry: ['- driver: sysfs', '  profile: sensors', '  intervalMs: 10000'],
      unfinished: '',
    },
  ];
}

/** Adapters by names that stay when they are plugged in elsewhere. */
async function serialLines({ root }: FindSensorsOptions): Promise<readonly FoundSensor[]> {
  const folder = 'dev/serial/by-id';
  const names = await readdir(join(root, folder)).catch(() => []);
  return names.sort().map((name, at) => ({
    driver: 'serial-line',
    found: `a serial line: ${name}`,
    entry: [
      '- driver: serial-line',
      `  profile: serial${at === 0 ? '' : at + 1}`,
      `  file: ${JSON.stringify(`/${folder}/${name}`)}`,
      '  baud: 115200',
      '  format: json',
      '  metrics: [{ metric: temperature, unit: Cel, path: temperature }]',
    ],
    unfinished: 'say its speed and what its lines hold',
  }));
}

/** A broker on this machine, as zigbee2mqtt, Tasmota and ESPHome have it. */
async function mqtt({
  listens = listensHere,
}: FindSensorsOptions): Promise<readonly FoundSensor[]> {
  if (!(await listens(MQTT_PORT))) return [];
  return [
    {
      driver: 'mqtt',
      found: `an MQTT broker at port ${MQTT_PORT} of this machine`,
      entry: [
        '- driver: mqtt',
        '  profile: home',
        `  url: mqtt://127.0.0.1:${MQTT_PORT}`,
        '  topics:',
        '    - topic: zigbee2mqtt/kitchen',
        '      metrics: [{ metric: kitchen_temperature, unit: Cel, path: temperature }]',
      ],
      unfinished: 'name its topics',
    },
  ];
}

function listensHere(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PROBE_MS, () => end(false));
    socket.on('connect', () => end(true));
    socket.on('error', () => end(false));
  });
}
