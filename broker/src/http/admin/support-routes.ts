/** `GET /admin/support`: what the running broker adds to a support bundle. */

import type { FastifyInstance } from 'fastify';
import type { BrokerConfig } from '../../config.ts';
import type { DeviceCounts } from '../../observe/device-counts.ts';
import { type Family, formatMetrics } from '../../observe/exposition.ts';
import type { Health } from '../../observe/health.ts';
import type { LogRing } from '../../observe/log-ring.ts';
import { redactConfig } from '../../observe/redacted-config.ts';
import { VERSION } from '../../observe/version.ts';
import type { CertificateDates } from '../../tls/certificate-dates.ts';

export interface SupportRoutesOptions {
  readonly config: BrokerConfig;
  readonly status: () => object;
  readonly health: Pick<Health, 'problems'>;
  readonly metrics: () => Promise<readonly Family[]>;
  readonly ring: LogRing;
  readonly deviceCounts: () => DeviceCounts;
  readonly certificateDates: () => Readonly<Record<string, CertificateDates>>;
}

export function addSupportRoutes(app: FastifyInstance, options: SupportRoutesOptions): void {
  app.get('/admin/support', { config: { scope: 'admin' } }, async (_request, reply) => {
    reply.header('cache-control', 'no-store');
    return {
      versions: { broker: VERSION, node: process.version },
      config: redactConfig(options.config),
      status: options.status(),
      problems: await options.health.problems(),
      metrics: formatMetrics(await options.metrics()).split('\n'),
      log: options.ring.lines(),
      devices: options.deviceCounts(),
      certificates: options.certificateDates(),
    };
  });
}
