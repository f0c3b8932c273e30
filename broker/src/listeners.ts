/** Binding ports, and the addresses that people and devices are told. */

import type { Server } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { BrokerConfig } from './config.ts';
import { BrokerError } from './errors.ts';
import { machineNames } from './tls/machine-names.ts';

const TELL_INTERVAL_MS = 10_000;

/** URLs at which the broker serves. */
export interface Addresses {
  readonly http: string;
  readonly mqtt: string;
  /** With `lan` only. */
  readonly https: string | null;
  readonly mqtts: string | null;
  /** MQTT over WebSocket, at the HTTP and the HTTPS listener. */
  readonly ws: string;
  readonly wss: string | null;
  /** Of the plain profile; with `plainPort` only. */
  readonly plain: string | null;
}

/**
 * Binds a server.
 *
 * @param port - 0 for any free one.
 * @returns the port.
 * @throws {BrokerError} ERR_PORT_TAKEN; ERR_CONFIG for an address that is none of this machine.
 */
export async function listen(server: Server, host: string, port: number): Promise<number> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
  } catch (error) {
    throw portError(error, host, port);
  }
  return (server.address() as { readonly port: number }).port;
}

/** The same for a Fastify instance. */
export async function listenHttp(
  app: FastifyInstance,
  host: string,
  port: number,
): Promise<number> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    throw portError(error, host, port);
  }
  return (app.server.address() as { readonly port: number }).port;
}

/**
 * Keeps a bound listener when a connection cannot be accepted, such as where no file descriptor is left: for Node that
 * is an error of the server, which nobody hears once it is bound, and so the end of the process.
 *
 * @param tell - told of the first, and then at most every ten seconds, how many there were since.
 */
export function keepListening(
  server: Server,
  tell: (error: Error, times: number) => void,
  now: () => number = () => performance.now(),
): void {
  let toldAt = Number.NEGATIVE_INFINITY;
  let times = 0;
  server.on('error', (error) => {
    times += 1;
    if (now() - toldAt < TELL_INTERVAL_MS) return;
    tell(error, times);
    toldAt = now();
    times = 0;
  });
}

/** Closes a listener; its connections are closed elsewhere. */
export async function closeListener(server: Server): Promise<void> {
  if (!server.listening) return;
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

/** `scheme://host:port`, IPv6 in brackets. */
export function urlOf(scheme: string, host: string, port: number): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The address by which this machine reaches a listener bound to `host`. */
export function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/** What the addresses for other machines depend on. */
export interface LanNames {
  /** What the listeners are bound to. */
  readonly lanHost: string;
  /** The names that the operator, or the certificate, states. */
  readonly names: readonly string[];
  /** Whether the certificate is for a name or an address. */
  readonly covers: (name: string) => boolean;
}

/** @param tls - the certificates in use; null without TLS. */
export function lanNamesOf(
  { lanHost }: Pick<BrokerConfig, 'lanHost'>,
  tls: Pick<LanNames, 'names' | 'covers'> | null,
): LanNames {
  return { lanHost, names: tls?.names ?? [], covers: tls?.covers ?? (() => false) };
}

/** The name or address that others use for this machine first: a configured one, else its first address. */
export function lanHost(config: LanNames): string {
  return lanHosts(config)[0] ?? '127.0.0.1';
}

function lanHosts({ lanHost: bound, names, covers }: LanNames): readonly string[] {
  const isAddress = /^(?!127\.)\d+\.\d+\.\d+\.\d+$/;
  const isAny = bound === '0.0.0.0' || bound === '::';
  const own = isAny ? machineNames().filter((name) => isAddress.test(name)) : [bound];
  return [...new Set([...names, ...own.filter(covers)])];
}

/** URLs of a TLS listener for the descriptor; none while it is not bound. */
export function lanUrls(config: LanNames, scheme: string, port: number): readonly string[] {
  return port === 0 ? [] : lanHosts(config).map((host) => urlOf(scheme, host, port));
}

function portError(error: unknown, host: string, port: number): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  if (code !== 'EADDRINUSE') {
    const message = `${host}, port ${port}: expected an address and a port of this machine, got ${code}`;
    return new BrokerError('ERR_CONFIG', message, { cause: error });
  }
  return new BrokerError('ERR_PORT_TAKEN', `port ${port} of ${host}: in use`, { cause: error });
}
