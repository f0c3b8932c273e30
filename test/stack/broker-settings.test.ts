import { summary } from '@fieldproof/stack/announce';
import { brokerSettings, brokerSettingsAgain } from '@fieldproof/stack/broker-settings';
import { expect, test } from '@jest/globals';

const PLAIN_PORT = 'FIELDPROOF_BROKER_PLAIN_PORT';

test('--plain opens the plain profile, eight ports above the first or at a free one', () => {
  const settings = (plain: boolean, portBase: number) =>
    brokerSettings({ lan: false, plain, portBase }, '/data');
  expect(settings(true, 7880)[PLAIN_PORT]).toBe('7888');
  expect(settings(true, 0)[PLAIN_PORT]).toBe('0');
  expect(settings(false, 7880)).not.toHaveProperty(PLAIN_PORT);
});

test('a broker that is started again has the ports that it had', () => {
  const addresses = {
    ...{ http: 'http://127.0.0.1:40001', mqtt: 'mqtt://127.0.0.1:40002' },
    ...{ https: null, mqtts: null, plain: 'mqtt://127.0.0.1:40003' },
  };
  expect(brokerSettingsAgain({ event: 'ready', addresses } as never)).toEqual({
    FIELDPROOF_BROKER_HTTP_PORT: '40001',
    FIELDPROOF_BROKER_MQTT_PORT: '40002',
    [PLAIN_PORT]: '40003',
  });
});

test('what npm start prints has the address of the plain profile, where it is open', () => {
  const shown = (plain: string | null) =>
    summary(
      {
        network: 'h7dz6lhl',
        broker: {
          ...{ http: 'http://127.0.0.1:1', mqtt: 'mqtt://127.0.0.1:2', https: null, mqtts: null },
          ...{ plain, tokenFile: '/t' },
        },
        control: { url: 'http://127.0.0.1:3', tokenFile: '/t' },
        flows: { url: 'http://127.0.0.1:4', passwordFile: '/p' },
        joinLine: null,
        pids: {},
      },
      { controlToken: 'a', editorPassword: 'b', dataDir: '/d', store: 'embedded' },
    );
  expect(shown('mqtt://127.0.0.1:7888')).toMatch(/MQTT tools +mqtt:\/\/127\.0\.0\.1:7888/);
  expect(shown(null)).not.toContain('MQTT tools');
});
