/** What /sys has to measure: files, their units by the kernel's ABI, and names that last. */

import { readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDecimal } from './metric-keys.ts';
import { readSmall } from './read-small.ts';
import type { MetricSpec } from './sensor.ts';

export type Kind = 'hwmon' | 'thermal' | 'iio' | 'w1';

export interface Channel {
  readonly spec: MetricSpec;
  readonly file: string;
  /** Says 1 when the value cannot be believed. */
  readonly faultFile?: string;
  /** The file is a `w1_slave`, with its own CRC. */
  readonly oneWire: boolean;
  /** From what the file says to the unit of `spec`. */
  readonly toValue: (written: number) => number;
}

interface Quantity {
  readonly unit: string;
  /** The unit of the ABI in `unit`. */
  readonly factor: number;
}

/** hwmon: m°C, mV, mA, µW, µJ, m%, RPM, Hz. */
const HWMON: Readonly<Record<string, Quantity>> = {
  temp: { unit: 'Cel', factor: 1e-3 },
  in: { unit: 'V', factor: 1e-3 },
  curr: { unit: 'A', factor: 1e-3 },
  power: { unit: 'W', factor: 1e-6 },
  energy: { unit: 'J', factor: 1e-6 },
  humidity: { unit: '%RH', factor: 1e-3 },
  fan: { unit: '1/min', factor: 1 },
  freq: { unit: 'Hz', factor: 1 },
};

/** IIO, after offset and scale: m°C, m%, kPa, mV, mA, mW, gauss, nF, percent, … */
const IIO: Readonly<Record<string, Quantity>> = {
  temp: { unit: 'Cel', factor: 1e-3 },
  humidityrelative: { unit: '%RH', factor: 1e-3 },
  pressure: { unit: 'Pa', factor: 1000 },
  illuminance: { unit: 'lx', factor: 1 },
  voltage: { unit: 'V', factor: 1e-3 },
  altvoltage: { unit: 'V', factor: 1e-3 },
  current: { unit: 'A', factor: 1e-3 },
  power: { unit: 'W', factor: 1e-3 },
  energy: { unit: 'J', factor: 1 },
  resistance: { unit: 'Ohm', factor: 1 },
  capacitance: { unit: 'F', factor: 1e-9 },
  accel: { unit: 'm/s2', factor: 1 },
  anglvel: { unit: 'rad/s', factor: 1 },
  magn: { unit: 'T', factor: 1e-4 },
  angl: { unit: 'rad', factor: 1 },
  distance: { unit: 'm', factor: 1 },
  concentration: { unit: 'ppm', factor: 1e4 },
  ph: { unit: 'pH', factor: 1 },
  electricalconductivity: { unit: 'S/m', factor: 1 },
  intensity: { unit: '', factor: 1 },
  proximity: { unit: '', factor: 1 },
  uvindex: { unit: '', factor: 1 },
  count: { unit: '', factor: 1 },
};

/** Thermometers of w1_therm by family code: DS18S20, DS1822, DS18B20, DS1825, DS28EA00. */
const THERMOMETER = /^(?:10|22|28|3b|42)-[0-9a-f]{12}$/;
/** What their data sheets promise. */
const W1_RANGE = { min: -55, max: 125 };

/** All channels of the kinds, in an order and under names that are the same after a restart. */
export async function findChannels(root: string, kinds: readonly Kind[]): Promise<Channel[]> {
  const found: Channel[] = [];
  const chips = new Set<string>();
  if (kinds.includes('hwmon')) found.push(...(await findHwmon(root, chips)));
  if (kinds.includes('thermal')) found.push(...(await findThermal(root, chips)));
  if (kinds.includes('iio')) found.push(...(await findIio(root)));
  if (kinds.includes('w1')) found.push(...(await findOneWire(root)));
  const used = new Map<string, number>();
  return found.map((channel) => {
    const { metric } = channel.spec;
    const times = (used.get(metric) ?? 0) + 1;
    used.set(metric, times);
    // Two chips of one kind: the second gets a number.
    return times === 1
      ? channel
      : { ...channel, spec: { ...channel.spec, metric: `${metric.slice(0, 60)}_${times}` } };
  });
}

async function findHwmon(root: string, chips: Set<string>): Promise<Channel[]> {
  const found: Channel[] = [];
  for (const folder of await folders(join(root, 'sys/class/hwmon'), /^hwmon\d+$/)) {
    const chip = nameOf(await readIfThere(join(folder, 'name')), 'chip');
    chips.add(chip);
    for (const entry of await entries(folder)) {
      const [, channel, kind = ''] =
        /^((temp|in|curr|power|energy|humidity|fan|freq)\d+)_input$/.exec(entry) ??
        /^((power)\d+)_average$/.exec(entry) ??
        [];
      const quantity = HWMON[kind];
      if (channel === undefined || quantity === undefined) continue;
      if (found.some(({ file }) => file === join(folder, `${channel}_average`))) continue;
      const label = await readIfThere(join(folder, `${channel}_label`));
      const faultFile = join(folder, `${channel}_fault`);
      const hasFault = (await readIfThere(faultFile)) !== undefined;
      found.push({
        spec: {
          metric: metricOf(chip, label === undefined ? channel : nameOf(label, channel)),
          unit: quantity.unit,
          resolution: quantity.factor,
        },
        file: join(folder, entry),
        ...(hasFault ? { faultFile } : {}),
        oneWire: false,
        toValue: scaled(quantity.factor),
      });
    }
  }
  return found;
}

async function findThermal(root: string, chips: ReadonlySet<string>): Promise<Channel[]> {
  const found: Channel[] = [];
  for (const folder of await folders(join(root, 'sys/class/thermal'), /^thermal_zone\d+$/)) {
    const zone = nameOf(await readIfThere(join(folder, 'type')), 'zone');
    // The kernel shows most zones as hwmon chips too.
    if (chips.has(zone)) continue;
    const file = join(folder, 'temp');
    if (!(await entries(folder)).includes('temp')) continue;
    found.push({
      spec: { metric: metricOf(zone, 'temp'), unit: 'Cel', resolution: 1e-3 },
      file,
      oneWire: false,
      toValue: scaled(1e-3),
    });
  }
  return found;
}

async function findIio(root: string): Promise<Channel[]> {
  const found: Channel[] = [];
  for (const folder of await folders(join(root, 'sys/bus/iio/devices'), /^iio:device\d+$/)) {
    const device = nameOf(await readIfThere(join(folder, 'name')), 'iio');
    const names = await entries(folder);
    for (const entry of names) {
      const [, channel = '', kind = '', form] =
        /^in_(([a-z]+)\d*(?:_[a-z0-9_]+)?)_(raw|input)$/.exec(entry) ?? [];
      const quantity = IIO[kind];
      if (quantity === undefined) continue;
      // A channel that is there both ways is taken as the kernel has processed it.
      if (form === 'raw' && names.includes(`in_${channel}_input`)) continue;
      const attribute = async (name: string): Promise<number> => {
        const own = (await readIfThere(join(folder, `in_${channel}_${name}`))) ?? '';
        const shared = (await readIfThere(join(folder, `in_${kind}_${name}`))) ?? '';
        return parseDecimal(own || shared);
      };
      const scale = form === 'input' ? 1 : (await attribute('scale')) || 1;
      const offset = form === 'input' ? 0 : (await attribute('offset')) || 0;
      const step = Math.abs(scale * quantity.factor);
      const { unit, factor } = quantity;
      found.push({
        spec: {
          metric: metricOf(device, channel),
          unit,
          // A value that was processed has no step to be known.
          ...(form === 'raw' && Number.isFinite(step) ? { resolution: powerOfTenBelow(step) } : {}),
        },
        file: join(folder, entry),
        oneWire: false,
        toValue: (written) => (written + offset) * scale * factor,
      });
    }
  }
  return found;
}

async function findOneWire(root: string): Promise<Channel[]> {
  const found: Channel[] = [];
  for (const folder of await folders(join(root, 'sys/bus/w1/devices'), THERMOMETER)) {
    const id = folder.slice(folder.lastIndexOf('/') + 1);
    if (!(await entries(folder)).includes('w1_slave')) continue;
    found.push({
      spec: { metric: `${id}_temp`, unit: 'Cel', resolution: 1e-3, ...W1_RANGE },
      file: join(folder, 'w1_slave'),
      oneWire: true,
      toValue: scaled(1e-3),
    });
  }
  return found;
}

/** Dividing is exact where multiplying by 0.001 is not. */
function scaled(factor: number): (written: number) => number {
  const divisor = Math.round(1 / factor);
  return (written) => written / divisor;
}

/** The folders of a class by where their devices are, which lasts, not by their numbers. */
async function folders(at: string, pattern: RegExp): Promise<string[]> {
  const paths = (await entries(at)).filter((name) => pattern.test(name)).map((n) => join(at, n));
  const placed = await Promise.all(
    paths.map(async (path) => ({
      path,
      device: await realpath(join(path, 'device')).catch(() => path),
    })),
  );
  return placed
    .sort((a, b) => compare(a.device, b.device) || compare(a.path, b.path))
    .map(({ path }) => path);
}

function compare(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

async function entries(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.sort(compare);
}

async function readIfThere(file: string): Promise<string | undefined> {
  return (await readSmall(file).catch(() => undefined))?.trim();
}

/** A name of the kernel as part of a metric name. */
function nameOf(written: string | undefined, otherwise: string): string {
  const name = (written ?? '').toLowerCase().replace(/[^a-z0-9]+/g, '_');
  return name.replace(/^_+|_+$/g, '').slice(0, 30) || otherwise;
}

function metricOf(chip: string, channel: string): string {
  return channel === chip ? chip : `${chip}_${channel}`.slice(0, 64);
}

function powerOfTenBelow(step: number): number {
  return Number(`1e${Math.floor(Math.log10(step))}`);
}
