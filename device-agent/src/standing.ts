/**
 * What the network says of this device's standing, and the owner's appeal against a suspension.
 * docs/spec/registry.md section 4.
 */

import { sealAppeal } from '@fieldproof/protocol/appeal';
import type { Signer } from '@fieldproof/protocol/envelope';
import type { Suspension } from '@fieldproof/protocol/registry-device';
import { AgentError, reasonOf } from './errors.ts';
import type { HttpAnswer } from './http-call.ts';
import type { Membership } from './membership.ts';

/** Times are Unix ms. */
export interface Standing {
  readonly device: string;
  readonly at: number;
  readonly standing: string;
  readonly suspension: Suspension | null;
  readonly quarantined: readonly string[];
}

export interface AppealResult {
  readonly device: string;
  /** Indices of entries. */
  readonly suspension: number;
  readonly appeal: number;
  readonly at: number;
}

/** @throws {AgentError} as `Membership.hello`, and ERR_AGENT_ANSWER_INVALID. */
export async function fetchStanding(membership: Membership): Promise<Standing> {
  // Brings the newest descriptor, by which the server is known.
  await membership.hello();
  return await askStanding(membership);
}

/**
 * Signs an appeal against the last suspension and sends it.
 *
 * @param appeal.owner - signs with the owner key.
 * @throws {AgentError} ERR_AGENT_APPEAL_REFUSED; as {@link fetchStanding}.
 */
export async function sendAppeal(
  membership: Membership,
  appeal: { readonly text: string; readonly owner: Signer },
): Promise<AppealResult> {
  const { nonce } = await membership.hello();
  const { suspension } = await askStanding(membership);
  if (suspension === null) {
    throw new AgentError('ERR_AGENT_APPEAL_REFUSED', 'appeal: the device was never suspended');
  }
  const { deviceId, network } = membership;
  const { text, owner } = appeal;
  let bytes: Uint8Array;
  try {
    const body = { nonce, device: deviceId, suspension: suspension.index, text };
    bytes = sealAppeal(body, { network, signer: owner });
  } catch (cause) {
    throw new AgentError('ERR_AGENT_USAGE', `--text: ${reasonOf(cause)}`, { cause });
  }
  const answer = await membership.ask('POST', '/v1/appeal', bytes);
  if (answer.status >= 400 && answer.problem !== undefined) {
    const { code, detail } = answer.problem;
    const why = code === 'ERR_SIGNATURE_INVALID' ? 'the phrase is not that of the owner' : detail;
    throw new AgentError('ERR_AGENT_APPEAL_REFUSED', `appeal: ${code} ${why}`);
  }
  return jsonOf(answer, '/v1/appeal') as AppealResult;
}

/** Lines for people. */
export function formatStanding(standing: Standing): string {
  const { suspension, quarantined } = standing;
  const lines = [`standing     ${standing.standing}`];
  if (suspension !== null) lines.push(...suspensionLines(suspension, standing.at));
  if (quarantined.length > 0) lines.push(`quarantined  ${quarantined.join(' ')}`);
  // A reason may not move the cursor of a terminal.
  return lines.map((line) => line.replace(/\p{Cc}+/gu, ' ')).join('\n');
}

async function askStanding(membership: Membership): Promise<Standing> {
  const path = `/v1/devices/${membership.deviceId}/standing`;
  const answer = jsonOf(await membership.ask('GET', path), path);
  if (isStanding(answer)) return answer;
  throw new AgentError('ERR_AGENT_ANSWER_INVALID', `${path}: expected a standing`);
}

function isStanding(value: object): value is Standing {
  const { at, standing, suspension, quarantined } = value as Partial<Standing>;
  return (
    isTime(at) &&
    typeof standing === 'string' &&
    isList(quarantined, 'string') &&
    (suspension === null || isSuspension(suspension))
  );
}

function isSuspension(value: Partial<Suspension> | undefined): boolean {
  if (typeof value !== 'object') return false;
  const { index, at, kind, reason, evidence, until, appealUntil, appeal, decision } = value;
  return (
    [index, at, appealUntil, until ?? 0, appeal?.at ?? 0, decision?.at ?? 0].every(isTime) &&
    typeof kind === 'string' &&
    typeof reason === 'string' &&
    isList(evidence, 'number')
  );
}

function isList(value: unknown, type: string): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === type);
}

/** One that a date can show. */
function isTime(value: unknown): boolean {
  return Number.isSafeInteger(value) && Math.abs(value as number) <= 8.64e15;
}

function suspensionLines(suspension: Suspension, now: number): string[] {
  const { index, at, kind, reason, evidence, until, appealUntil, appeal, decision } = suspension;
  const end = until === null ? 'until the operator resumes it' : `until ${time(until)}`;
  const shown = evidence.length === 0 ? '' : `; entries ${evidence.join(', ')}`;
  const possible = appealUntil > now ? `possible until ${time(appealUntil)}` : 'none';
  return [
    `suspended    ${time(at)} ${end} (entry ${index})`,
    `for          ${kind}: ${reason}${shown}`,
    `appeal       ${appeal === null ? possible : `${time(appeal.at)} (entry ${appeal.index})`}`,
    ...(decision === null
      ? []
      : [`decision     ${decision.outcome} ${time(decision.at)}: ${decision.reason}`]),
  ];
}

function jsonOf(answer: HttpAnswer, path: string): object {
  if (answer.status < 200 || answer.status > 299) {
    const { code = '', detail = '' } = answer.problem ?? {};
    const reason = `${path}: HTTP ${answer.status} ${code} ${detail}`.trim();
    throw new AgentError('ERR_AGENT_ANSWER_INVALID', reason);
  }
  try {
    const value: unknown = JSON.parse(Buffer.from(answer.body).toString('utf8'));
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new AgentError('ERR_AGENT_ANSWER_INVALID', `${path}: ${reasonOf(cause)}`, { cause });
  }
  throw new AgentError('ERR_AGENT_ANSWER_INVALID', `${path}: expected an object`);
}

function time(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
