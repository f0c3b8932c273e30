/**
 * This machine as a sensor: CPU temperature, load, memory, disk and network, read from /sys and /proc.
 *
 * A metric that the machine does not have is left out. Leaves out other disks and single interfaces.
 */

import { readdir, readFile, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.ts';
import { section, text } from '../schema.ts';
import type { MetricSpec, Reading, SensorDriver } from './sensor.ts';

interface SystemOptions {
  /** Folder whose file system is measured; default the data folder. */
  readonly disk?: string | undefined;
}

const METRICS: readonly MetricSpec[] = [
  { metric: 'cpu_temperature', unit: 'Cel', resolution: 0.1 },
  { metric: 'load_1m', unit: '', resolution: 0.01 },
  { metric: 'memory_available', unit: 'B', resolution: 4096 },
  { metric: 'memory_used', unit: '/', resolution: 0.001 },
  { metric: 'disk_free', unit: 'B', resolution: 4096 },
  { metric: 'disk_used', unit: '/', resolution: 0.001 },
  { metric: 'net_received', unit: 'B/s', resolution: 1 },
  { metric: 'net_sent', unit: 'B/s', resolution: 1 },
];

/** Kernel names of CPU sensors, best first: Raspberry Pi, Intel, AMD, generic ARM. */
const CPU_SENSORS = ['cpu-thermal', 'cpu_thermal', 'x86_pkg_temp', 'coretemp', 'k10temp', 'soc'];

interface NetworkCount {
  readonly atMs: number;
  readonly received: number;
  readonly sent: number;
}

export const systemDriver: SensorDriver<SystemOptions> = {
  source: 'sensor',
  options: section<SystemOptions>({ disk: text({ byDefault: undefined }) }),
  async create({ options, root, dataDir, bootMs }) {
    const temperatureFile = await findCpuTemperature(root);
    const disk = options.disk ?? dataDir;
    let before: NetworkCount | undefined;
    const network = async (): Promise<Reading[]> => {
      const now = { atMs: bootMs(), ...countNetwork(await readText(root, 'proc/net/dev')) };
      const last = before;
      before = now;
      const seconds = last === undefined ? 0 : (now.atMs - last.atMs) / 1000;
      // Counters that went back: an interface was taken away.
      if (last === undefined || seconds <= 0) return [];
      if (now.received < last.received || now.sent < last.sent) return [];
      return [
        { metric: 'net_received', value: (now.received - last.received) / seconds },
        { metric: 'net_sent', value: (now.sent - last.sent) / seconds },
      ];
    };
    return {
      kind: 'pull',
      source: 'sensor',
      metrics: METRICS.filter(
        ({ metric }) => metric !== 'cpu_temperature' || temperatureFile !== undefined,
      ),
      async read() {
        const parts = await Promise.allSettled([
          temperatureFile === undefined ? [] : readTemperature(temperatureFile),
          readText(root, 'proc/loadavg').then(parseLoad),
          readText(root, 'proc/meminfo').then(parseMemory),
          readDisk(disk),
          network(),
        ]);
        const readings = parts.flatMap((part) => (part.status === 'fulfilled' ? part.value : []));
        if (readings.length > 0) return readings;
        throw new AgentError('ERR_AGENT_SENSOR', `${join(root, 'proc')}: nothing can be read`);
      },
    };
  },
};

async function readText(root: string, path: string): Promise<string> {
  return await readFile(join(root, path), 'utf8');
}

/** The `temp` file of the CPU's thermal zone, or of its hwmon chip; both hold thousandths of a degree. */
async function findCpuTemperature(root: string): Promise<string | undefined> {
  const found: { rank: number; file: string }[] = [];
  const look = async (folder: string, prefix: string, names: readonly [string, string]) => {
    const entries = await readdir(join(root, folder)).catch(() => []);
    for (const entry of entries.sort()) {
      if (!entry.startsWith(prefix)) continue;
      const at = join(root, folder, entry);
      const name = await readFile(join(at, names[0]), 'utf8').catch(() => undefined);
      const file = join(at, names[1]);
      if (name === undefined || (await readFile(file).catch(() => undefined)) === undefined)
        continue;
      const known = CPU_SENSORS.indexOf(name.trim());
      if (known >= 0) found.push({ rank: known, file });
      else if (/cpu|pkg/i.test(name)) found.push({ rank: CPU_SENSORS.length, file });
    }
  };
  await look('sys/class/thermal', 'thermal_zone', ['type', 'temp']);
  await look('sys/class/hwmon', 'hwmon', ['name', 'temp1_input']);
  found.sort((a, b) => a.rank - b.rank);
  return found[0]?.file;
}

async function readTemperature(file: string): Promise<Reading[]> {
  const written = (await readFile(file, 'utf8')).trim();
  const milli = /^-?\d+$/.test(written) ? Number(written) : Number.NaN;
  // Drivers answer with nothing, 0 or −274000 when the chip sleeps.
  if (!(milli > -100_000 && milli < 200_000) || milli === 0) return [];
  return [{ metric: 'cpu_temperature', value: milli / 1000 }];
}

function parseLoad(loadavg: string): Reading[] {
  const value = Number.parseFloat(loadavg);
  return Number.isFinite(value) ? [{ metric: 'load_1m', value }] : [];
}

function parseMemory(meminfo: string): Reading[] {
  const bytes = (name: string): number =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1] ?? Number.NaN);
  const total = bytes('MemTotal');
  const available = bytes('MemAvailable');
  if (!(total > 0) || !(available >= 0)) return [];
  return [
    { metric: 'memory_available', value: available },
    { metric: 'memory_used', value: 1 - available / total },
  ];
}

async function readDisk(folder: string): Promise<Reading[]> {
  const { bsize, blocks, bfree, bavail } = await statfs(folder);
  const used = blocks - bfree;
  if (used + bavail <= 0) return [];
  return [
    { metric: 'disk_free', value: bavail * bsize },
    { metric: 'disk_used', value: used / (used + bavail) },
  ];
}

/** Sums /proc/net/dev over all interfaces but the loopback. */
function countNetwork(dev: string): { received: number; sent: number } {
  let received = 0;
  let sent = 0;
  for (const line of dev.split('\n').slice(2)) {
    const [name, counts] = line.split(':');
    if (counts === undefined || name!.trim() === 'lo') continue;
    const fields = counts.trim().split(/\s+/).map(Number);
    received += fields[0] ?? 0;
    sent += fields[8] ?? 0;
  }
  return { received, sent };
}
