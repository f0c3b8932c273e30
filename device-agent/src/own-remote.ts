/** The remote configuration of this agent: its rules, bound to the sensors that run. */

import { kidOf } from '@fieldproof/protocol/ed25519';
import type { Clock } from './clock.ts';
import type { ClockState } from './clock-state.ts';
import type { AgentConfig } from './config.ts';
import type { Disk } from './disk.ts';
import type { Journal } from './journal.ts';
import type { Log } from './log.ts';
import type { Membership } from './membership.ts';
import { openKept } from './network-view.ts';
import { RemoteConfig, type RemoteConfigOptions } from './remote-config.ts';
import { remoteEdgeMistakes } from './remote-edge.ts';
import { type EffectiveSettings, judgeWishes, ownSettings } from './remote-rules.ts';
import type { Silences } from './silences.ts';
import type { AgentParts } from './status-of.ts';

export interface OwnRemoteOptions {
  readonly config: AgentConfig;
  /** The agent's state folder. */
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly disk: Disk;
  readonly clockState: ClockState;
  readonly membership: Membership;
  readonly journal: Journal;
  /** Readings of each profile since the agent started. */
  readonly given: ReadonlyMap<string, number>;
  readonly silences: Silences;
  /** Undefined before the agent is put together, and at its end. */
  readonly parts: () => AgentParts | undefined;
  readonly apply: (effective: EffectiveSettings) => Promise<void>;
  readonly onChange: () => void;
}

export function makeOwnRemote(options: OwnRemoteOptions): RemoteConfig {
  const { config, folder, clock, log, disk, clockState, membership, journal, given } = options;
  const { parts, apply, onChange } = options;
  return new RemoteConfig({
    ...{ folder, settings: config.remote, clock, log, disk, onChange },
    wall: () => clockState.read(),
    open: (envelope) => {
      const message = openKept('config', envelope, membership);
      if (message.kind !== 'config') throw new Error('expected a configuration');
      return message.payload;
    },
    keyId: () => {
      const { descriptor } = membership;
      return descriptor && kidOf(descriptor.keys.control);
    },
    judge: async (wishes) =>
      judgeWishes(wishes, {
        own: config,
        remote: config.remote,
        known: parts()?.sampler.known() ?? new Map(),
        edgeMistakes: await remoteEdgeMistakes(wishes.edge, config.edge),
      }),
    apply: (effective) => apply(effective ?? ownSettings(config)),
    sensors: () => watchedSensors(parts(), { given, silences: options.silences }),
    readings: () => given,
    report: (event, detail) => journal.event(event, detail),
  });
}

function watchedSensors(
  parts: AgentParts | undefined,
  { given, silences }: Pick<OwnRemoteOptions, 'given' | 'silences'>,
): ReturnType<RemoteConfigOptions['sensors']> {
  if (parts === undefined) return [];
  const { sampler, intake } = parts;
  const known = sampler.known();
  const failing = new Set(
    sampler.status().flatMap((each) => (each.failing === null ? [] : [each.profile])),
  );
  return intake.effective.sensors.map(({ profile, intervalMs }) => ({
    profile,
    intervalMs: known.get(profile)?.kind === 'push' ? undefined : intervalMs,
    gaveBefore: given.has(profile) && !failing.has(profile),
    longestSilenceMs: silences.longestMs(profile),
  }));
}
