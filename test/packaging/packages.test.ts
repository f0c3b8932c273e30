/**
 * What users install: the tarballs of `npm run pack`, looked into, installed by npm outside the repository, and run by Node alone.
 * One pack and one installation; each package then runs in a folder that has no more than its own dependencies.
 */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { TestDevice } from '../broker/support/device.ts';
import { until } from '../support/network.ts';
import { REPOSITORY } from '../support/services.ts';
import { importsOf, packageOf } from './support/imports.ts';
import { type Program, readyLine, runCommand, startCommand } from './support/program.ts';
import { installPart, npmInstall, packAll, run, unpack } from './support/tarballs.ts';

interface PublishedManifest {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly [key: string]: unknown;
}

/** Code, declarations and documents; what is more came in by accident. */
const MAX_PACKED_BYTES = 400_000;
/** The agent's has its bundle as well, in which three sensors carry an MQTT client each. */
const MAX_AGENT_BYTES = 700_000;
/** In no manifest and wanted by nobody: cbor-x tries it and goes on without. */
const OPTIONAL = ['cbor-extract'];
/** Listed without an import: what the stack starts as processes, and what flows ask it for as a peer. */
const WITHOUT_IMPORT: Readonly<Record<string, readonly string[]>> = {
  '@fieldproof/stack': [
    '@fieldproof/analytics',
    '@fieldproof/broker',
    '@fieldproof/flows',
    'node-red',
  ],
};

const folder = mkdtempSync(join(tmpdir(), 'fieldproof-packages-'));
const tarballs = packAll(join(folder, 'tarballs'));
const names = [...tarballs.keys()];
const unpacked = new Map(
  [...tarballs].map(([name, file]) => [name, unpack(file, join(folder, 'unpacked', name))]),
);
const all = join(folder, 'all');
const missing = npmInstall(all, [...tarballs.values()]);
const programs: Program[] = [];

afterAll(async () => {
  await Promise.all(programs.map((program) => program.stop('SIGKILL')));
  rmSync(folder, { recursive: true, force: true });
});

function manifestOf(name: string): PublishedManifest {
  return JSON.parse(
    readFileSync(join(unpacked.get(name)!, 'package.json'), 'utf8'),
  ) as PublishedManifest;
}

function filesOf(name: string): readonly string[] {
  const root = unpacked.get(name)!;
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
    statSync(join(root, file)).isFile(),
  );
}

describe.each(names)('the tarball of %s', (name) => {
  const root = unpacked.get(name)!;
  const manifest = manifestOf(name);
  const files = filesOf(name);
  const code = files.filter((file) => /^dist\/.*\.(js|cjs|d\.ts)$/.test(file));

  test('has README, licence, changelog and code, no sources, and nothing of this machine', () => {
    expect(files).toEqual(
      expect.arrayContaining(['README.md', 'LICENSE', 'CHANGELOG.md', 'package.json']),
    );
    expect(code.length).toBeGreaterThan(0);
    const foreignKinds = /(?<!\.d)\.ts$|^(?!bundle\/).*\.mjs$|\.test\.|\.env|\.key|\.pem/;
    expect(files.filter((file) => foreignKinds.test(file))).toEqual([]);
    for (const file of files) {
      const text = readFileSync(join(root, file), 'utf8');
      for (const foreign of [REPOSITORY, 'tsx/esm']) {
        if (text.includes(foreign)) throw new Error(`${file}: contains ${foreign}`);
      }
    }
    const most = name === 'device-agent' ? MAX_AGENT_BYTES : MAX_PACKED_BYTES;
    expect(statSync(tarballs.get(name)!).size).toBeLessThan(most);
  });

  test('says what Node it needs, and wants ours in the very version that was packed with it', () => {
    expect(manifest.engines).toEqual({ node: '>=20.19' });
    for (const key of ['private', 'scripts', 'devDependencies'])
      expect(manifest).not.toHaveProperty(key);
    for (const [dependency, range] of Object.entries(manifest.dependencies ?? {})) {
      if (!dependency.startsWith('@fieldproof/')) continue;
      expect(range).toBe(manifestOf(dependency.slice('@fieldproof/'.length)).version);
    }
    for (const file of Object.values(manifest.bin ?? {})) {
      expect(readFileSync(join(root, file), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    }
  });

  test('imports what is in it or what it depends on, and depends on nothing else', () => {
    const listed = Object.keys({
      ...manifest.dependencies,
      ...manifest.optionalDependencies,
      ...manifest.peerDependencies,
    });
    const used = new Set(WITHOUT_IMPORT[manifest.name]);
    for (const file of code) {
      for (const specifier of importsOf(readFileSync(join(root, file), 'utf8'))) {
        if (specifier.startsWith('.')) {
          const target = resolve(root, file, '..', specifier);
          const isThere =
            existsSync(target) || existsSync(target.replace(/\.js$/, '.d.ts')) || isLeftOut(target);
          if (!isThere)
            throw new Error(`${file}: imports ${specifier}, which is not in the package`);
        } else if (!isBuiltIn(specifier) && !OPTIONAL.includes(specifier)) {
          const wanted = packageOf(specifier);
          if (!listed.includes(wanted)) throw new Error(`${file}: imports ${wanted}, not listed`);
          used.add(wanted);
        }
      }
    }
    expect([...used].sort()).toEqual([...listed].sort());
  });
});

/** Of sources only: see analytics/src/server/dashboard-assets.ts. */
function isLeftOut(path: string): boolean {
  return path.endsWith('/analytics/dist/server/dashboard-bundle.js');
}

function isBuiltIn(specifier: string): boolean {
  return specifier.startsWith('node:') || specifier === 'module';
}

/** Rows of the README's table: which tarballs give which commands. */
function readmeRows(): readonly { readonly tarballs: string[]; readonly commands: string[] }[] {
  const text = readFileSync(join(REPOSITORY, 'README.md'), 'utf8');
  const section = text.split('\n## Install\n')[1]!.split('\n## ')[0]!;
  const quoted = (cell: string) => [...cell.matchAll(/`([a-z-]+)`/g)].map(([, word]) => word!);
  return section
    .split('\n')
    .filter((line) => line.startsWith('| ') && line.includes('`'))
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .map(([, , needed, given]) => ({
      tarballs: quoted(needed!),
      commands: quoted(given!).filter((word) => word.startsWith('fieldproof')),
    }));
}

/** A folder in which only these are installed, and what they ask for. */
function installed(...roots: readonly string[]): string {
  const part = join(folder, `only-${roots.at(-1)}`);
  if (existsSync(part)) return part;
  mkdirSync(part);
  installPart(
    all,
    part,
    roots.map((name) => (tarballs.has(name) ? `@fieldproof/${name}` : name)),
  );
  return part;
}

function start(name: string, args: readonly string[], where: string): Program {
  const program = startCommand(name, args, { folder: where });
  programs.push(program);
  return program;
}

if (missing !== null) process.stderr.write(`SKIPPED: installed packages: ${missing}\n`);
if (missing !== null && process.env.REQUIRE_SERVICES === '1') {
  test('npm installs the tarballs', () => {
    throw new Error(`REQUIRE_SERVICES=1: ${missing}`);
  });
}

(missing === null ? describe : describe.skip)('installed packages', () => {
  test('bring no loader and no compiler with them', () => {
    for (const name of ['tsx', 'esbuild', 'typescript']) {
      expect(existsSync(join(all, 'node_modules', name))).toBe(false);
    }
  });

  test('give the commands that the README names, from the tarballs that it names', () => {
    const rows = readmeRows();
    expect(rows).toHaveLength(6);
    const given = new Set<string>();
    for (const { tarballs: needed, commands } of rows) {
      // A row is complete: what is needed needs nothing else of ours.
      for (const name of needed) {
        const { dependencies = {} } = manifestOf(name);
        const ours = Object.keys(dependencies).filter((key) => key.startsWith('@fieldproof/'));
        expect(needed).toEqual(expect.arrayContaining(ours.map((key) => key.slice(12))));
      }
      const bins = needed.flatMap((name) => Object.keys(manifestOf(name).bin ?? {}));
      expect(bins).toEqual(expect.arrayContaining(commands));
      for (const command of commands) given.add(command);
    }
    expect([...given].sort()).toEqual(
      names.flatMap((name) => Object.keys(manifestOf(name).bin ?? {})).sort(),
    );
    for (const command of given) {
      expect(existsSync(join(all, 'node_modules/.bin', command))).toBe(true);
    }
  });

  test('protocol and compute: every module imports, and the published vectors open', () => {
    const where = installed('protocol', 'compute');
    const modules = ['protocol', 'compute'].flatMap((name) =>
      filesOf(name)
        .filter((file) => /^dist\/[^/]+\.js$/.test(file))
        .map((file) => `@fieldproof/${name}/${file.slice('dist/'.length, -'.js'.length)}`),
    );
    writeFileSync(join(where, 'check.mjs'), VECTOR_CHECK);
    const output = run(process.execPath, ['check.mjs', ...modules], where);
    expect(JSON.parse(output)).toEqual({ modules: modules.length, opened: true, refused: true });
  });

  test('types: the declarations of every module compile in a strict program, with their own libraries checked', () => {
    const libraries = names.filter((name) => name !== 'flows');
    const lines = libraries.flatMap((name) =>
      filesOf(name)
        .filter((file) => /^dist\/.*\.d\.ts$/.test(file) && !file.includes('dashboard-bundle'))
        .map((file) => `@fieldproof/${name}/${file.slice('dist/'.length, -'.d.ts'.length)}`)
        .map(
          (specifier, index) =>
            `export type * as ${name.replace('-', '')}${index} from '${specifier}';`,
        ),
    );
    writeFileSync(join(all, 'public.mts'), `${lines.join('\n')}\n`);
    const compilerOptions = {
      strict: true,
      exactOptionalPropertyTypes: true,
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable'],
      module: 'nodenext',
      noEmit: true,
      types: ['node'],
      typeRoots: [join(REPOSITORY, 'node_modules/@types')],
    };
    writeFileSync(
      join(all, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: ['public.mts'] }),
    );
    const tsc = join(REPOSITORY, 'node_modules/typescript/bin/tsc');
    let output = '';
    try {
      run(process.execPath, [tsc, '--pretty', 'false', '-p', '.'], all);
    } catch (error) {
      output = (error as Error).message;
    }
    // What others' declarations get wrong is not ours to judge.
    const ours = output.split('\n').filter((line) => /public\.mts|@fieldproof/.test(line));
    expect(ours).toEqual([]);
  });

  test('broker, agent, control process and a plain Node-RED, each alone in its folder, carry a reading to the store', async () => {
    const brokerIn = installed('protocol', 'broker');
    const brokerData = join(brokerIn, 'data');
    const ports = ['--http-port', '0', '--mqtt-port', '0'];
    const broker = start('fieldproof-broker', ['start', '--data', brokerData, ...ports], brokerIn);
    const { network, addresses } = (await readyLine(broker)) as {
      network: string;
      addresses: { http: string; mqtt: string };
    };
    const joinLine = async () => {
      const flags = ['--data', brokerData, '--host', '127.0.0.1', '--json'];
      const output = await runCommand('fieldproof-broker', ['join-line', ...flags], {
        folder: brokerIn,
      });
      return (JSON.parse(output) as { joinLine: string }).joinLine;
    };

    // Verifying threads work: an envelope of a device of this test gets a receipt.
    const device = new TestDevice({ ...addresses, network });
    await device.enrol(await joinLine());
    await device.connect();
    await device.publish('birth', device.seal({ kind: 'birth' }));
    await device.publish('telemetry', device.seal());
    await until('the device has a receipt', () => device.receipts.length > 0);
    await device.close();

    const agentIn = installed('protocol', 'compute', 'device-agent');
    const agentData = join(agentIn, 'data');
    const command = (...args: string[]) =>
      runCommand('fieldproof-agent', [...args, '--data', agentData], { folder: agentIn });
    await command('init', '--join', await joinLine(), '--name', 'packed', '--json');
    writeFileSync(join(agentData, 'agent.yaml'), AGENT_CONFIG);
    const agent = start('fieldproof-agent', ['run', '--data', agentData], agentIn);
    const { device: agentId } = (await until('the agent has a receipt', async () => {
      if (!existsSync(join(agentData, 'status.json'))) return null;
      const status = JSON.parse(await command('status', '--json')) as {
        device: string;
        lastReceipt: object | null;
      };
      return status.lastReceipt === null ? null : status;
    })) as { device: string };

    const controlIn = installed('protocol', 'compute', 'device-agent', 'analytics');
    const controlData = join(controlIn, 'data');
    const adminToken = join(brokerData, 'tokens/admin');
    const control = start(
      'fieldproof-control',
      [
        ...['--data-dir', controlData, '--port', '0', '--network', network],
        ...['--broker-url', addresses.http, '--broker-token-file', adminToken],
      ],
      controlIn,
    );
    const { url, tokenFiles } = (await readyLine(control)) as {
      url: string;
      tokenFiles: { admin: string; flows: string };
    };
    const page = await (await fetch(url)).text();
    for (const asset of ['js', 'css']) {
      const path = new RegExp(`/assets/main-[0-9a-f]{16}\\.${asset}`).exec(page)![0];
      expect((await fetch(`${url}${path}`)).status).toBe(200);
    }

    const redIn = installed('node-red', 'flows');
    const nodeNetwork = {
      brokerUrl: addresses.http,
      tailTokenFile: join(brokerData, 'tokens/service'),
      storeUrl: url,
      storeTokenFile: tokenFiles.flows,
    };
    writeFileSync(join(redIn, 'flows.json'), JSON.stringify(flowsOf(nodeNetwork)));
    writeFileSync(
      join(redIn, 'settings.js'),
      `module.exports = { flowFile: 'flows.json', credentialSecret: 'x', uiHost: '127.0.0.1' };`,
    );
    const red = start('node-red', ['-u', redIn, '-p', '0'], redIn);
    await until('flows run', () => red.output().includes('Started flows'));
    expect(red.output()).not.toMatch(/Missing node types|rror/);

    const fieldproof = (...args: string[]) =>
      runCommand('fieldproof', [...args, '--url', url, '--token-file', tokenFiles.admin], {
        folder: controlIn,
      });
    await until('the store has readings of both devices', async () => {
      const output = await fieldproof('latest', '--ids');
      return output.includes(agentId) && output.includes(device.id);
    });
    expect(await fieldproof('status')).toContain('duckdb');
    expect(await fieldproof('query', 'room', 'temperature', '--from', '-5m')).toContain(':');

    expect(await agent.stop()).toBe(0);
    await red.stop();
    // What Node-RED had no time for; what it did is written once more and makes no difference.
    const tail = ['--broker-url', addresses.http, '--tail-token-file', nodeNetwork.tailTokenFile];
    await fieldproof('project', '--once', '--data', join(controlIn, 'project'), ...tail);
    expect(await control.stop()).toBe(0);
    expect(await broker.stop()).toBe(0);
    const store = join(controlData, 'store/readings.duckdb');
    const audit = ['--broker-data', brokerData, '--agent-data', agentData, '--store-file', store];
    await runCommand('fieldproof', ['audit', 'conservation', ...audit], { folder: controlIn });
  });

  test('fieldproof-network: the whole network with its demo fleet, until Ctrl-C', async () => {
    const data = join(all, 'data');
    // As if another installation, which is gone, had made the data folder.
    const scope = join(data, 'flows/node-red/node_modules/@fieldproof');
    mkdirSync(scope, { recursive: true });
    symlinkSync(join(folder, 'gone'), join(scope, 'flows'));
    const stack = start('fieldproof-network', ['--data', data, '--port-base', '0'], all);
    await until('the first reading is recorded', () => {
      if (stack.child.exitCode !== null) throw new Error(stack.output());
      return stack.output().includes('first reading recorded');
    });
    expect(stack.output()).toContain('demo fleet: 8 devices');
    const { pids } = JSON.parse(readFileSync(join(data, 'network.json'), 'utf8')) as {
      pids: Record<string, number>;
    };
    expect(await stack.stop('SIGINT')).toBe(0);
    expect(Object.keys(pids).sort()).toEqual(['agent', 'broker', 'control', 'fleet', 'flows']);
    for (const pid of Object.values(pids)) expect(existsSync(`/proc/${pid}`)).toBe(false);
  });
});

const AGENT_CONFIG = `name: packed
sensors:
  - driver: simulated
    profile: room
    intervalMs: 200
batch: { sealEveryMs: 200 }
`;

function flowsOf(network: object): readonly object[] {
  return [
    { id: 'tab', type: 'tab', label: 'packed' },
    { id: 'n', type: 'fieldproof-network', ...network },
    { id: 't', type: 'fieldproof-telemetry', z: 'tab', network: 'n', wires: [['w', 's']] },
    { id: 'w', type: 'fieldproof-window', z: 'tab', size: 60, grace: 1, wires: [['s']] },
    { id: 's', type: 'fieldproof-store', z: 'tab', network: 'n', wires: [] },
  ];
}

const VECTOR_CHECK = `
import { createRequire } from 'node:module';
import { fromHex } from '@fieldproof/protocol/bytes';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { openUp } from '@fieldproof/protocol/envelope';

for (const module of process.argv.slice(2)) await import(module);
const { cases } = createRequire(import.meta.url)('@fieldproof/protocol/vectors/envelope.json');
const { hex, inputs } = cases.find(({ name }) => name === 'telemetry envelope');
const options = { externalAad: fromHex(inputs.externalAad), publicKey: fromHex(inputs.publicKey), verify };
const { payload } = openUp(fromHex(hex), options);
let refused = false;
try {
  openUp(fromHex(hex.slice(0, -2) + '00'), options);
} catch (error) {
  refused = error.code === 'ERR_SIGNATURE_INVALID';
}
const opened = Buffer.from(payload).toString('hex') === inputs.payload;
console.log(JSON.stringify({ modules: process.argv.length - 2, opened, refused }));
`;
