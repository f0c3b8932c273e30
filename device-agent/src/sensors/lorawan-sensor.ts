/**
 * End devices that have no key of this network, heard through a LoRaWAN network server's MQTT: this device signs for
 * them, as the gateway that it is, and says so in the name: `node:<id>/<metric>` (docs/spec/telemetry.md 1.9).
 */

import { type Check, integer, list, section, text } from '../schema.ts';
import { FIELD_KEYS, metricsOf } from './lorawan-metrics.ts';
import type { Uplink } from './lorawan-uplink.ts';
import { parseJson, type ValueKeys } from './metric-value.ts';
import { hearTopics, MQTT_KEYS, type MqttKeys } from './mqtt-subscription.ts';
import type { MetricSpec, Reading, SensorContext, SensorDriver } from './sensor.ts';

/** As many as a birth can name. */
const MAX_METRICS = 256;
const MAX_METRIC_CHARS = 64;

export interface LorawanOptions extends MqttKeys {
  readonly topic: string;
  readonly nodes: readonly string[];
  readonly metrics: readonly ValueKeys[];
  readonly maxAgeMs: number;
}

/** A driver for one network server. @param decode - gives undefined for what is none of its uplinks. */
export function lorawanDriver(server: {
  readonly topic: string;
  readonly decode: (document: unknown) => Uplink | undefined;
}): SensorDriver<LorawanOptions> {
  return {
    source: 'sensor',
    options: optionsOf(server.topic),
    async create(context) {
      const { options, bootMs, reject } = context;
      const metrics: MetricSpec[] = [];
      const wanted = new Set(options.nodes.map((node) => node.toLowerCase()));
      const take = (payload: Buffer): { bootMs: number; readings: Reading[] } | undefined => {
        const document = parseJson(payload.toString('utf8'), reject);
        if (document === undefined) return undefined;
        const uplink = server.decode(document);
        if (uplink === undefined) {
          reject('malformed', 'expected an uplink with the id of its device');
          return undefined;
        }
        const { node, decoded } = uplink;
        if (wanted.size > 0 && !wanted.has(node.toLowerCase())) return undefined;
        const readings: Reading[] = [];
        for (const { spec, value } of metricsOf(decoded, options.metrics, reject)) {
          const metric = `node:${node}/${spec.metric}`;
          if (metric.length > MAX_METRIC_CHARS) {
            reject('too-long', metric);
            continue;
          }
          if (!metrics.some((each) => each.metric === metric)) {
            if (metrics.length >= MAX_METRICS) {
              reject('too-many-metrics', metric);
              continue;
            }
            metrics.push({ ...spec, metric });
          }
          readings.push({ metric, value });
        }
        return { bootMs: placed(uplink, context, Math.floor(bootMs())), readings };
      };
      return {
        kind: 'push',
        source: 'sensor',
        metrics,
        run: (emit, signal) =>
          hearTopics({
            keys: options,
            topics: [options.topic],
            context,
            signal,
            onMessage(_topic, payload) {
              const sample = take(payload);
              if (sample !== undefined && sample.readings.length > 0) emit(sample);
            },
          }),
      };
    },
  };
}

/** When it was measured: the network server's time where both clocks agree well enough, else now. */
function placed(
  { timeMs }: Uplink,
  { wallOffsetMs, options }: SensorContext<LorawanOptions>,
  nowMs: number,
): number {
  const offsetMs = wallOffsetMs();
  if (timeMs === undefined || offsetMs === undefined) return nowMs;
  const atMs = timeMs - offsetMs;
  return atMs <= nowMs && nowMs - atMs <= options.maxAgeMs ? atMs : nowMs;
}

function optionsOf(topic: string): Check<LorawanOptions> {
  return section<LorawanOptions>({
    ...MQTT_KEYS,
    topic: text({
      pattern: /^[^\p{Cc}]{1,256}$/u,
      is: 'a topic, with wildcards',
      byDefault: topic,
    }),
    nodes: list(
      text({
        pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$/,
        is: 'an id of a device',
        byDefault: null,
      }),
      { max: 256 },
    ),
    metrics: list(section<ValueKeys>(FIELD_KEYS), { max: 64 }),
    maxAgeMs: integer({ min: 0, max: 604_800_000, byDefault: 3_600_000 }),
  });
}
