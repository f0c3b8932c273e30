/**
 * The sessions of the plain profile, connected or kept, by client id: who may begin one, and how many there are of each
 * user and in all.
 */

import type { LimitCounter, PlainCode } from './limit-counter.ts';
import { PlainSession, type QueueTotals } from './session.ts';
import type { PlainSettings } from './settings.ts';

export interface PlainSessionsOptions {
  readonly settings: PlainSettings;
  readonly limits: LimitCounter;
  readonly now: () => number;
}

/** Why a session is not begun, and the return code that says so. */
export interface Declined {
  readonly code: Extract<
    PlainCode,
    'ERR_PLAIN_CLIENT_ID' | 'ERR_PLAIN_SESSIONS' | 'ERR_PLAIN_USER_SESSIONS'
  >;
  readonly connack: 2 | 3;
}

export class PlainSessions {
  /** What waits for all of them. */
  readonly totals: QueueTotals = { messages: 0, bytes: 0 };
  private readonly options: PlainSessionsOptions;
  private readonly sessions = new Map<string, PlainSession>();
  /** How many each user has; the anonymous, who are one to us, are not counted. */
  private readonly ofUser = new Map<string, number>();

  constructor(options: PlainSessionsOptions) {
    this.options = options;
  }

  get count(): number {
    return this.sessions.size;
  }

  get(clientId: string): PlainSession | undefined {
    return this.sessions.get(clientId);
  }

  /** All of them, as they are now. */
  all(): readonly PlainSession[] {
    return [...this.sessions.values()];
  }

  /**
   * Whether a user may have the session of a client id: its own, or a new one.
   *
   * @param owner - name of the access token; null: anonymous.
   */
  judge(clientId: string, owner: string | null): Declined | null {
    const { plainMaxSessions, plainMaxSessionsPerUser } = this.options.settings;
    const before = this.sessions.get(clientId);
    if (before !== undefined) {
      return before.owner === owner ? null : { code: 'ERR_PLAIN_CLIENT_ID', connack: 2 };
    }
    if (this.sessions.size >= plainMaxSessions) return { code: 'ERR_PLAIN_SESSIONS', connack: 3 };
    return owner !== null && this.countOf(owner) >= plainMaxSessionsPerUser
      ? { code: 'ERR_PLAIN_USER_SESSIONS', connack: 3 }
      : null;
  }

  /** Begins a session; there is none of this client id. */
  begin(client: {
    readonly id: string;
    readonly owner: string | null;
    readonly clean: boolean;
  }): PlainSession {
    const { settings, limits, now } = this.options;
    const session = new PlainSession(client, {
      limits: settings,
      totals: this.totals,
      now,
      onLimited: (code, clientId) => limits.count(code, clientId),
    });
    this.sessions.set(client.id, session);
    if (client.owner !== null) this.ofUser.set(client.owner, this.countOf(client.owner) + 1);
    return session;
  }

  /** Ends a session, with all that it keeps. */
  end(session: PlainSession): void {
    const { clientId, owner } = session;
    session.end();
    this.sessions.delete(clientId);
    if (owner === null) return;
    const left = this.countOf(owner) - 1;
    if (left > 0) this.ofUser.set(owner, left);
    else this.ofUser.delete(owner);
  }

  private countOf(owner: string): number {
    return this.ofUser.get(owner) ?? 0;
  }
}
