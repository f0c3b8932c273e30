/** A flows process under test, with the editor's HTTP API. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { programArguments } from '../support/program.ts';

export interface FlowsProcess {
  readonly url: string;
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Deploys flows as the editor does. */
  deploy(flows: readonly object[], type?: 'full' | 'nodes' | 'flows'): Promise<void>;
  /** Resolves with the exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Starts it; with `flows`, these instead of the default flow. */
export async function startFlows(
  folder: string,
  args: Readonly<Record<string, string>>,
  flows?: readonly object[],
): Promise<FlowsProcess> {
  if (flows !== undefined) {
    mkdirSync(join(folder, 'node-red'), { recursive: true });
    writeFileSync(join(folder, 'node-red/flows.json'), JSON.stringify(flows));
  }
  const flags = Object.entries({ 'data-dir': folder, port: '0', ...args }).flatMap(
    ([key, value]) => [`--${key}`, value],
  );
  const child = spawn(
    process.execPath,
    [...programArguments('flows/src/flows-main.ts'), ...flags],
    {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    },
  );
  let output = '';
  child.stdout!.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr!.on('data', (chunk) => {
    output += chunk;
  });
  const ended = new Promise<number | null>((done) => child.on('exit', done));
  const ready = await new Promise<{ url: string; passwordFile: string }>((done, fail) => {
    child.on('message', (message) => done(message as never));
    void ended.then((code) => fail(new Error(`exit ${code}: ${output}`)));
  });
  return {
    url: ready.url,
    child,
    output: () => output,
    deploy: async (next, type = 'full') => {
      const password = readFileSync(ready.passwordFile, 'utf8').trim();
      const body = new URLSearchParams({
        client_id: 'node-red-admin',
        grant_type: 'password',
        scope: '*',
        username: 'admin',
        password,
      });
      const answer = await fetch(`${ready.url}/auth/token`, { method: 'POST', body });
      const { access_token: token } = (await answer.json()) as { access_token: string };
      const deployed = await fetch(`${ready.url}/flows`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          'node-red-deployment-type': type,
        },
        body: JSON.stringify(next),
      });
      if (deployed.status !== 204) throw new Error(`deploy: HTTP ${deployed.status}`);
    },
    end: (signal = 'SIGTERM') => {
      child.kill(signal);
      return ended;
    },
  };
}
