/** What is in force and where it comes from: default, line of the file, variable, flag, or the operator. */

import type { DesiredState } from '@fieldproof/protocol/desired-state';
import { type AgentConfig, environmentName, settingPaths } from './config.ts';
import type { ConfigSource } from './config-source.ts';
import type { EffectiveSettings } from './remote-rules.ts';

export interface Setting {
  /** As the configuration names it: `batch.sealEveryMs`, `sensors.air.intervalMs`. */
  readonly key: string;
  readonly value: string | number | boolean;
  readonly origin: string;
}

export interface OriginSources {
  readonly config: AgentConfig;
  readonly file: Pick<ConfigSource, 'lineOf'>;
  /** Name of the file. */
  readonly name: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: Readonly<Record<string, string>>;
  /** The desired state in force, and what it makes of the configuration. */
  readonly remote: { readonly state: DesiredState; readonly effective: EffectiveSettings } | null;
}

/** All settings, in the order of the configuration; sensors by their profiles, and without the options of drivers. */
export function settingsWithOrigins(sources: OriginSources): readonly Setting[] {
  const { config, remote } = sources;
  const { preferences = {}, intervals = {}, edge = {}, wanted } = remote?.state ?? {};
  const fromAfar = (isIt: boolean, path: string): string =>
    isIt ? remoteOrigin(remote!.state) : originOf(path, sources);
  const changed: Readonly<Record<string, number | undefined>> = {
    'batch.sealEveryMs': preferences.sealEveryMs,
    'link.heartbeatMs': preferences.heartbeatMs,
  };
  const settings = settingPaths().flatMap((key): Setting[] => {
    const value = changed[key] ?? valueAt(config, key);
    if (value === undefined) return [];
    return [{ key, value, origin: fromAfar(changed[key] !== undefined, key) }];
  });
  const sensors = config.sensors.flatMap((sensor, at): Setting[] => {
    const { profile, driver } = sensor;
    const inForce = remote?.effective.sensors.find((each) => each.profile === profile);
    const { intervalMs } = inForce ?? sensor;
    const key = `sensors.${profile}`;
    const isWanted = remote === null || inForce !== undefined;
    return [
      { key: `${key}.driver`, value: driver, origin: originOf(`sensors[${at}].driver`, sources) },
      {
        ...{ key: `${key}.intervalMs`, value: intervalMs },
        origin: fromAfar(Object.hasOwn(intervals, profile), `sensors[${at}].intervalMs`),
      },
      ...(isWanted
        ? []
        : [{ key: `${key}.wanted`, value: false, origin: remoteOrigin(remote.state) }]),
    ];
  });
  const edges = Object.entries((remote?.effective ?? config).edge).map(
    ([stream, { key, text }]): Setting => ({
      key: `edge.${stream}`,
      value: text,
      origin: fromAfar(Object.hasOwn(edge, stream), `edge.${key}`),
    }),
  );
  const wants =
    wanted === undefined
      ? []
      : [
          {
            ...{ key: 'wanted', value: wanted.join(', ') || 'nothing' },
            origin: remoteOrigin(remote!.state),
          },
        ];
  return [...settings, ...sensors, ...edges, ...wants];
}

/** `the operator's version 3 until …` */
function remoteOrigin({ version, expires }: DesiredState): string {
  const until = new Date(expires).toISOString().replace(/\.\d+Z$/, 'Z');
  return `the operator's version ${version} until ${until}`;
}

function originOf(path: string, { flags, env, file, name }: OriginSources): string {
  if (Object.hasOwn(flags, path)) return '--set';
  const variable = environmentName(path);
  if (env[variable] !== undefined) return variable;
  const line = file.lineOf(path);
  return line === undefined ? 'default' : `${name}:${line}`;
}

function valueAt(config: AgentConfig, path: string): string | number | boolean | undefined {
  let value: unknown = config;
  for (const key of path.split('.')) value = (value as Record<string, unknown>)[key];
  return value === undefined ? undefined : (value as string | number | boolean);
}
