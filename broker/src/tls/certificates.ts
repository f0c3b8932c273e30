/**
 * The certificates of a running broker: its own or the operator's, given to the listeners, renewed or read again
 * without a restart. Connections that are open keep what they were made with.
 */

import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';
import { equalBytes, toHex } from '@fieldproof/protocol/bytes';
import { BrokerError, remedyOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { type CertificateFiles, loadCertificateFiles } from './certificate-files.ts';
import { machineNames } from './machine-names.ts';
import { secureOptions, TICKET_KEY_LIFE_MS, type TlsVersion } from './secure-options.ts';
import type { TlsMaterial } from './tls-material.ts';
import 'reflect-metadata';

export interface CertificatesOptions {
  readonly dataDir: string;
  readonly network: string;
  /** Of the operator; null: our own CA makes them. */
  readonly files: CertificateFiles | null;
  /** Names and addresses that the operator set. */
  readonly names: readonly string[];
  readonly minVersion: TlsVersion;
  /** How often files are looked at. */
  readonly pollMs: number;
  readonly now: () => number;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
}

/** A TLS server whose certificate can be replaced. */
export interface Renewable {
  setSecureContext(options: SecureContextOptions): void;
  setTicketKeys(keys: Buffer): void;
}

export interface TlsStatus {
  readonly source: TlsMaterial['source'];
  /** When the certificate in use expires, Unix ms, and how many days that is from now. */
  readonly expires: number;
  readonly daysLeft: number;
  /** Why what is in the files now is not in use; null when it is. */
  readonly problem: {
    readonly code: string;
    readonly message: string;
    readonly remedy: string;
  } | null;
}

const DAY_MS = 86_400_000;
const TICKET_KEY_BYTES = 48;
/** From so many days before the end on the log has a warning each day. */
const WARN_DAYS = 21;

export class Certificates {
  private readonly options: CertificatesOptions;
  private readonly servers: Renewable[] = [];
  private material: TlsMaterial;
  /** What the files looked like when they were read last, and at the last look. */
  private readSignature: string;
  private seenSignature: string;
  private problem: BrokerError | null = null;
  private pinned: Uint8Array;
  private timers: NodeJS.Timeout[] = [];

  private constructor(options: CertificatesOptions, material: TlsMaterial, signature: string) {
    this.options = options;
    this.material = material;
    this.pinned = material.caHash;
    this.readSignature = signature;
    this.seenSignature = signature;
  }

  /**
   * Loads the certificates; our own are made where they are missing or about to expire.
   *
   * @throws {BrokerError} ERR_TLS_FILE, ERR_TLS_KEY, ERR_TLS_DATES, ERR_TLS_NAMES or ERR_TLS_CHAIN.
   */
  static async load(options: CertificatesOptions): Promise<Certificates> {
    const signature = signatureOf(options.files);
    return new Certificates(options, await loadMaterial(options), signature);
  }

  /** What is in force. */
  get current(): TlsMaterial {
    return this.material;
  }

  /** Options for a TLS server to be made with. */
  get serverOptions(): SecureContextOptions {
    return secureOptions(this.material, this.options.minVersion);
  }

  /** Looks after the certificate and the ticket keys of servers from now on. */
  watch(servers: readonly Renewable[]): void {
    this.servers.push(...servers);
    this.timers = [
      setInterval(() => void this.daily(), DAY_MS),
      setInterval(() => {
        for (const server of this.servers) server.setTicketKeys(randomBytes(TICKET_KEY_BYTES));
      }, TICKET_KEY_LIFE_MS),
    ];
    if (this.options.files !== null) {
      this.timers.push(setInterval(() => void this.look(), this.options.pollMs));
    }
    this.warnOfEnd();
  }

  /** Whether devices with that descriptor accept what is in force. From now on certificates for that CA only are taken. */
  isPinnedBy(ca: Uint8Array | null): boolean {
    if (ca === null) return false;
    this.pinned = ca;
    return equalBytes(this.material.caHash, ca);
  }

  stop(): void {
    this.timers.forEach(clearInterval);
    this.timers = [];
  }

  status(): TlsStatus {
    const { source, expires } = this.material;
    const daysLeft = Math.floor((expires - this.options.now()) / DAY_MS);
    const { problem } = this;
    return {
      source,
      expires,
      daysLeft,
      problem: problem && {
        code: problem.code,
        message: problem.message,
        remedy: remedyOf(problem.code),
      },
    };
  }

  /**
   * Reads the certificates again and gives them to the servers. What is wrong with them is logged, and those in use
   * stay.
   */
  async reload(): Promise<void> {
    const { options } = this;
    this.readSignature = signatureOf(options.files);
    this.seenSignature = this.readSignature;
    try {
      const material = await loadMaterial(options);
      if (!equalBytes(material.caHash, this.pinned)) throw pinError(material, this.pinned);
      const isNew = material.cert !== this.material.cert || material.key !== this.material.key;
      if (isNew) {
        this.material = material;
        for (const server of this.servers) server.setSecureContext(this.serverOptions);
        const expires = new Date(material.expires).toISOString();
        options.log.info({ source: material.source, expires }, 'server certificate: replaced');
      }
      this.problem = null;
    } catch (error) {
      this.problem = asBrokerError(error);
      const { code } = this.problem;
      options.log.error({ err: error, remedy: remedyOf(code) }, 'server certificate: not replaced');
    }
  }

  /** Reads the files again when they have changed, once they have looked the same twice: several are not written at once. */
  private async look(): Promise<void> {
    const signature = signatureOf(this.options.files);
    const isSettled = signature === this.seenSignature;
    this.seenSignature = signature;
    if (isSettled && signature !== this.readSignature) await this.reload();
  }

  private async daily(): Promise<void> {
    if (this.options.files === null) await this.reload();
    this.warnOfEnd();
  }

  private warnOfEnd(): void {
    const { source, daysLeft, expires } = this.status();
    if (daysLeft >= WARN_DAYS) return;
    const detail = { source, daysLeft, expires: new Date(expires).toISOString() };
    this.options.log.warn(detail, 'server certificate: expires soon');
  }
}

async function loadMaterial(options: CertificatesOptions): Promise<TlsMaterial> {
  const { files, dataDir, network, names } = options;
  const now = options.now();
  if (files !== null) return loadCertificateFiles(files, { names, now });
  const { loadTls } = await import('./authority.ts');
  const all = [...machineNames(), ...names];
  return loadTls(dataDir, { network, names: all, own: names, now });
}

/** Changes when one of the files does; files that are gone, or may not be looked at, are a state, too. */
function signatureOf(files: CertificateFiles | null): string {
  if (files === null) return '';
  const paths = [files.cert, files.key, files.ca].filter((path) => path !== '');
  return paths
    .map((path) => {
      try {
        const stat = statSync(path);
        return `${stat.ino} ${stat.size} ${stat.mtimeMs}`;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code ?? 'none';
      }
    })
    .join('; ');
}

function pinError(material: TlsMaterial, pinned: Uint8Array): BrokerError {
  const got = toHex(material.caHash).slice(0, 16);
  const expected = toHex(pinned).slice(0, 16);
  return new BrokerError(
    'ERR_TLS_PIN',
    `certificate chain: expected to lead to the CA key ${expected}… that devices pin, got ${got}…`,
  );
}

function asBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new BrokerError('ERR_TLS_FILE', message, { cause: error });
}
