/** Honest devices while strangers besiege the broker: everything is acknowledged, attackers are cut. Counts, no times. */

import { type BrokerUnderTest, startBroker, startLoad } from '@fieldproof/bench/network-under-test';
import { temporaryFolder, withResources } from '@fieldproof/bench/resources';
import { attackers, besiege, STRANGERS_ENV } from '@fieldproof/bench/siege';
import { expect, test } from '@jest/globals';
import { TestDevice, until } from './support/device.ts';

const HONEST = 5;
const MESSAGES = 100;
const ATTACKING_DEVICES = 4;

async function deviceOf({ http, mqttPort, joinLine }: BrokerUnderTest): Promise<TestDevice> {
  const line = await joinLine(1);
  const network = /\/([a-z2-7]{8})\?/.exec(line)![1]!;
  const device = new TestDevice({ http, mqtt: `mqtt://127.0.0.1:${mqttPort}`, network });
  await device.enrol(line);
  return device;
}

test('honest devices are served, new ones get in, attackers are cut', async () => {
  await withResources(async (own) => {
    const broker = await startBroker(own, {
      folder: temporaryFolder(own),
      profileFolder: null,
      tls: true,
      rated: true,
      env: {
        ...STRANGERS_ENV,
        FIELDPROOF_BROKER_MAX_PENDING_PER_ADDRESS: '10',
        FIELDPROOF_BROKER_MAX_PENDING: '25',
        FIELDPROOF_BROKER_MAX_HANDSHAKES: '5',
        FIELDPROOF_BROKER_PACKET_TIMEOUT_MS: '300',
      },
    });
    const { http, mqttPort } = broker;
    const load = await startLoad(own, {
      ...{ type: 'fleet', http, mqttPort, devices: HONEST, format: 'senml' },
      joinLine: await broker.joinLine(HONEST),
      batchesPerDevice: MESSAGES,
    });
    const siege = await besiege(own, {
      ...{ http, mqttPort, mqttsPort: broker.mqttsPort!, devices: ATTACKING_DEVICES },
      joinLine: await broker.joinLine(ATTACKING_DEVICES),
      attacks: attackers(0.05),
    });
    const late = await deviceOf(broker);
    own(() => late.close());
    await late.connect();
    await late.publish('telemetry', late.seal());
    const result = await load.run({ order: 'run', messages: MESSAGES, window: 20, rate: null });
    expect(result.messages).toBe(MESSAGES);
    const kinds = ['slow CONNECT', 'open handshake', 'half packet', 'garbage', 'bad login'];
    let counts = await siege.counts();
    for (let tries = 0; kinds.some((kind) => counts[kind]!.cut === 0) && tries < 300; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      counts = await siege.counts();
    }
    for (const kind of kinds) expect([kind, counts[kind]!.cut > 0]).toEqual([kind, true]);
    expect(counts['half packet']).toMatchObject({ opened: ATTACKING_DEVICES - 1 });
    expect(counts.forgeries).toMatchObject({ opened: 1, cut: 0 });
    expect(counts.forgeries!.acknowledged).toBeGreaterThan(0);
    const { accepted, rejected } = await broker.verdicts();
    // A birth of each honest device is with its telemetry.
    expect(accepted).toBe(HONEST + MESSAGES + 1);
    expect(rejected).toBeGreaterThanOrEqual(counts.forgeries!.acknowledged);
    await until(() => late.client!.connected, 'the late one is still there');
  });
});
