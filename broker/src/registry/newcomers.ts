/**
 * Site and notes that were written for a newcomer: its token has them until they are its own. docs/spec/registry.md 7.4.
 *
 * Behind an `enrol` entry come those of its texts. When a crash, the disk or the database keeps them back, they stay with
 * the token, and are tried again with each `settle` and by the next start, which reads the entry again until they are
 * there.
 */

import { toHex } from '@fieldproof/protocol/bytes';
import type { RegistryAction, UnknownAction } from '@fieldproof/protocol/registry-actions';
import type { DeviceTexts, TextKind } from './device-texts.ts';
import type { Directory } from './directory.ts';
import type { Device, Registry, Token } from './registry.ts';

export interface NewcomersOptions {
  readonly directory: Directory;
  readonly registry: Pick<Registry, 'tokens' | 'eraseTokenTexts'>;
  readonly texts: DeviceTexts;
  /** They are not written yet, and it is tried again. */
  readonly onError: (error: unknown, deviceId: string) => void;
}

interface Newcomer {
  /** Hash of its token. */
  readonly token: string;
  readonly written: Readonly<Record<TextKind, string>>;
  /** Kinds that are its own by now. */
  readonly done: Set<TextKind>;
  /** What was said of it behind its enrolment: who says something else since then says it last. */
  before: Device['texts'] | null;
}

const KINDS: readonly TextKind[] = ['site', 'notes'];

export class Newcomers {
  readonly #options: NewcomersOptions;
  /** By the ids of devices. */
  readonly #waiting = new Map<string, Newcomer>();
  /** Tokens of the enrolments that a start reads, and which texts entries behind them name. */
  readonly #read = new Map<string, Pick<Newcomer, 'token' | 'done'>>();

  constructor(options: NewcomersOptions) {
    this.#options = options;
  }

  /**
   * Records an enrolment, and then the texts that its token has; whoever calls has the device's turn.
   *
   * @returns the device, at worst without them.
   * @throws what `record` does.
   */
  async enter(deviceId: string, token: Token, record: () => Promise<Device>): Promise<Device> {
    this.#waiting.delete(deviceId);
    if (token.site === '' && token.notes === '') return record();
    const newcomer: Newcomer = { token: token.hash, written: token, done: new Set(), before: null };
    // From before its entry on, or that might be taken for applied in between.
    this.#waiting.set(deviceId, newcomer);
    try {
      newcomer.before = (await record()).texts;
    } catch (error) {
      this.#waiting.delete(deviceId);
      throw error;
    }
    await this.#tryToDescribe(deviceId);
    return this.#options.directory.require(deviceId);
  }

  /** Takes note of an entry that a start reads. */
  catchUp(action: RegistryAction | UnknownAction): void {
    if (action.action === 'enrol') {
      this.#read.delete(action.subject);
      if (action.token === undefined) return;
      this.#read.set(action.subject, { token: toHex(action.token), done: new Set() });
    } else if ((action.action === 'site' || action.action === 'notes') && action.text !== null) {
      this.#read.get(action.subject)?.done.add(action.action);
    }
  }

  /** Goes on where the process before has ended. @returns whether nothing is left. */
  async finishCatchUp(): Promise<boolean> {
    const tokens = await this.#options.registry.tokens();
    const written = new Map(
      tokens.filter(({ site, notes }) => site !== '' || notes !== '').map((it) => [it.hash, it]),
    );
    for (const [deviceId, { token, done }] of this.#read) {
      const texts = written.get(token);
      if (texts === undefined) continue;
      this.#waiting.set(deviceId, { token, written: texts, done, before: null });
    }
    this.#read.clear();
    return this.settle();
  }

  /** Writes what is still to be written. @returns whether nothing is left. */
  async settle(): Promise<boolean> {
    const { directory } = this.#options;
    for (const deviceId of [...this.#waiting.keys()]) {
      await directory.inTurn(deviceId, () => this.#tryToDescribe(deviceId));
      // What does not answer one does not answer the others, who wait.
      if (this.#waiting.has(deviceId)) return false;
    }
    return this.#waiting.size === 0;
  }

  async #tryToDescribe(deviceId: string): Promise<void> {
    const newcomer = this.#waiting.get(deviceId);
    if (newcomer === undefined) return;
    try {
      for (const kind of KINDS) await this.#describe(deviceId, kind, newcomer);
      await this.#options.registry.eraseTokenTexts(newcomer.token);
      this.#waiting.delete(deviceId);
    } catch (error) {
      this.#options.onError(error, deviceId);
    }
  }

  async #describe(deviceId: string, kind: TextKind, newcomer: Newcomer): Promise<void> {
    const { directory, texts } = this.#options;
    const { written, before, done } = newcomer;
    const device = directory.get(deviceId);
    if (device === null || device.status === 'unenrolled' || written[kind] === '') return;
    if (before !== null && device.texts[kind] !== before[kind]) done.add(kind);
    if (!done.has(kind)) {
      const text = await texts.keep(deviceId, kind, written[kind]);
      const { group, cell } = device;
      await directory.record(
        kind === 'site'
          ? { action: 'site', subject: deviceId, group, cell, text }
          : { action: 'notes', subject: deviceId, text },
      );
      done.add(kind);
    }
    await texts.eraseOthers(deviceId, kind, directory.require(deviceId).texts[kind]);
  }
}
