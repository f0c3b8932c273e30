/** With which settings the broker runs below `npm start`: its ports, and which of its listeners open. Pure. */

import type { Ready } from './child-process.ts';
import type { StartOptions } from './options.ts';

type Env = Readonly<Record<string, string>>;

/** Of the first start. */
export function brokerSettings(
  { lan, plain, portBase }: Pick<StartOptions, 'lan' | 'plain' | 'portBase'>,
  dataDir: string,
): Env {
  const port = (offset: number): string => String(portBase === 0 ? 0 : portBase + offset);
  return {
    FIELDPROOF_BROKER_DATA_DIR: dataDir,
    FIELDPROOF_BROKER_HTTP_PORT: port(0),
    FIELDPROOF_BROKER_CONTROL_PORT: port(1),
    FIELDPROOF_BROKER_MQTT_PORT: port(3),
    FIELDPROOF_BROKER_MQTTS_PORT: port(4),
    FIELDPROOF_BROKER_HTTPS_PORT: port(5),
    FIELDPROOF_BROKER_LAN: lan ? '1' : '0',
    ...(plain && { FIELDPROOF_BROKER_PLAIN_PORT: port(8) }),
  };
}

/** Of every later one: everybody knows its addresses by now. */
export function brokerSettingsAgain({ addresses }: Ready): Env {
  const { http, https, mqtt, mqtts, plain } = addresses as Record<string, string | null>;
  return {
    ...portSetting('FIELDPROOF_BROKER_HTTP_PORT', http),
    ...portSetting('FIELDPROOF_BROKER_HTTPS_PORT', https),
    ...portSetting('FIELDPROOF_BROKER_MQTT_PORT', mqtt),
    ...portSetting('FIELDPROOF_BROKER_MQTTS_PORT', mqtts),
    ...portSetting('FIELDPROOF_BROKER_PLAIN_PORT', plain),
  };
}

/** The port of an address, as a setting; none where there is no such listener. */
export function portSetting(name: string, address: unknown): Env {
  if (typeof address !== 'string') return {};
  const { port } = new URL(address);
  return port === '' ? {} : { [name]: port };
}
