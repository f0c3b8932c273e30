/** LoRaWAN end devices of The Things Stack v3, by its MQTT server or a webhook that a local broker repeats. */

import { lorawanDriver } from './lorawan-sensor.ts';
import { decodeTtn } from './lorawan-uplink.ts';

export const ttnDriver = lorawanDriver({ topic: 'v3/+/devices/+/up', decode: decodeTtn });
