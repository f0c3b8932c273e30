/**
 * What a device without Fieldproof would run: mqtt.js that publishes its readings as JSON at QoS 1, unsigned and unkept.
 * Arguments: address of the broker, readings an instant, ms between instants.
 */

import mqtt from 'mqtt';

const [url, readings, intervalMs] = process.argv.slice(2);
const client = mqtt.connect(url, { clientId: 'unsigned-publisher', queueQoSZero: false });
setInterval(() => {
  const timestamp = Date.now();
  const sample = Array.from({ length: Number(readings) }, (_, i) => ({
    metric: `metric${i}`,
    value: 20 + Math.random(),
    unit: 'Cel',
    timestamp,
  }));
  client.publish('sensors/room', JSON.stringify(sample), { qos: 1 });
}, Number(intervalMs));
