/**
 * Topics of a local MQTT broker: zigbee2mqtt, Tasmota, ESPHome and whatever else publishes values or JSON.
 *
 * A message is a value, or JSON in which each metric has a path. Leaves out wildcards: a metric is one thing.
 */

import { list, section, shown, text } from '../schema.ts';
import { metricSpec } from './metric-keys.ts';
import { parseJson, readingsOf, VALUE_KEYS, type ValueKeys } from './metric-value.ts';
import { hearTopics, MQTT_KEYS, type MqttKeys } from './mqtt-subscription.ts';
import type { SensorDriver } from './sensor.ts';

interface TopicKeys {
  readonly topic: string;
  readonly metrics: readonly ValueKeys[];
}

interface MqttOptions extends MqttKeys {
  readonly topics: readonly TopicKeys[];
}

export const mqttDriver: SensorDriver<MqttOptions> = {
  source: 'sensor',
  options: (value, path, problems) => {
    const options = section<MqttOptions>({
      ...MQTT_KEYS,
      topics: list(
        section<TopicKeys>({
          topic: text({
            pattern: /^[^+#\p{Cc}]{1,256}$/u,
            is: 'a topic without wildcards',
            byDefault: null,
          }),
          metrics: list(section<ValueKeys>(VALUE_KEYS), { max: 64 }),
        }),
        { max: 64 },
      ),
    })(value, path, problems);
    const names = options.topics.flatMap(({ metrics }) => metrics.map(({ metric }) => metric));
    if (names.length === 0)
      problems.push(`${path}.topics: expected a topic with metrics, got none`);
    if (names.length > 256)
      problems.push(`${path}.topics: expected at most 256 metrics, got ${names.length}`);
    const twice = names.find((name, at) => names.indexOf(name) < at);
    if (twice !== undefined) {
      problems.push(
        `${path}.topics: expected a name of its own for each metric, got ${shown(twice)} twice`,
      );
    }
    return options;
  },
  async create(context) {
    const { options, bootMs, reject } = context;
    const { topics } = options;
    return {
      kind: 'push',
      source: 'sensor',
      metrics: topics.flatMap(({ metrics }) => metrics.map(metricSpec)),
      run: (emit, signal) =>
        hearTopics({
          keys: options,
          topics: topics.map(({ topic }) => topic),
          context,
          signal,
          onMessage(topic, payload) {
            const metrics = topics.filter((each) => each.topic === topic).flatMap((t) => t.metrics);
            const plain = metrics.filter((keys) => keys.path.length === 0);
            const inside = metrics.filter((keys) => keys.path.length > 0);
            const written = payload.toString('utf8');
            const document = inside.length === 0 ? undefined : parseJson(written, reject);
            const readings = [
              ...readingsOf(written.trim(), plain, reject),
              ...(document === undefined ? [] : readingsOf(document, inside, reject)),
            ];
            if (readings.length > 0) emit({ bootMs: Math.floor(bootMs()), readings });
          },
        }),
    };
  },
};
