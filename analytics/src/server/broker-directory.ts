/**
 * The broker's admin API as a client: `GET /admin/devices` and `GET /admin/status`.
 *
 * The answer is checked field by field; what does not fit is left out, because a dashboard with one
 * name missing is better than none.
 */
import { readFile } from 'node:fs/promises';
import type {
  BrokerAnswer,
  BrokerStatus,
  DeclaredMetric,
  DeviceDirectory,
  DirectoryEntry,
} from './providers.ts';

const TIMEOUT_MS = 2000;
/** Protects this process's memory from whatever listens on that port. */
const MAX_ANSWER_BYTES = 64 << 20;

export interface BrokerClientOptions {
  /** Base address, for example http://127.0.0.1:7880. */
  readonly url: string;
  /** File that holds the bearer token; read again on each call, so that it may be replaced. */
  readonly tokenFile?: string | undefined;
  readonly fetch?: typeof globalThis.fetch;
}

/** Both views of the broker at `url`. */
export function brokerClient(options: BrokerClientOptions): DeviceDirectory & BrokerStatus {
  const { url, tokenFile, fetch = globalThis.fetch } = options;

  const get = async (path: string): Promise<BrokerAnswer<unknown>> => {
    try {
      const headers: Record<string, string> = { accept: 'application/json' };
      if (tokenFile !== undefined) {
        headers.authorization = `Bearer ${(await readFile(tokenFile, 'utf8')).trim()}`;
      }
      const response = await fetch(new URL(path, url), {
        headers,
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (!response.ok) {
        await response.body?.cancel();
        return { ok: false, detail: `broker: answered ${response.status} to ${path}` };
      }
      return { ok: true, value: JSON.parse(await boundedText(response)) };
    } catch (error) {
      return { ok: false, detail: `broker: no answer to ${path} (${reason(error)})` };
    }
  };

  return {
    devices: async () => {
      const answer = await get('/admin/devices');
      if (!answer.ok) return answer;
      const list = isRecord(answer.value) ? answer.value.devices : answer.value;
      if (!Array.isArray(list)) {
        return { ok: false, detail: 'broker: /admin/devices holds no list' };
      }
      return { ok: true, value: list.flatMap((item) => directoryEntry(item) ?? []) };
    },
    status: async () => {
      const answer = await get('/admin/status');
      if (!answer.ok) return answer;
      return isRecord(answer.value)
        ? { ok: true, value: answer.value }
        : { ok: false, detail: 'broker: /admin/status is not an object' };
    },
  };
}

/** The fields of `item` that are what they should be, or null when it names no device. */
export function directoryEntry(item: unknown): DirectoryEntry | null {
  if (!isRecord(item)) return null;
  const device = item.deviceId ?? item.device;
  if (typeof device !== 'string') return null;
  const entry: Record<string, unknown> = { device };
  for (const key of ['name', 'owner', 'group', 'cell']) {
    if (typeof item[key] === 'string' && item[key] !== '') entry[key] = item[key];
  }
  if (typeof item.online === 'boolean') entry.online = item.online;
  if (typeof item.lastSeenMs === 'number') entry.lastSeenMs = item.lastSeenMs;
  if (isRecord(item.profiles)) entry.profiles = declaredProfiles(item.profiles);
  return entry as unknown as DirectoryEntry;
}

function declaredProfiles(
  profiles: Record<string, unknown>,
): Record<string, readonly DeclaredMetric[]> {
  const declared: Record<string, readonly DeclaredMetric[]> = Object.create(null);
  for (const [profile, metrics] of Object.entries(profiles)) {
    if (!Array.isArray(metrics)) continue;
    declared[profile] = metrics.flatMap((item: unknown) => {
      if (!isRecord(item) || typeof item.metric !== 'string') return [];
      const { metric, unit } = item;
      return [typeof unit === 'string' ? { metric, unit } : { metric }];
    });
  }
  return declared;
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new RangeError('answer too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function reason(error: unknown): string {
  const { cause, name, code } = error as {
    cause?: { code?: string };
    name?: string;
    code?: string;
  };
  return cause?.code ?? code ?? name ?? 'failed';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
