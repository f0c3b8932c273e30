/** The certificates of a running broker: for which names, and renewed without a restart. */

import type { TlsMaterial } from './authority.ts';
import { machineNames } from './machine-names.ts';
import 'reflect-metadata';

export interface CertificateOptions {
  readonly dataDir: string;
  readonly network: string;
  /** Names and addresses besides those of this machine. */
  readonly names: readonly string[];
  readonly now: number;
}

/** A TLS server whose certificate can be replaced. */
export interface Renewable {
  setSecureContext(material: { readonly key: string; readonly cert: string }): void;
}

/** Loads the certificates, renewed where it is time. */
export async function loadCertificates(options: CertificateOptions): Promise<TlsMaterial> {
  const { loadTls } = await import('./authority.ts');
  return loadTls(options.dataDir, { ...options, names: [...machineNames(), ...options.names] });
}

/** Renews where it is time, and gives the servers what is in force. */
export async function renewCertificates(
  options: CertificateOptions,
  servers: readonly Renewable[],
): Promise<void> {
  const { key, cert } = await loadCertificates(options);
  for (const server of servers) server.setSecureContext({ key, cert });
}
