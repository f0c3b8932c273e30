import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type RunningControl, startControl } from '@fieldproof/analytics/control';
import { afterEach, describe, expect, test } from '@jest/globals';
import { programArguments } from '../../support/program.ts';
import { REPOSITORY } from '../../support/repository.ts';

const running: RunningControl[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((control) => control.stop()));
});

const folder = () => mkdtemp(join(tmpdir(), 'fieldproof-control-'));

async function started(options: Partial<Parameters<typeof startControl>[0]> = {}) {
  const dataDir = options.dataDir ?? (await folder());
  const control = await startControl({ port: 0, ...options, dataDir });
  running.push(control);
  const token = (await readFile(control.tokenFiles.admin!, 'utf8')).trim();
  const call = (path: string, init: RequestInit = {}) =>
    fetch(control.url + path, { ...init, headers: { authorization: `Bearer ${token}` } });
  return { control, dataDir, call };
}

describe('the control process with the embedded store', () => {
  test('what is written is answered, and is there after a restart', async () => {
    const first = await started();
    const now = Date.now();
    const body = [
      `environment,device=z6MkA,source=sensor temperature=20 ${now - 2000}`,
      `environment,device=z6MkA,source=sensor temperature=22 ${now - 1000}`,
    ].join('\n');
    const written = await first.call('/v1/write?precision=ms', { method: 'POST', body });
    expect(written.status).toBe(204);
    await first.control.stop();

    const { call } = await started({ dataDir: first.dataDir });
    const latest = (await (await call('/v1/latest')).json()) as { values: unknown[] };
    expect(latest.values).toMatchObject([
      { device: 'z6MkA', metric: 'temperature', value: 22, timeMs: now - 1000, unit: null },
    ]);
    const url = '/v1/query?profile=environment&metric=temperature&group=none&bucket=1d&from=-2d';
    const query = (await (await call(url)).json()) as { series: { values: number[] }[] };
    const sums = query.series.flatMap((series) => series.values);
    expect(Math.max(...sums)).toBeGreaterThanOrEqual(21);
    const devices = (await (await call('/v1/devices')).json()) as { devices: unknown[] };
    expect(devices.devices).toMatchObject([{ device: 'z6MkA', source: 'sensor', count: 2 }]);
    const status = await (await call('/v1/status')).json();
    expect(status).toMatchObject({ store: { kind: 'duckdb', ok: true }, broker: { ok: false } });
  });

  test('a name that tries to break out of SQL or line protocol is only a name', async () => {
    const { call } = await started();
    const device = `x'; DROP TABLE readings; --"\\`;
    const tag = device.replaceAll('\\', '\\\\').replaceAll(/[ ,=]/g, (c) => `\\${c}`);
    const body = `environment,device=${tag} temperature=1`;
    const written = await call('/v1/write', { method: 'POST', body });
    expect([204, 400]).toContain(written.status);
    const url = '/v1/query?profile=environment&metric=temperature&from=-1d&to=now&device=';
    for (const name of [device, `' OR '1'='1`, 'a\nb', '%']) {
      const response = await call(url + encodeURIComponent(name));
      expect(response.status).toBe(200);
    }
    expect((await call('/readyz')).status).toBe(200);
    expect((await call('/v1/latest')).status).toBe(200);
  });

  test('tokens and address are written for this machine only, and once', async () => {
    const first = await started();
    expect(first.control.newTokens).toEqual(['admin', 'flows']);
    for (const path of Object.values(first.control.tokenFiles)) {
      expect((await stat(path)).mode & 0o777).toBe(0o600);
    }
    const address = JSON.parse(await readFile(join(first.dataDir, 'address.json'), 'utf8'));
    expect(address).toEqual({ url: first.control.url });
    await first.control.stop();
    const again = await started({ dataDir: first.dataDir });
    expect(again.control.newTokens).toEqual([]);
  });

  test('a taken port is an error with its own code, and lets go of the store', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const dataDir = await folder();
    const error = await startControl({ dataDir, port }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ERR_PORT_TAKEN' });
    server.close();
    await started({ dataDir });
  });

  test('a second process on the same folder is refused', async () => {
    const { dataDir } = await started();
    const error = await startControl({ dataDir, port: 0 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ERR_STORE_LOCKED' });
  });

  test('an InfluxDB that does not answer is waited for', async () => {
    const { call } = await started({ influxUrl: 'http://127.0.0.1:1' });
    expect((await call('/healthz')).status).toBe(200);
    expect((await call('/readyz')).status).toBe(503);
    const response = await call('/v1/write', { method: 'POST', body: 'm,device=a f=1' });
    expect(await response.json()).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', status: 503 });
    const status = await (await call('/v1/status')).json();
    expect(status).toMatchObject({ store: { kind: 'influxdb', ok: false } });
  });
});

describe('the control process as a program', () => {
  const spawned: ChildProcess[] = [];
  afterEach(() => {
    for (const child of spawned.splice(0)) child.kill('SIGKILL');
  });

  function run(args: readonly string[]) {
    const command = [...programArguments('analytics/src/control-main.ts'), ...args];
    const child = spawn(process.execPath, command, {
      ...{ cwd: REPOSITORY, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] },
    });
    spawned.push(child);
    const errors: string[] = [];
    child.stderr!.on('data', (chunk: Buffer) => errors.push(chunk.toString()));
    return { child, errors };
  }

  test('says ready on stdout and to its parent, and ends cleanly on SIGTERM', async () => {
    const dataDir = await folder();
    const { child, errors } = run(['--data-dir', dataDir, '--port', '0']);
    const message = once(child, 'message');
    const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
    const ready = JSON.parse(line) as { url: string };
    expect(ready).toMatchObject({
      event: 'ready',
      process: 'control',
      newTokens: ['admin', 'flows'],
    });
    expect((await message)[0]).toEqual(ready);
    expect((await fetch(`${ready.url}/readyz`)).status).toBe(200);
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    expect(await closed).toEqual([0, null]);
    const token = (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim();
    expect(line + errors.join('')).not.toContain(token);
    await started({ dataDir });
  });

  test('names every problem of its configuration and ends with 2', async () => {
    const file = join(await folder(), 'control.json');
    await writeFile(file, JSON.stringify({ prot: 1, port: 70000, brokerUrl: 'ftp://x' }));
    const { child, errors } = run(['--config', file]);
    expect((await once(child, 'close'))[0]).toBe(2);
    const text = errors.join('');
    expect(text).toMatch(/^error ERR_CONFIG: [^\n]+\n$/);
    for (const word of ['file prot', 'file port', 'file brokerUrl']) {
      expect(text).toContain(word);
    }
  });
});
