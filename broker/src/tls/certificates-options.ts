/** How a broker's settings say which certificates it serves with. */

import type { BrokerConfig } from '../config.ts';
import type { CertificatesOptions } from './certificates.ts';

/** The settings of a broker as its certificates take them. */
export function certificatesOptions(
  config: BrokerConfig,
  context: {
    readonly folder: string;
    readonly network: string;
    readonly now: () => number;
    readonly log: CertificatesOptions['log'];
  },
): CertificatesOptions {
  const { tlsCert: cert, tlsKey: key, tlsCa: ca } = config;
  return {
    dataDir: context.folder,
    network: context.network,
    files: cert === '' ? null : { cert, key, ca },
    names: config.names,
    minVersion: config.tlsMinVersion,
    pollMs: config.tlsPollMs,
    now: context.now,
    log: context.log,
  };
}
