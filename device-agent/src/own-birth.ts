/** The payload of the agent's births. docs/spec/messages.md section 1. */

import { availableParallelism, totalmem } from 'node:os';
import { CONTENT_TYPES } from '@fieldproof/protocol/envelope';
import { encodeBirth } from '@fieldproof/protocol/messages';
import { AGENT_VERSION } from './agent-version.ts';
import type { ClockReading } from './clock-state.ts';
import type { Intake } from './intake.ts';
import type { ParkedId } from './parked.ts';
import type { RemoteConfig } from './remote-config.ts';
import type { Sampler } from './sampler.ts';
import type { Source } from './sensors/sensor.ts';

const MIB = 1024 * 1024;

export interface OwnBirth {
  /** The session's, or null through a gateway. */
  readonly nonce: Uint8Array | null;
  readonly source: Source;
  readonly sampler: Sampler;
  readonly intake: Intake;
  readonly remote: RemoteConfig;
  /** Rejects that this birth acknowledges. */
  readonly rejects: readonly ParkedId[];
  /** The newest checkpoint that was verified. */
  readonly head: [number, Uint8Array] | null;
}

export function encodeOwnBirth(birth: OwnBirth, { wallMs, boundMs }: ClockReading): Uint8Array {
  const { nonce, source, sampler, intake, remote, rejects, head } = birth;
  return encodeBirth({
    nonce,
    agent: AGENT_VERSION,
    source,
    profiles: profilesOf(sampler, intake),
    capabilities: {
      memoryMb: Math.round(totalmem() / MIB),
      cpus: availableParallelism(),
      arch: process.arch,
      formats: [CONTENT_TYPES.senml, CONTENT_TYPES.columns, CONTENT_TYPES.edgeResult],
      config: remote.capability(),
    },
    rejectsSeen: rejects.map(({ boot, seq }) => [boot.counter, boot.seed, seq]),
    head,
    ...(boundMs === null ? {} : { wall: [Math.round(wallMs), boundMs] as [number, number] }),
  });
}

/** What each sensor sends, by profile: what is kept of it, and what edge functions make of that. */
function profilesOf(
  sampler: Sampler,
  intake: Intake,
): Parameters<typeof encodeBirth>[0]['profiles'] {
  return Object.fromEntries(
    sampler.profiles().map(({ profile, metrics, intervalMs }) => {
      const rows = intake.metricsOf(profile, metrics);
      return [
        profile,
        rows.map((spec) => (intervalMs === undefined ? spec : { ...spec, intervalMs })),
      ];
    }),
  );
}
