import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { startBroker } from '@fieldproof/broker/broker';
import { afterAll, expect, test } from '@jest/globals';
import { startTestBroker } from './support/broker.ts';

const broker = await startTestBroker();
afterAll(() => broker.close());

const ENDS = ['', '-wal', '-shm'];

/** Replaces the registry of a broker that is stopped. */
function copyRegistry(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const end of ENDS) {
    const [source, target] = [from, to].map((folder) => join(folder, `registry.sqlite${end}`));
    rmSync(target!, { force: true });
    if (existsSync(source!)) copyFileSync(source!, target!);
  }
}

test('a start that fails does not pass for one that has brought an older registry up to date', async () => {
  const made = await broker.admin('POST', '/admin/access', { name: 'ann', scopes: ['read'] });
  const { token, access } = made.body as { token: string; access: { hash: string } };
  await broker.running.stop();
  const copy = join(broker.dataDir, 'copy');
  copyRegistry(broker.dataDir, copy);
  await broker.restart();
  expect(await broker.admin('DELETE', `/admin/access/${access.hash}`)).toMatchObject({
    status: 200,
  });
  await broker.joinLine();
  await broker.running.stop();
  copyRegistry(copy, broker.dataDir);

  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as { port: number };
  const start = startBroker({
    ...{ dataDir: broker.dataDir, httpPort: 0, mqttPort: port },
    ...{ logLevel: 'silent', verifierThreads: 0 },
  });
  await expect(start).rejects.toMatchObject({ code: 'ERR_PORT_TAKEN' });
  other.close();

  await broker.restart();
  expect(broker.running.judgeAccessToken(token)).toBeNull();
  const { tokens } = (await broker.admin('GET', '/admin/tokens')).body as { tokens: unknown[] };
  expect(tokens).toHaveLength(1);
});
