/**
 * The demo fleet: eight devices that replay recorded sensor data (stack/demo/data/SOURCE.md), and the agent of
 * this machine. As data: names, files and agent configurations.
 */

import { resolve } from 'node:path';

export interface DemoDevice {
  readonly name: string;
  /** The text of its agent.yaml. */
  readonly configYaml: string;
  /** What it replays: copied into its folder, which then outlives this installation. */
  readonly recording: string | null;
}

const DATA = resolve(import.meta.dirname, '../demo/data');
/** One recorded row is played a second. */
const HOURLY = 3600;
const FIVE_MINUTES = 300;

interface Column {
  readonly column: string;
  readonly metric: string;
  readonly unit: string;
  readonly resolution?: number;
}

const ROADSIDE_COLUMNS: readonly Column[] = [
  { column: 'T', metric: 'temperature', unit: 'Cel', resolution: 0.1 },
  { column: 'RH', metric: 'humidity', unit: '%RH', resolution: 0.1 },
  { column: 'AH', metric: 'absolute_humidity', unit: 'g/m3', resolution: 0.0001 },
  { column: 'CO_GT', metric: 'carbon_monoxide', unit: 'mg/m3', resolution: 0.1 },
  { column: 'C6H6_GT', metric: 'benzene', unit: 'ug/m3', resolution: 0.1 },
  { column: 'NOx_GT', metric: 'nitrogen_oxides', unit: 'ppb', resolution: 1 },
  { column: 'NO2_GT', metric: 'nitrogen_dioxide', unit: 'ug/m3', resolution: 1 },
];

/** The agent of this machine's own sensors. */
export const LOCAL_AGENT: DemoDevice = {
  name: 'this-machine',
  recording: null,
  configYaml: `# The agent that npm start runs. All keys: device-agent/agent.example.yaml.
name: this-machine
sensors:
  - driver: system
    profile: system
    intervalMs: 2000
batch:
  sealEveryMs: 4000
`,
};

export const DEMO_FLEET: readonly DemoDevice[] = [
  ...['april', 'may', 'june', 'july', 'august'].map((month) =>
    replaying({
      name: `roadside-${month}`,
      profile: 'air',
      file: `roadside-${month}.csv`,
      time: ['column: Date', 'timeColumn: Time', 'format: dmy'],
      columns: ROADSIDE_COLUMNS,
      speed: HOURLY,
      extra: ['missing: ["-200"]'],
    }),
  ),
  replaying({
    name: 'machine-temperature',
    profile: 'machine',
    file: 'machine-temperature.csv',
    columns: [{ column: 'value', metric: 'temperature', unit: '', resolution: 0.01 }],
    speed: FIVE_MINUTES,
  }),
  replaying({
    name: 'traffic-occupancy',
    profile: 'traffic',
    file: 'traffic-occupancy.csv',
    columns: [{ column: 'value', metric: 'occupancy', unit: '%', resolution: 0.01 }],
    speed: FIVE_MINUTES,
  }),
  replaying({
    name: 'traffic-speed',
    profile: 'traffic',
    file: 'traffic-speed.csv',
    columns: [{ column: 'value', metric: 'speed', unit: '', resolution: 1 }],
    speed: FIVE_MINUTES,
  }),
];

function replaying(device: {
  readonly name: string;
  readonly profile: string;
  readonly file: string;
  readonly time?: readonly string[];
  readonly columns: readonly Column[];
  /** Recorded seconds a second. */
  readonly speed: number;
  readonly extra?: readonly string[];
}): DemoDevice {
  const time = device.time ?? ['column: timestamp', 'format: iso'];
  const lines = [
    `# Replays ${device.file}; source and licence: demo/data/SOURCE.md of the package @fieldproof/stack.`,
    `name: ${device.name}`,
    'sensors:',
    '  - driver: replay',
    `    profile: ${device.profile}`,
    `    file: ${device.file}`,
    '    time:',
    ...time.map((line) => `      ${line}`),
    '    columns:',
    ...device.columns.map((column) => `      - ${JSON.stringify(column)}`),
    `    speed: ${device.speed}`,
    '    loop: true',
    ...(device.extra ?? []).map((line) => `    ${line}`),
    'batch:',
    '  sealEveryMs: 5000',
  ];
  return {
    name: device.name,
    configYaml: `${lines.join('\n')}\n`,
    recording: resolve(DATA, device.file),
  };
}
