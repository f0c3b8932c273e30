/** LoRaWAN end devices of a ChirpStack v4 server, by its MQTT integration (JSON marshaler). */

import { lorawanDriver } from './lorawan-sensor.ts';
import { decodeChirpstack } from './lorawan-uplink.ts';

export const chirpstackDriver = lorawanDriver({
  topic: 'application/+/device/+/event/up',
  decode: decodeChirpstack,
});
