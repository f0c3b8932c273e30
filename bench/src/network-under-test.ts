/** The processes of a network as they are deployed, on free ports and in one temporary folder. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, type Message, startModule } from './child.ts';
import type { LoadResult } from './load-generator.ts';
import type { LoadOrder, LoadPlan } from './load-main.ts';
import type { RawLibrary, RawVerification } from './raw-verify.ts';
import type { Own } from './resources.ts';

export interface BrokerUnderTest {
  readonly child: Child;
  readonly http: string;
  readonly mqttPort: number;
  /** With `tls`. */
  readonly mqttsPort: number | null;
  readonly dataDir: string;
  /** `verdicts` of `GET /admin/status`, settled: nothing is in flight. */
  verdicts(): Promise<Verdicts>;
  joinLine(uses: number): Promise<string>;
}

export interface Verdicts {
  readonly received: number;
  readonly accepted: number;
  readonly duplicate: number;
  readonly rejected: number;
  readonly inFlight: number;
}

export interface Load {
  readonly child: Child;
  run(
    run: Extract<LoadOrder, { order: 'run' }>,
  ): Promise<LoadResult & { readonly receipts: number }>;
  /** Raw verification of the same messages on one thread of the load generator. */
  verify(library: RawLibrary, messages: number): Promise<RawVerification>;
}

/** Starts `broker-main`. Limits on enrolment, and without `rated` on what one device or owner may send, are lifted; everything else is as it comes. */
export async function startBroker(
  own: Own,
  options: {
    readonly folder: string;
    readonly profileFolder: string | null;
    readonly nodeArgs?: readonly string[];
    /** With a TLS listener as well. */
    readonly tls?: boolean;
    /** With the limits on what one device or owner may send. */
    readonly rated?: boolean;
    /** Further settings. */
    readonly env?: Readonly<Record<string, string>>;
  },
): Promise<BrokerUnderTest> {
  const dataDir = join(options.folder, 'broker');
  const child = await startModule({
    name: 'broker',
    module: '@fieldproof/broker/broker-main',
    profileFolder: options.profileFolder,
    nodeArgs: options.nodeArgs ?? [],
    env: {
      FIELDPROOF_BROKER_DATA_DIR: dataDir,
      FIELDPROOF_BROKER_HTTP_PORT: '0',
      FIELDPROOF_BROKER_MQTT_PORT: '0',
      FIELDPROOF_BROKER_LOG_LEVEL: 'warn',
      FIELDPROOF_BROKER_HELLO_PER_SECOND: '0',
      FIELDPROOF_BROKER_ENROL_PER_SECOND: '0',
      ...(!options.rated && {
        FIELDPROOF_BROKER_DEVICE_MESSAGES_PER_SECOND: '0',
        FIELDPROOF_BROKER_DEVICE_BYTES_PER_SECOND: '0',
        FIELDPROOF_BROKER_OWNER_MESSAGES_PER_SECOND: '0',
      }),
      ...(options.tls && {
        FIELDPROOF_BROKER_LAN: '1',
        FIELDPROOF_BROKER_LAN_HOST: '127.0.0.1',
        FIELDPROOF_BROKER_HTTPS_PORT: '0',
        FIELDPROOF_BROKER_MQTTS_PORT: '0',
      }),
      ...options.env,
    },
  });
  own(() => child.stop());
  const { addresses } = child.ready as Message & {
    addresses: { readonly http: string; readonly mqtt: string; readonly mqtts: string | null };
  };
  const call = async (path: string, body?: object): Promise<unknown> => {
    const token = readFileSync(join(dataDir, 'tokens', 'admin'), 'utf8').trim();
    const answer = await fetch(`${addresses.http}${path}`, {
      method: body ? 'POST' : 'GET',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  return {
    child,
    dataDir,
    http: addresses.http,
    mqttPort: Number(new URL(addresses.mqtt).port),
    mqttsPort: addresses.mqtts === null ? null : Number(new URL(addresses.mqtts).port),
    verdicts: async () => ((await call('/admin/status')) as { verdicts: Verdicts }).verdicts,
    joinLine: async (uses) =>
      ((await call('/admin/tokens', { uses })) as { joinLine: string }).joinLine,
  };
}

/** Starts Node-RED with our nodes; every reading goes to InfluxDB. */
export async function startFlows(
  own: Own,
  options: {
    readonly folder: string;
    readonly broker: BrokerUnderTest;
    readonly influxUrl: string;
    readonly profileFolder: string | null;
    readonly nodeArgs?: readonly string[];
    /** Default: everything to the store; `shipped`: the one that a new installation begins with. */
    readonly flow?: readonly object[] | 'shipped';
    readonly control?: { readonly url: string; readonly tokenFile: string };
  },
): Promise<Child> {
  const dataDir = join(options.folder, 'flows');
  const { flow = STORE_FLOW } = options;
  if (flow !== 'shipped') {
    mkdirSync(join(dataDir, 'node-red'), { recursive: true });
    writeFileSync(join(dataDir, 'node-red', 'flows.json'), JSON.stringify(flow));
  }
  const child = await startModule({
    name: 'flows',
    module: '@fieldproof/flows/flows-main',
    profileFolder: options.profileFolder,
    nodeArgs: options.nodeArgs ?? [],
    env: {
      ...(options.control && {
        FIELDPROOF_FLOWS_CONTROL_URL: options.control.url,
        FIELDPROOF_FLOWS_CONTROL_TOKEN_FILE: options.control.tokenFile,
      }),
      FIELDPROOF_FLOWS_DATA_DIR: dataDir,
      FIELDPROOF_FLOWS_PORT: '0',
      FIELDPROOF_FLOWS_BROKER_URL: options.broker.http,
      FIELDPROOF_FLOWS_TAIL_TOKEN_FILE: join(options.broker.dataDir, 'tokens', 'service'),
      INFLUX_URL: options.influxUrl,
    },
  });
  own(() => child.stop());
  return child;
}

/** Starts a load generator, with everything made and connected. */
export async function startLoad(own: Own, plan: LoadPlan): Promise<Load> {
  const child = await startModule({ name: 'load', module: '@fieldproof/bench/load-main' });
  own(() => child.stop());
  const ask = (order: LoadOrder, answer: string) => child.ask(order, answer);
  await ask({ order: 'prepare', plan }, 'prepared');
  return {
    child,
    run: async (run) => (await ask(run, 'result')) as unknown as Awaited<ReturnType<Load['run']>>,
    verify: async (library, messages) =>
      (await ask({ order: 'verify', library, messages }, 'verified')) as unknown as RawVerification,
  };
}

/** Telemetry to the store. */
export const STORE_FLOW = [
  { id: 'tab', type: 'tab', label: 'Bench', disabled: false, info: '' },
  {
    id: 'network',
    type: 'fieldproof-network',
    name: '',
    brokerUrl: '',
    tailTokenFile: '',
    storeUrl: '',
    storeTokenFile: '',
    influxUrl: '',
    influxDatabase: '',
  },
  {
    id: 'telemetry',
    type: 'fieldproof-telemetry',
    z: 'tab',
    name: '',
    network: 'network',
    mode: 'handle',
    rate: 5000,
    wires: [['store']],
  },
  { id: 'store', type: 'fieldproof-store', z: 'tab', name: '', network: 'network', wires: [] },
];
