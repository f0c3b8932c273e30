/**
 * What a session does about a message under a key that it does not know: it asks for the network descriptor, and
 * whatever comes meanwhile waits its turn. docs/spec/identity.md 2.5.
 *
 * The session, not this, judges the messages: before as well as after.
 */

import type { Clock } from './clock.ts';

/** A key that no descriptor names is asked for again after this: who sends it must not make us ask all the time. */
const ASK_AGAIN_MS = 60_000;
/** Messages that wait. More end the session: the next one is told everything again. */
const MAX_HELD = 256;

export interface HeldMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
}

export interface KeyFollowerOptions {
  readonly clock: Clock;
  /** Fetches the descriptor; whether it is a newer one. */
  readonly refresh: () => Promise<boolean>;
  /** Takes the messages that waited, in their order. */
  readonly replay: (message: HeldMessage) => void;
  /** The session cannot go on: what waited is lost to it. */
  readonly fail: (reason: string) => void;
}

export class KeyFollower {
  readonly #options: KeyFollowerOptions;
  #held: HeldMessage[] | undefined;
  #uselessMs: number | undefined;

  constructor(options: KeyFollowerOptions) {
    this.#options = options;
  }

  /** Keeps a message while the descriptor is on its way. @returns whether it did. */
  hold(message: HeldMessage): boolean {
    if (this.#held === undefined) return false;
    this.#held.push(message);
    if (this.#held.length > MAX_HELD) {
      this.#options.fail('too many messages while the keys of the network are asked for');
    }
    return true;
  }

  /** Begins with a message under an unknown key. @returns false when it is too early to ask again. */
  follow(message: HeldMessage): boolean {
    const { clock } = this.#options;
    const since = this.#uselessMs;
    if (since !== undefined && clock.monotonicMs() - since < ASK_AGAIN_MS) return false;
    this.#held = [message];
    void this.#ask();
    return true;
  }

  async #ask(): Promise<void> {
    const { clock, refresh, replay, fail } = this.#options;
    try {
      this.#uselessMs = (await refresh()) ? undefined : clock.monotonicMs();
    } catch {
      // A notice that was not understood may have put an envelope off: the next session sends everything again.
      this.#held = undefined;
      fail('a key of the network is new, and its descriptor did not come');
      return;
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    held.forEach(replay);
  }
}
