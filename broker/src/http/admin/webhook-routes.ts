/** `POST /admin/webhook/test`: sends a sample to the webhook and says how it was answered. */

import type { FastifyInstance } from 'fastify';
import { BrokerError } from '../../errors.ts';
import type { WebhookSender } from '../../observe/webhook-sender.ts';

export interface WebhookRoutesOptions {
  /** Null when none is set. */
  readonly webhook: Pick<WebhookSender, 'attempt' | 'counts' | 'target'> | null;
  readonly now: () => number;
}

export function addWebhookRoutes(
  app: FastifyInstance,
  { webhook, now }: WebhookRoutesOptions,
): void {
  app.post('/admin/webhook/test', { config: { scope: 'admin', takes: [] } }, async () => {
    if (webhook === null) {
      throw new BrokerError('ERR_REQUEST', 'webhook: none is set; webhookUrl names one');
    }
    const answer = await webhook.attempt({ event: 'test', at: now() });
    return { url: webhook.target, ...answer, counts: webhook.counts };
  });
}
