/**
 * The pipeline that people build without us, as a process: plain Node-RED with mqtt in → json → function, which
 * hands points to the `influx` package. That is what the nodes of node-red-contrib-influxdb 0.7.0 do with theirs:
 * one `writePoints` a message, not awaited. Settings come from PEER_… variables.
 */

import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { InfluxDB } from 'influx';
import { PEER_DATABASE, PEER_MEASUREMENT } from './peer-pipeline.ts';
import { PLAIN_TOPIC } from './plain-load.ts';

interface NodeRed {
  init(server: object, settings: object): void;
  start(): Promise<void>;
  readonly events: { on(event: 'node-status', listener: (of: NodeStatus) => void): void };
}

interface NodeStatus {
  readonly id: string;
  readonly status: { readonly fill?: string };
}

/** One message carries one reading or an array of them. */
const TO_POINTS = `
const readings = Array.isArray(msg.payload) ? msg.payload : [msg.payload];
const points = readings.map(({ device, metric, value, ts }) => ({
  measurement: '${PEER_MEASUREMENT}', tags: { device, metric }, fields: { value }, timestamp: ts,
}));
global.get('influx').writePoints(points, { precision: 'ms' }).catch((error) => node.error(error.message, msg));
`;

const { PEER_USER_DIR: userDir = '', PEER_MQTT_PORT: mqttPort, PEER_INFLUX_PORT } = process.env;
process.on('disconnect', () => process.exit(1));
process.on('SIGTERM', () => process.exit(0));

// Ids that are no other property's value: Node-RED takes such a value for a reference.
const flows = [
  { id: 'peer-tab', type: 'tab', label: 'Peer', disabled: false, info: '' },
  {
    id: 'peer-broker',
    type: 'mqtt-broker',
    name: '',
    broker: '127.0.0.1',
    port: mqttPort,
    clientid: 'peer',
    autoConnect: true,
    usetls: false,
    protocolVersion: '4',
    keepalive: '60',
    cleansession: true,
  },
  {
    id: 'peer-in',
    type: 'mqtt in',
    z: 'peer-tab',
    x: 100,
    y: 100,
    topic: PLAIN_TOPIC,
    qos: '1',
    datatype: 'utf8',
    broker: 'peer-broker',
    inputs: 0,
    wires: [['peer-json']],
  },
  {
    id: 'peer-json',
    type: 'json',
    z: 'peer-tab',
    x: 100,
    y: 100,
    property: 'payload',
    action: 'obj',
    wires: [['peer-write']],
  },
  {
    id: 'peer-write',
    type: 'function',
    z: 'peer-tab',
    x: 100,
    y: 100,
    func: TO_POINTS,
    outputs: 0,
    wires: [],
  },
];
writeFileSync(join(userDir, 'flows.json'), JSON.stringify(flows));

const influx = new InfluxDB({
  host: '127.0.0.1',
  port: Number(PEER_INFLUX_PORT),
  database: PEER_DATABASE,
});
const RED = createRequire(import.meta.url)('node-red') as NodeRed;
RED.init(createServer(), {
  userDir,
  flowFile: 'flows.json',
  credentialSecret: 'none is needed',
  httpAdminRoot: false,
  httpNodeRoot: false,
  functionGlobalContext: { influx },
  functionExternalModules: false,
  telemetry: { enabled: false, updateNotification: false },
  logging: { console: { level: 'error', metrics: false, audit: false } },
});
// Green when it is connected: what comes before it has subscribed would be lost.
RED.events.on('node-status', ({ id, status }) => {
  if (id === 'peer-in' && status.fill === 'green') process.send?.({ event: 'ready' });
});
await RED.start();
