/** First row of the verdict table: topic, retain flag and quality of service. docs/spec/settlement.md section 1.3. */

import { isUpKind, parseTopic, type Topic, type UpKind } from '@fieldproof/protocol/topics';
import type { BrokerErrorCode } from '../errors.ts';

export interface Publish {
  readonly topic: string;
  readonly retain: boolean;
  readonly qos: number;
}

export type TopicVerdict =
  | { readonly ok: true; readonly kind: UpKind }
  | { readonly ok: false; readonly code: BrokerErrorCode; readonly message: string };

/** Whether a session may publish this; docs/spec/topics.md section 3. */
export function judgeTopic(
  publish: Publish,
  session: { readonly network: string; readonly deviceId: string },
): TopicVerdict {
  const topic = topicOf(publish.topic);
  if (topic !== null && topic.network !== session.network) {
    return refuse('ERR_WRONG_NETWORK', `network: expected ${session.network}`);
  }
  if (topic === null || topic.deviceId !== session.deviceId || !isUpKind(topic.kind)) {
    return refuse(
      'ERR_TOPIC_FORBIDDEN',
      `topic: expected fp/1/${session.network}/d/<self>/<up kind>`,
    );
  }
  if (publish.retain) return refuse('ERR_RETAINED', 'retain: expected no retain flag');
  if (publish.qos > 1) return refuse('ERR_QOS', 'QoS: expected 1');
  return { ok: true, kind: topic.kind };
}

function topicOf(name: string): Topic | null {
  try {
    return parseTopic(name);
  } catch {
    return null;
  }
}

function refuse(code: BrokerErrorCode, message: string): TopicVerdict {
  return { ok: false, code, message };
}
