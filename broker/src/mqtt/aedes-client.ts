/**
 * What we know of Aedes' clients beyond their API, as of Aedes 1.2 and mqtt-packet 9: each of these does nothing where a
 * field is not there. What they are for is tested in test/broker, so a new version that has other fields is noticed.
 */

import type { Client } from 'aedes';

/** Fields of the keep-alive. */
export type KeptAlive = Client & {
  _keepaliveTimer: NodeJS.Timeout | null;
  readonly _keepaliveInterval: number;
};

interface PacketList {
  readonly length: number;
  readonly constructor: { readonly BufferList?: new () => PacketList };
}

const PARSER_SETTINGS = Object.freeze({ protocolVersion: 4 });

/**
 * mqtt-packet keeps the CONNECT, login and all that came with it, for its protocol version; and its buffer is a stream
 * with two stream states, of which it uses the list within only. Together that is a tenth of what an idle device costs.
 */
export function slimParser(client: Client): void {
  const { _parser: parser } = client as Client & {
    readonly _parser?: { settings?: object; _list?: PacketList };
  };
  if (parser === undefined) return;
  parser.settings = PARSER_SETTINGS;
  const { _list: list } = parser;
  const BufferList = list?.constructor.BufferList;
  if (list?.length === 0 && BufferList !== undefined) parser._list = new BufferList();
}

/** Has `onSilence` told of a client instead of Aedes' own listener; Aedes refreshes and clears the timer as before. */
export function watchSilence(client: Client, onSilence: (client: KeptAlive) => void): void {
  const kept = client as KeptAlive;
  if (!kept._keepaliveTimer) return;
  clearTimeout(kept._keepaliveTimer);
  kept._keepaliveTimer = setTimeout(onSilence, kept._keepaliveInterval, kept);
}

/** The quality of service under which a client has subscribed to a topic of its own, at most 1; null when it has not. */
export function subscribedQos(client: Client, topic: string): 0 | 1 | null {
  const { subscriptions } = client as Client & {
    readonly subscriptions: Readonly<Record<string, { readonly qos: number } | undefined>>;
  };
  const any = `${topic.slice(0, topic.lastIndexOf('/'))}/+`;
  const qos = [subscriptions[topic]?.qos, subscriptions[any]?.qos].filter((q) => q !== undefined);
  return qos.length === 0 ? null : Math.max(...qos) > 0 ? 1 : 0;
}
