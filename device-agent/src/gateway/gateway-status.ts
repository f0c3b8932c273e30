/** What a gateway says of itself in `status`. */

export interface GatewayStatus {
  readonly listen: string;
  /** Why it does not listen. */
  readonly problem: string | null;
  /** Since the agent started: envelopes that were taken, that were handed in again, and that were none of a leaf's. */
  readonly taken: number;
  readonly again: number;
  readonly refused: number;
  /** Connections above `gateway.maxConnections`. */
  readonly turnedAway: number;
  readonly leaves: readonly {
    readonly leaf: string;
    readonly connected: boolean;
    /** Whether the network has its delegation, as far as this run knows. */
    readonly isFiled: boolean;
    /** Why the network does not let this gateway relay for it. */
    readonly problem: string | null;
    /** Envelopes, and bytes, that the network has not settled. */
    readonly waiting: number;
    readonly bytes: number;
    /** Messages from the network that it has not fetched. */
    readonly mail: number;
  }[];
}

export function formatGateway({
  listen,
  problem: isOff,
  taken,
  refused,
  turnedAway,
  leaves,
}: GatewayStatus): [string, string][] {
  const extra = [
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(turnedAway > 0 ? [`${turnedAway} connections turned away`] : []),
  ].map((text) => `, ${text}`);
  return [
    ...(isOff === null ? [] : [['gateway', `does not listen: ${isOff}`] as [string, string]]),
    ['gateway', `${listen}, ${leaves.length} leaves, ${taken} envelopes taken${extra.join('')}`],
    ...leaves.map(({ leaf, connected, isFiled, problem, waiting, bytes }): [string, string] => [
      `leaf …${leaf.slice(-8)}`,
      `${connected ? 'connected' : 'away'}, ${waiting} waiting (${Math.ceil(bytes / 1024)} KiB)${
        problem !== null ? `, refused: ${problem}` : isFiled ? '' : ', not filed yet'
      }`,
    ]),
  ];
}
