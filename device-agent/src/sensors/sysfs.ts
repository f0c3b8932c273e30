/**
 * The sensors that Linux already drives: hwmon chips, thermal zones, IIO devices and 1-wire thermometers below
 * /sys, found by themselves, or single files by their names.
 *
 * Values become SenML units as the kernel's ABI says (Documentation/hwmon/sysfs-interface.rst,
 * Documentation/ABI/testing/sysfs-bus-iio, Documentation/w1/slaves/w1_therm.rst). Leaves out IIO buffers and
 * triggers.
 */

import { isAbsolute, join } from 'node:path';
import { AgentError, codeOf, reasonOf } from '../errors.ts';
import { flag, list, numberAbove, section, text } from '../schema.ts';
import {
  anyNumber,
  METRIC_KEYS,
  type MetricKeys,
  metricSpec,
  parseDecimal,
} from './metric-keys.ts';
import { readSmall } from './read-small.ts';
import type { MetricSpec, Reading, SensorContext, SensorDriver } from './sensor.ts';
import { type Channel, findChannels, type Kind } from './sysfs-channels.ts';

/** As many as a birth can name. */
const MAX_CHANNELS = 256;

interface FileKeys extends MetricKeys {
  readonly path: string;
  readonly scale: number;
  readonly offset?: number | undefined;
}

interface SysfsOptions extends Readonly<Record<Kind, boolean>> {
  readonly files: readonly FileKeys[];
}

export const sysfsDriver: SensorDriver<SysfsOptions> = {
  source: 'sensor',
  options: section<SysfsOptions>({
    hwmon: flag(true),
    thermal: flag(true),
    iio: flag(true),
    w1: flag(true),
    files: list(
      section<FileKeys>({
        ...METRIC_KEYS,
        path: text({ is: 'a file, absolute or below /sys', byDefault: null }),
        scale: numberAbove(Number.NEGATIVE_INFINITY, 1),
        offset: anyNumber,
      }),
      { max: MAX_CHANNELS },
    ),
  }),
  async create(context) {
    let channels = await channelsOf(context);
    const metrics: MetricSpec[] = channels.map(({ spec }) => spec);
    let gone = false;
    return {
      kind: 'pull',
      source: 'sensor',
      metrics,
      async read() {
        if (gone) {
          // Chips get new numbers when a driver is loaded again.
          channels = await channelsOf(context);
          metrics.splice(0, metrics.length, ...channels.map(({ spec }) => spec));
          gone = false;
        }
        const readings: Reading[] = [];
        let reason = '';
        for (const channel of channels) {
          try {
            const value = await readChannel(channel, context);
            if (value !== undefined) readings.push({ metric: channel.spec.metric, value });
            else reason ||= `${channel.file}: not a value that can be used`;
          } catch (error) {
            gone ||= codeOf(error) === 'ENOENT';
            reason ||= reasonOf(error);
          }
        }
        if (readings.length > 0) return readings;
        throw new AgentError('ERR_AGENT_SENSOR', reason);
      },
    };
  },
};

/** The configured files, else all that is found. */
async function channelsOf({ options, root }: SensorContext<SysfsOptions>): Promise<Channel[]> {
  const { files, ...kinds } = options;
  if (files.length > 0) {
    return files.map(({ path, scale, offset = 0, ...keys }) => ({
      spec: metricSpec(keys),
      file: join(root, isAbsolute(path) ? path : join('sys', path)),
      oneWire: /(^|\/)w1_slave$/.test(path),
      toValue: (written: number) => written * scale + offset,
    }));
  }
  const wanted = (Object.keys(kinds) as Kind[]).filter((kind) => kinds[kind]);
  const found = await findChannels(root, wanted);
  if (found.length === 0) {
    throw new AgentError(
      'ERR_AGENT_SENSOR',
      `${join(root, 'sys')}: expected sensors (${wanted.join(', ')}), found none`,
    );
  }
  return found.slice(0, MAX_CHANNELS);
}

/** The value of a channel; undefined when it has none, which is counted. */
async function readChannel(
  { spec, file, faultFile, oneWire, toValue }: Channel,
  { reject }: SensorContext<SysfsOptions>,
): Promise<number | undefined> {
  if (faultFile !== undefined && (await readSmall(faultFile)).trim() === '1') {
    reject('fault', `${spec.metric}: the chip says that it is faulty`);
    return undefined;
  }
  const text = await readSmall(file);
  const written = oneWire ? parseOneWire(text) : parseDecimal(text);
  if (typeof written === 'string') {
    reject(written, `${spec.metric}: ${file}`);
    return undefined;
  }
  if (!Number.isFinite(written)) {
    reject('not-a-number', `${spec.metric}: ${JSON.stringify(text.slice(0, 40))}`);
    return undefined;
  }
  return toValue(written);
}

/** m°C of a `w1_slave` file: two lines of nine bytes, the first ends with the CRC's verdict. */
function parseOneWire(text: string): number | 'checksum' | 'fault' | 'malformed' {
  const [first = '', second = ''] = text.split('\n');
  const verdict = /crc=[0-9a-f]{2} (YES|NO)\s*$/.exec(first)?.[1];
  const written = /t=(-?\d{1,7})\s*$/.exec(second)?.[1];
  if (verdict === 'NO') return 'checksum';
  if (verdict === undefined || written === undefined) return 'malformed';
  const bytes = first.trim().split(/\s+/);
  // What a chip holds after a power-on, before it has measured, looks like 85 °C; its byte 6 gives it away.
  if (written === '85000' && bytes[6] === '0c') return 'fault';
  // A bus without pull-up reads as zeros, and the CRC of zeros is zero.
  if (bytes.slice(0, 9).every((byte) => byte === '00')) return 'fault';
  return Number(written);
}
