/** `fieldproof-broker support-bundle`. */

import { existsSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { FieldproofError } from '@fieldproof/protocol/errors';
import type { Command } from 'commander';
import { BrokerError } from '../errors.ts';
import { collectBundle, describeBundle } from '../observe/support-bundle.ts';
import { type CommonFlags, common, createClient, print } from './common.ts';

interface SupportFlags extends CommonFlags {
  readonly out?: string;
  readonly withDevices?: boolean;
}

export function addSupportCommand(program: Command): void {
  common(
    program
      .command('support-bundle')
      .description('write what somebody who helps needs to know, without secrets')
      .option('--out <file>', 'gzipped JSON (default fieldproof-support-<date>.json.gz)')
      .option('--with-devices', 'with ids and names of the devices'),
  ).action(writeBundle);
}

async function writeBundle(flags: SupportFlags): Promise<void> {
  const now = Date.now();
  const out = flags.out ?? `fieldproof-support-${stampOf(now)}.json.gz`;
  if (existsSync(out)) throw new BrokerError('ERR_REQUEST', `${out}: there is such a file already`);
  const { broker, unreachable } = await askBroker(flags);
  const { data: dataDir } = flags;
  const bundle = collectBundle({ dataDir, broker, unreachable, environment: process.env, now });
  const bytes = gzipSync(JSON.stringify(bundle, null, 1));
  // `wx`: nobody else's file, nor one that a link leads to.
  writeFileSync(out, bytes, { mode: 0o600, flag: 'wx' });
  print(flags, { out, bytes: bytes.length }, () =>
    [`${out}, ${bytes.length} bytes:`, ...describeBundle(bundle)].join('\n'),
  );
}

/** A broker that is down is what such a file is often about. */
async function askBroker(flags: SupportFlags) {
  try {
    const client = createClient(flags);
    const answer = (await client.call('GET', '/admin/support')) as object;
    if (!flags.withDevices) return { broker: answer, unreachable: null };
    const { devices } = (await client.call('GET', '/admin/devices')) as { devices: unknown };
    return { broker: { ...answer, deviceList: devices }, unreachable: null };
  } catch (error) {
    if (!(error instanceof FieldproofError)) throw error;
    return { broker: null, unreachable: `${error.code}: ${error.message}` };
  }
}

/** `2026-11-21T18-30-05` */
function stampOf(now: number): string {
  return new Date(now).toISOString().slice(0, 19).replaceAll(':', '-');
}
