/** `fieldproof-broker support-bundle`. */

import { existsSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { FieldproofError } from '@fieldproof/protocol/errors';
import type { Command } from 'commander';
import { BrokerError } from '../errors.ts';
import { collectBundle, describeBundle } from '../observe/support-bundle.ts';
import { writeNewFile } from '../root-key.ts';
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
  const { data: dataDir } = flags;
  // Before anything takes time.
  if (existsSync(out)) throw new BrokerError('ERR_FILE_EXISTS', `${out}: expected no such file`);
  if (!existsSync(dataDir)) {
    throw new BrokerError(
      'ERR_FILE_UNREADABLE',
      `${dataDir}: expected the data folder of a broker`,
    );
  }
  const { broker, unreachable } = await askBroker(flags);
  const bundle = collectBundle({ dataDir, broker, unreachable, environment: process.env, now });
  const bytes = gzipSync(JSON.stringify(bundle, null, 1));
  writeNewFile(out, bytes, 0o600);
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
