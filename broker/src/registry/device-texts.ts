/**
 * What people write about a device, in the database only: the log has SHA-256(salt ‖ UTF-8 text).
 * docs/spec/registry.md 5.2.
 */

import { createHash } from 'node:crypto';
import { encodeUtf8, toHex } from '@fieldproof/protocol/bytes';
import { answered, overwriteDeleted, type RegistryDatabase } from './database.ts';

export type TextKind = 'site' | 'notes';

export interface WrittenText {
  readonly text: string;
  /** 16 bytes. */
  readonly salt: Uint8Array;
}

const SALT_BYTES = 16;

/** The hash of a text in the log. */
export function commitmentTo({ text, salt }: WrittenText): Uint8Array {
  return Uint8Array.from(createHash('sha256').update(salt).update(encodeUtf8(text)).digest());
}

/** All texts of a kind about a device but the newest. */
export interface OwedErasure {
  readonly deviceId: string;
  readonly kind: TextKind;
}

/** All methods throw {BrokerError} ERR_REGISTRY_DATABASE. */
export class DeviceTexts {
  /** What is to be erased and is not yet, by its name. */
  private readonly owed = new Map<string, OwedErasure>();
  private readonly options: {
    readonly db: RegistryDatabase;
    readonly random: (bytes: number) => Uint8Array;
    readonly now: () => number;
  };

  constructor(options: DeviceTexts['options']) {
    this.options = options;
  }

  /** Keeps a text under a new salt; `eraseOthers` is owed then, whether the log gets it or not. @returns the hash for the log. */
  async keep(deviceId: string, kind: TextKind, text: string): Promise<Uint8Array> {
    const { db, random, now } = this.options;
    const salt = random(SALT_BYTES);
    const commitment = commitmentTo({ text, salt });
    this.owe(deviceId, kind);
    const query = db.insertInto('device_texts').values({
      commitment: toHex(commitment),
      device_id: deviceId,
      kind,
      text,
      salt: Buffer.from(salt),
      created_at: now(),
    });
    await answered(query.execute());
    return commitment;
  }

  /** The text with that hash, hex; null when it is not here: of a database that was lost, say. */
  async find(commitment: string | null): Promise<WrittenText | null> {
    if (commitment === null) return null;
    const query = this.options.db
      .selectFrom('device_texts')
      .select(['text', 'salt'])
      .where('commitment', '=', commitment);
    return (await answered(query.executeTakeFirst())) ?? null;
  }

  /** Erases all texts of a kind about a device but the one with that hash, hex. It is owed until that is done. */
  async eraseOthers(deviceId: string, kind: TextKind, commitment: string | null): Promise<void> {
    const { db } = this.options;
    const name = this.owe(deviceId, kind);
    const query = db
      .deleteFrom('device_texts')
      .where('device_id', '=', deviceId)
      .where('kind', '=', kind)
      .where('commitment', '!=', commitment ?? '');
    const { numDeletedRows } = await answered(query.executeTakeFirst());
    if (Number(numDeletedRows) > 0) await answered(overwriteDeleted(db));
    this.owed.delete(name);
  }

  /** What the database may have of texts that the log does not name. */
  get owedErasures(): readonly OwedErasure[] {
    return [...this.owed.values()];
  }

  private owe(deviceId: string, kind: TextKind): string {
    const name = `${kind} ${deviceId}`;
    this.owed.set(name, { deviceId, kind });
    return name;
  }
}
