/** The MQTT side in the metrics: the door, the devices' broker and the plain profile. Pure. */

import type { MqttStatus } from '../mqtt/mqtt-status.ts';
import type { PlainStatus } from '../mqtt/plain/plain-status.ts';
import { type Family, keyed, single } from './exposition.ts';

const PREFIX = 'fieldproof_broker_';

/** Labels are reasons and clauses of the program's own, never what a client sent. */
export function mqttFamilies(mqtt: MqttStatus): readonly Family[] {
  return [
    gauge('mqtt_connections', 'Open MQTT connections.', mqtt.connections),
    gauge('mqtt_pending_connections', 'Those that have not logged in.', mqtt.pending),
    gauge('mqtt_handshakes', 'TLS handshakes under way.', mqtt.handshakes),
    gauge('mqtt_held_bytes', 'Of packets that have not come whole.', mqtt.heldBytes),
    gauge('mqtt_sessions', 'Devices that are logged in.', mqtt.sessions),
    keyed('counter', `${PREFIX}mqtt_refused_total`, {
      help: 'Connections ended by a rule, by clause, and refused logins by return code.',
      label: 'clause',
      values: mqtt.refused,
    }),
    gauge('mqtt_paused_connections', 'Connections held back by maxPendingBytes.', mqtt.paused),
    gauge(
      'mqtt_full_connections',
      'Connections held back by maxInFlight or maxInFlightBytes.',
      mqtt.full,
    ),
    gauge('mqtt_over_rate_connections', 'Connections held back by a rate.', mqtt.overRate),
    gauge('pending_bytes', 'Taken in and not settled.', mqtt.pendingBytes),
  ];
}

/** Labels are error codes. */
export function plainFamilies(plain: PlainStatus): readonly Family[] {
  return [
    gauge('plain_sessions', 'Sessions of plain clients, connected or kept.', plain.sessions),
    gauge('plain_connections', 'Plain clients that are connected.', plain.online),
    gauge('plain_subscriptions', 'Subscriptions of all of them.', plain.subscriptions),
    gauge('plain_subscription_bytes', 'What they cost.', plain.subscriptionBytes),
    gauge('plain_retained_messages', 'Retained messages.', plain.retained),
    gauge('plain_retained_bytes', 'What they hold.', plain.retainedBytes),
    gauge('plain_queued_messages', 'On their way to clients, or waiting.', plain.queued),
    gauge('plain_queued_bytes', 'What they hold.', plain.queuedBytes),
    gauge('plain_unsent_bytes', 'Sent to them and not taken.', plain.unsentBytes),
    gauge('plain_over_rate_connections', 'Plain clients held back by a rate.', plain.overRate),
    counter('plain_messages_received_total', 'PUBLISH packets of plain clients.', plain.received),
    counter('plain_messages_delivered_total', 'PUBLISH packets sent to them.', plain.delivered),
    keyed('counter', `${PREFIX}plain_refused_total`, {
      help: 'What was refused or dropped of plain clients, by code.',
      label: 'code',
      values: plain.refused,
    }),
  ];
}

function gauge(name: string, help: string, value: number): Family {
  return single('gauge', `${PREFIX}${name}`, { help, value });
}

function counter(name: string, help: string, value: number): Family {
  return single('counter', `${PREFIX}${name}`, { help, value });
}
