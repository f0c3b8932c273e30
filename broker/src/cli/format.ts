/** What the command line shows to people. Pure. */

interface ShownToken {
  readonly hash: string;
  readonly uses: number;
  readonly used: number;
  readonly group: string;
  readonly expiresAt: number;
  readonly usable: boolean;
}

interface ShownStatus {
  readonly network: string;
  readonly uptimeMs: number;
  readonly devices: number;
  readonly addresses: Readonly<Record<string, string | null>>;
  readonly verdicts: {
    readonly received: number;
    readonly accepted: number;
    readonly duplicate: number;
    readonly rejected: number;
    readonly rejectedByCode: Readonly<Record<string, number>>;
  };
  readonly evidence: {
    readonly entries: number;
    readonly published: number;
    readonly writable: boolean;
    readonly problem?: {
      readonly code: string;
      readonly message: string;
      readonly remedy: string;
    } | null;
  };
  readonly mqtt: { readonly sessions: number; readonly connections: number };
}

export function formatStatus(value: unknown): string {
  const { network, uptimeMs, devices, addresses, verdicts, evidence, mqtt } = value as ShownStatus;
  const served = Object.values(addresses).filter((address) => address !== null);
  const rejects = Object.entries(verdicts.rejectedByCode).map(
    ([code, count]) => `           ${code} ${count}`,
  );
  return [
    `network    ${network}, up ${Math.round(uptimeMs / 1000)} s`,
    `addresses  ${served.join('  ')}`,
    `devices    ${devices} enrolled, ${mqtt.sessions} online, ${mqtt.connections} connections`,
    `received   ${verdicts.received} = ${verdicts.accepted} accepted + ${verdicts.duplicate} duplicate + ${verdicts.rejected} rejected`,
    ...rejects,
    `evidence   ${evidence.entries} entries, ${evidence.published} published${evidence.writable ? '' : ', NOT WRITABLE'}`,
    ...(evidence.problem
      ? [
          `problem    ${evidence.problem.code}: ${evidence.problem.message}. ${evidence.problem.remedy}`,
        ]
      : []),
  ].join('\n');
}

export function formatTokens(value: unknown): string {
  const { tokens } = value as { readonly tokens: readonly ShownToken[] };
  if (tokens.length === 0) return 'no tokens';
  return tokens
    .map(({ hash, used, uses, group, expiresAt, usable }) => {
      const state = usable ? 'usable' : 'spent';
      return `${hash}  ${state}  ${used}/${uses}  ${group}  until ${new Date(expiresAt).toISOString()}`;
    })
    .join('\n');
}
