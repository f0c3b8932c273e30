/**
 * The whole network on this machine: which package runs in which process, in which order, with which settings.
 * Order: broker, control, flows, agents; stopping is the reverse.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BrokerAdmin, createJoinLine, onLoopback } from './broker-admin.ts';
import { brokerSettings, brokerSettingsAgain, portSetting } from './broker-settings.ts';
import { type ChildEvent, type Ready, SupervisedProcess } from './child-process.ts';
import { type DataFolder, replaceFile } from './data-folder.ts';
import { DEMO_FLEET, LOCAL_AGENT } from './demo-fleet.ts';
import { ownerPhrase, prepareAgents } from './enrol-agents.ts';
import { StackError } from './errors.ts';
import type { StartOptions } from './options.ts';
import { forgetChildren, noteChildren } from './orphans.ts';

/** What people and tests need to reach the network; also in `network.json` of the data folder. */
export interface RunningNetwork {
  readonly network: string;
  readonly broker: {
    readonly http: string;
    readonly mqtt: string;
    readonly https: string | null;
    readonly mqtts: string | null;
    /** Of the plain profile; null without --plain. */
    readonly plain: string | null;
    readonly tokenFile: string;
  };
  readonly control: { readonly url: string; readonly tokenFile: string };
  readonly flows: { readonly url: string; readonly passwordFile: string };
  /** For other devices; null without --lan. */
  readonly joinLine: string | null;
  readonly pids: Readonly<Record<string, number | undefined>>;
}

export interface NetworkEvents {
  /** A process is about to start, or is ready. */
  readonly onStep: (name: string, detail: string | null) => void;
  readonly onChild: (event: ChildEvent) => void;
  /** The first envelope of a device is recorded. */
  readonly onRecorded: (event: { readonly name: string; readonly atMs: number }) => void;
}

const WEEK_HOURS = 168;
const LAN_JOIN_USES = 100;
const RENEWALS = 1000;
/** How long a broker that was killed while the others start may take to be back. */
const BROKER_BACK_MS = 60_000;

export class Network {
  readonly #options: StartOptions;
  readonly #folder: DataFolder;
  readonly #events: NetworkEvents;
  readonly #children: SupervisedProcess[] = [];
  #running: RunningNetwork | null = null;
  #stopping = false;

  constructor(options: StartOptions, folder: DataFolder, events: NetworkEvents) {
    this.#options = options;
    this.#folder = folder;
    this.#events = events;
  }

  /** @throws {StackError} ERR_PROCESS_FAILED; what was started before keeps running until `stop`. */
  async start(): Promise<RunningNetwork> {
    const { demo, lan, portBase, influxUrl } = this.#options;
    const folder = this.#folder;
    const port = (offset: number): number => (portBase === 0 ? 0 : portBase + offset);

    const brokerReady = await this.#run('broker', '@fieldproof/broker/broker-main', {
      env: brokerSettings(this.#options, folder.broker),
      envAgain: brokerSettingsAgain,
    });
    const { network, addresses } = brokerReady as unknown as {
      network: string;
      addresses: Omit<RunningNetwork['broker'], 'tokenFile'>;
    };
    const broker = { ...addresses, tokenFile: join(folder.broker, 'tokens', 'admin') };
    const serviceToken = join(folder.broker, 'tokens', 'service');

    const controlReady = await this.#run('control', '@fieldproof/analytics/control-main', {
      env: {
        FIELDPROOF_CONTROL_DATA_DIR: folder.control,
        FIELDPROOF_CONTROL_PORT: String(port(1)),
        FIELDPROOF_BROKER_URL: broker.http,
        FIELDPROOF_BROKER_TOKEN_FILE: broker.tokenFile,
        FIELDPROOF_CONTROL_KEYS_DIR: join(folder.broker, 'keys'),
        FIELDPROOF_NETWORK: network,
      },
      envAgain: ({ url }) => portSetting('FIELDPROOF_CONTROL_PORT', url),
    });
    const tokenFiles = controlReady.tokenFiles as Readonly<Record<string, string>>;
    const control = { url: String(controlReady.url), tokenFile: String(tokenFiles.admin) };

    const flowsReady = await this.#run('flows', '@fieldproof/flows/flows-main', {
      env: {
        FIELDPROOF_FLOWS_DATA_DIR: folder.flows,
        FIELDPROOF_FLOWS_PORT: String(port(2)),
        FIELDPROOF_FLOWS_BROKER_URL: broker.http,
        FIELDPROOF_FLOWS_TAIL_TOKEN_FILE: serviceToken,
        FIELDPROOF_FLOWS_CONTROL_URL: control.url,
        FIELDPROOF_FLOWS_CONTROL_TOKEN_FILE: String(tokenFiles.flows),
        ...(influxUrl === null ? {} : { INFLUX_URL: influxUrl }),
      },
      envAgain: ({ url }) => portSetting('FIELDPROOF_FLOWS_PORT', url),
    });
    const flows = {
      url: String(flowsReady.url),
      passwordFile: String(flowsReady.passwordFile),
    };

    const admin = { url: broker.http, tokenFile: broker.tokenFile };
    await this.#startAgents(admin, { demo });
    const joinLine = lan
      ? await this.#joinLine(admin, { uses: LAN_JOIN_USES, hours: WEEK_HOURS })
      : null;
    this.#running = { network, broker, control, flows, joinLine, pids: this.#pids() };
    this.#publish();
    return this.#running;
  }

  /** Ends everything in reverse order; resolves when the last process is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const child of this.#children.toReversed()) await child.stop();
    tryTo(() => forgetChildren(this.#folder.root));
  }

  async #startAgents(
    admin: { readonly url: string; readonly tokenFile: string },
    { demo }: { readonly demo: boolean },
  ): Promise<void> {
    const { agents: folder } = this.#folder;
    const phrase = await ownerPhrase(join(folder, 'owner-phrase'));
    const token = await this.#joinLine(admin, { uses: RENEWALS, hours: WEEK_HOURS });
    const joinLine = onLoopback(token, admin.url);
    const context = { folder, joinLine, phrase };
    const groups = [
      { name: 'agent', devices: [LOCAL_AGENT] },
      ...(demo ? [{ name: 'fleet', devices: DEMO_FLEET }] : []),
    ];
    for (const { name, devices } of groups) {
      const folders = await prepareAgents(devices, context);
      await this.#run(name, '@fieldproof/stack/agents-main', { args: folders, env: {} });
    }
  }

  /** A broker that is being started again is waited for. */
  #joinLine(admin: BrokerAdmin, token: Parameters<typeof createJoinLine>[1]): Promise<string> {
    const patience = { limitMs: BROKER_BACK_MS, isOver: () => this.#stopping };
    return createJoinLine(admin, token, patience);
  }

  #pids(): RunningNetwork['pids'] {
    return Object.fromEntries(this.#children.map(({ name, pid }) => [name, pid]));
  }

  /** What people and programs read; process ids change when a process is started again. */
  #publish(): void {
    if (this.#running === null || this.#stopping) return;
    this.#running = { ...this.#running, pids: this.#pids() };
    const text = `${JSON.stringify(this.#running, null, 2)}\n`;
    tryTo(() => replaceFile(join(this.#folder.root, 'network.json'), text));
  }

  #noteChildren(): void {
    const living = this.#children.flatMap(({ identity }) => identity ?? []);
    tryTo(() => noteChildren(this.#folder.root, living));
  }

  async #run(
    name: string,
    module: string,
    settings: {
      readonly args?: readonly string[];
      readonly env: Readonly<Record<string, string>>;
      readonly envAgain?: (first: Ready) => Readonly<Record<string, string>>;
    },
  ): Promise<Ready> {
    if (this.#stopping) throw new StackError('ERR_PROCESS_FAILED', `${name}: stopped meanwhile`);
    this.#events.onStep(name, null);
    const child = new SupervisedProcess({
      name,
      entry: fileURLToPath(import.meta.resolve(module)),
      args: settings.args ?? [],
      env: settings.env,
      ...(settings.envAgain && { envAgain: settings.envAgain }),
      maxPauseMs: this.#options.maxRestartPauseMs,
      logFile: join(this.#folder.logs, `${name}.log`),
      onSpawn: () => this.#noteChildren(),
      onGone: () => this.#noteChildren(),
      onEvent: (event) => {
        this.#publish();
        this.#events.onChild(event);
      },
      onMessage: (message) => {
        if (message.event !== 'recorded') return;
        this.#events.onRecorded({ name: String(message.name), atMs: Number(message.atMs) });
      },
    });
    this.#children.push(child);
    const ready = await child.start();
    this.#events.onStep(name, String(ready.url ?? ''));
    return ready;
  }
}

/** Reads a secret that a process left for people of this machine. */
export function readSecret(path: string): string {
  return readFileSync(path, 'utf8').trim();
}

/** A full disk must not end the supervisor: what it writes is for others to read. */
function tryTo(write: () => void): void {
  try {
    write();
  } catch {
    // the next change writes it again
  }
}
