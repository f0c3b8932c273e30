/**
 * One reading, followed from the sensor's file to the InfluxDB point, the evidence leaf, its inclusion proof
 * and its receipt, through the processes that `npm start` runs. What is checked is checked as an outsider
 * would: from the join line's root key, over the public files of the log.
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { publicKeyFromDeviceId } from '@fieldproof/protocol/did-key';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { openUp, upAad } from '@fieldproof/protocol/envelope';
import { parseJoinLine } from '@fieldproof/protocol/join-line';
import { decodeTelemetry } from '@fieldproof/protocol/readings-decode';
import { openDescriptor } from '@fieldproof/protocol/statements';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Influxd, startInfluxd } from '../support/influxd.ts';
import { decodeCheckpointTree } from '../support/log-reader.ts';
import { runProgram, startNetwork, type TestNetwork, until } from '../support/network.ts';
import { programPath } from '../support/program.ts';
import { describeWith, REPOSITORY } from '../support/services.ts';

/** A value that no other sensor of the test has. */
const VALUE = 21.4375;

describeWith(['influxd'], 'one reading, end to end', () => {
  let folder: string;
  let influx: Influxd;
  let network: TestNetwork;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-system-'));
    influx = await startInfluxd();
    network = await startNetwork({
      dataDir: join(folder, 'data'),
      args: ['--no-demo'],
      env: { INFLUX_URL: influx.url },
    });
  });

  afterAll(async () => {
    await network?.stop();
    await influx?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('is signed, recorded, proved, receipted and stored', async () => {
    const { broker, network: networkId } = network.info;
    const joinLine = await createJoinLine(
      { url: broker.http, tokenFile: broker.tokenFile },
      { uses: 1, hours: 1 },
    );
    const agentDir = join(folder, 'agent');
    const init = await runProgram('device-agent/bin/fieldproof-agent.mjs', [
      ...['init', '--data', agentDir, '--join', joinLine, '--name', 'roof', '--json'],
    ]);
    expect(init).toMatchObject({ code: 0 });
    const sampledAt = Date.now();
    writeFileSync(join(agentDir, 'sensor.csv'), `timestamp,value\n2026-01-01 00:00:00,${VALUE}\n`);
    writeFileSync(
      join(agentDir, 'agent.yaml'),
      `name: roof
sensors:
  - driver: replay
    profile: air
    file: sensor.csv
    time: { column: timestamp, format: iso }
    columns: [{ column: value, metric: temperature, unit: Cel, resolution: 0.0001 }]
batch: { sealEveryMs: 200 }
`,
    );
    const agent = spawn(
      process.execPath,
      [...[programPath('device-agent/bin/fieldproof-agent.mjs')], ...['run', '--data', agentDir]],
      { cwd: REPOSITORY, stdio: 'ignore', env: { ...process.env, NODE_OPTIONS: '' } },
    );
    try {
      const { device } = (await until('the agent says who it is', () => agentStatus(agentDir))) as {
        device: string;
      };

      // InfluxDB has the point, with its time, value and tags.
      const point = await until('the point is in InfluxDB', async () => {
        const query = new URLSearchParams({
          db: 'fieldproof',
          epoch: 'ms',
          q: `SELECT "temperature", "device", "source" FROM "air" WHERE "device" = '${device}'`,
        });
        const answer = (await (await fetch(`${influx.url}/query?${query}`)).json()) as {
          results: { series?: { columns: string[]; values: unknown[][] }[] }[];
        };
        return answer.results[0]?.series?.[0]?.values[0];
      });
      expect(point.slice(1)).toEqual([VALUE, device, 'replay']);
      expect(Math.abs((point[0] as number) - sampledAt)).toBeLessThan(60_000);

      // From the root key in the join line to the keys of the log.
      const { rootKey } = parseJoinLine(joinLine);
      const descriptorBytes = await get(`${broker.http}/v1/descriptor`);
      const descriptor = openDescriptor(descriptorBytes, {
        network: networkId,
        publicKey: rootKey,
        verify,
      });

      // The evidence log has an entry whose body, signed by the device, holds the reading.
      const authorization = {
        authorization: `Bearer ${readFileSync(broker.tokenFile, 'utf8').trim()}`,
      };
      const publicKey = publicKeyFromDeviceId(device);
      const found = await until('the entry is in a published checkpoint', async () => {
        const log = await decodeCheckpointTree(`${broker.http}/log/evidence`, descriptor);
        for (const { entry, index } of log.entries) {
          if (entry.type !== 'batch' || entry.kind !== 'telemetry') continue;
          if (!Buffer.from(entry.device).equals(publicKey)) continue;
          const url = `${broker.http}/v1/bodies/${Buffer.from(entry.digest).toString('hex')}`;
          const body = await get(url, authorization);
          expect(createHash('sha256').update(body).digest()).toEqual(Buffer.from(entry.digest));
          const envelope = openUp(body, {
            externalAad: upAad(networkId, 'telemetry'),
            publicKey,
            verify,
          });
          const { values, count } = decodeTelemetry(envelope.payload, envelope.contentType);
          if (Array.from(values.subarray(0, count)).includes(VALUE)) return { log, index, entry };
        }
        return null;
      });

      // Its leaf is proved by the checkpoint that the log key signed.
      await expect(found.log.proveEntry(found.index)).resolves.toBeUndefined();
      await expect(found.log.proveEntry(found.index, { tampered: true })).rejects.toMatchObject({
        code: 'ERR_PROOF_INVALID',
      });

      // The agent has a receipt that covers it, and has forgotten the batch.
      const status = await until('the receipt has settled the batch', () => {
        const now = agentStatus(agentDir);
        return now?.lastReceipt && now.lastReceipt.entry >= found.index ? now : null;
      });
      expect(status.counts.rejected).toBe(0);
      await until('nothing is pending', () => agentStatus(agentDir)?.counts.pending === 0);
    } finally {
      const gone = new Promise((done) => agent.once('exit', done));
      agent.kill('SIGTERM');
      await gone;
    }
  });
});

interface Status {
  readonly device: string;
  readonly counts: { readonly rejected: number; readonly pending: number };
  readonly lastReceipt: { readonly entry: number } | null;
}

function agentStatus(folder: string): Status | null {
  try {
    return JSON.parse(readFileSync(join(folder, 'status.json'), 'utf8')) as Status;
  } catch {
    return null;
  }
}

async function get(url: string, headers: Record<string, string> = {}): Promise<Uint8Array> {
  const response = await fetch(url, { headers });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return new Uint8Array(await response.arrayBuffer());
}
