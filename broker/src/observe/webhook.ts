/** The webhook of a broker, as it is set; and what it adds to metrics and problems. */

import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { BrokerConfig } from '../config.ts';
import type { Logger } from '../log.ts';
import { type Family, keyed, single } from './exposition.ts';
import { type OpenProblem, openProblem } from './health.ts';
import { WebhookSender } from './webhook-sender.ts';
import { loadWebhookSecret } from './webhook-signature.ts';

/** In the data folder, unless another file is set. */
export const WEBHOOK_SECRET_FILE = 'webhook.secret';

const PREFIX = 'fieldproof_broker_webhook_';

export interface WebhookContext {
  readonly dataDir: string;
  readonly network: string;
  readonly version: string;
  readonly random: (bytes: number) => Uint8Array;
  readonly now: () => number;
  readonly log: Pick<Logger, 'warn'>;
  /** Told of the secret, so that it gets nowhere. */
  readonly onSecret: (secret: string) => void;
}

/**
 * @returns null when no URL is set.
 * @throws {BrokerError} ERR_CONFIG when the secret is too short.
 */
export function openWebhook(
  config: Pick<BrokerConfig, 'webhookUrl' | 'webhookSecretFile' | 'webhookPerSecond'>,
  context: WebhookContext,
): WebhookSender | null {
  const { webhookUrl: url, webhookPerSecond: perSecond } = config;
  if (url === '') return null;
  const { dataDir, network, version, random, now, log, onSecret } = context;
  const file = config.webhookSecretFile || join(dataDir, WEBHOOK_SECRET_FILE);
  const secret = loadWebhookSecret(file, random);
  onSecret(secret);
  const onGivenUp = (event: { readonly event: string }, why: string) =>
    log.warn({ event: 'webhook-given-up', of: event.event, why }, 'webhook: an event is given up');
  return new WebhookSender({
    ...{ url, secret, network, version, perSecond, now, onGivenUp },
    newId: randomUUID,
  });
}

export function webhookProblems(webhook: WebhookSender | null): readonly OpenProblem[] {
  const why = webhook?.trouble ?? null;
  return why === null ? [] : [openProblem('webhook', 'ERR_WEBHOOK', `webhook: ${why}`)];
}

export function webhookFamilies(webhook: WebhookSender | null): readonly Family[] {
  if (webhook === null) return [];
  const { queued, sent, failed, givenUp, dropped } = webhook.counts;
  return [
    single('gauge', `${PREFIX}queue_length`, { help: 'Events to be sent.', value: queued }),
    keyed('counter', `${PREFIX}events_total`, {
      help: 'What became of events.',
      label: 'outcome',
      values: { sent, given_up: givenUp, dropped },
    }),
    single('counter', `${PREFIX}failed_attempts_total`, {
      help: 'Attempts that were not answered with success.',
      value: failed,
    }),
  ];
}
