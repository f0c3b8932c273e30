import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type BreakableLink, openBreakableLink } from '../support/breakable-link.ts';
import { ask, describeWithPostgres } from '../support/postgres.ts';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import type { TestDevice } from './support/device.ts';
import { newKey, rotationOf } from './support/owner-requests.ts';

/** What the blueprint gives a suspension. */
const SESSION_ENDS_MS = 5000;
const NO_DATABASE = { status: 503, body: { code: 'ERR_REGISTRY_DATABASE' } };

describeWithPostgres('a broker whose PostgreSQL is silent', (server) => {
  const lines: string[] = [];
  let url: string;
  let link: BreakableLink;
  let broker: TestBroker;
  let devices: readonly TestDevice[];

  beforeAll(async () => {
    url = await server.database();
    link = await openBreakableLink(url);
    const settings = { databaseUrl: link.url, logLevel: 'warn' as const };
    broker = await startTestBroker(settings, {
      logDestination: { write: (line) => void lines.push(line) },
    });
    devices = [await broker.device(), await broker.device(), await broker.device()];
    const texts = { text: 'Dach, Frau Beispiel', group: 'roofs' };
    expect(
      await broker.admin('POST', `/admin/devices/${devices[0]!.id}/site`, texts),
    ).toMatchObject({ status: 200 });
    link.silence();
  });

  afterAll(async () => {
    link?.break();
    await broker?.close();
    await link?.close();
  });

  /** Ends a session in the time for it. */
  async function ends(device: TestDevice, end: () => Promise<unknown>): Promise<void> {
    const client = await device.connect();
    const closed = new Promise((resolve) => client.once('close', () => resolve('closed')));
    const late = new Promise((resolve) => setTimeout(resolve, SESSION_ENDS_MS, 'late').unref());
    await end();
    expect(await Promise.race([closed, late])).toBe('closed');
    await device.close();
  }

  test('suspension, rotation and unenrolment are answered and end the session', async () => {
    const [suspended, rotated, unenrolled] = devices as [TestDevice, TestDevice, TestDevice];
    const operator = { reason: 'stolen', kind: 'operator', evidence: [], until: null };
    await ends(suspended, async () => {
      const path = `/admin/devices/${suspended.id}/suspend`;
      expect(await broker.admin('POST', path, operator)).toMatchObject({ status: 200 });
    });
    await ends(rotated, async () => {
      const body = Buffer.from(await rotationOf(rotated, newKey()));
      const headers = { 'content-type': 'application/cose' };
      const sent = await fetch(`${rotated.http}/v1/rotate`, { method: 'POST', body, headers });
      expect(sent.status).toBe(200);
    });
    await ends(unenrolled, async () => {
      const path = `/admin/devices/${unenrolled.id}/unenrol`;
      expect(await broker.admin('POST', path, { reason: 'sold' })).toMatchObject({ status: 200 });
    });
  });

  test('what only the database knows is refused with what to do, and its device is not held up', async () => {
    const { id } = devices[0]!;
    const size = broker.running.status().evidence.entries;
    const texts = [
      broker.admin('POST', `/admin/devices/${id}/notes`, { text: 'x' }),
      broker.admin('GET', `/admin/devices/${id}`),
    ];
    for (const answer of await Promise.all(texts)) expect(answer).toMatchObject(NO_DATABASE);
    expect(broker.running.status().evidence.entries).toBe(size);
    const moved = await broker.admin('POST', `/admin/devices/${id}/site`, { group: 'cellars' });
    expect(moved).toMatchObject({ status: 200 });
  });

  test('it takes everything when it answers again', async () => {
    link.break();
    const wanted = [
      { status: 'active', group_name: 'default' },
      { status: 'suspended', group_name: 'cellars' },
      { status: 'unenrolled', group_name: 'default' },
    ];
    const [first] = devices;
    await broker.admin('POST', `/admin/devices/${first!.id}/rename`, { name: 'found' });
    for (let found: unknown = null; JSON.stringify(found) !== JSON.stringify(wanted); ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      found = await ask(url, 'select status, group_name from devices order by status, group_name');
    }
    const notes = await broker.admin('POST', `/admin/devices/${first!.id}/notes`, { text: 'y' });
    expect(notes).toMatchObject({ status: 200 });
    expect(lines.some((line) => line.includes('"event":"database-lost"'))).toBe(true);
    expect(lines.join('')).not.toContain(new URL(url).port);
  });
});
