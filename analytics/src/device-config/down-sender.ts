/**
 * Seals desired states and hands them to the broker (docs/spec/topics.md 3.4). The key is looked up at the first message,
 * and again when the broker does not take its signature: it may have been replaced.
 */
import { readFile } from 'node:fs/promises';
import {
  CONTENT_TYPES,
  downAad,
  parseEnvelope,
  type Signer,
  seal,
} from '@fieldproof/protocol/envelope';
import { decodeDescriptor } from '@fieldproof/protocol/statements';
import { AnalyticsError } from '../errors.ts';
import { loadControlKey } from './control-key.ts';

const TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 1 << 20;

export interface DownSender {
  /**
   * Whether the device was connected, and the message on its way to it.
   *
   * @throws {AnalyticsError} ERR_CONFIG_UNAVAILABLE (key or broker), ERR_CONFIG_DEVICE (not enrolled).
   */
  send(device: string, payload: Uint8Array): Promise<boolean>;
  /** Entries in the evidence log now. @throws {AnalyticsError} ERR_CONFIG_UNAVAILABLE. */
  evidenceSize(): Promise<number>;
}

export interface DownSenderOptions {
  /** Address of the broker's HTTP listener. */
  readonly brokerUrl: string;
  readonly brokerTokenFile: string;
  readonly keysDir: string;
  readonly fetch?: typeof globalThis.fetch;
}

/** A sender through the broker of `brokerUrl`, whose descriptor is believed: it is the operator's own. */
export function downSender(options: DownSenderOptions): DownSender {
  const { brokerUrl, brokerTokenFile, keysDir, fetch = globalThis.fetch } = options;
  let sealing: Promise<{ network: string; signer: Signer }> | undefined;

  const request = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const token = await readFile(brokerTokenFile, 'utf8').catch(() => '');
    try {
      return await fetch(new URL(path, brokerUrl), {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${token.trim()}` },
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      const { cause, name } = error as { cause?: { code?: string }; name: string };
      throw unavailable(`broker: no answer to ${path} (${cause?.code ?? name})`);
    }
  };
  const load = async () => {
    const response = await request('/v1/descriptor');
    if (!response.ok) throw unavailable(`broker: answered ${response.status} to /v1/descriptor`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length > MAX_ANSWER_BYTES) throw unavailable('broker: the descriptor is too long');
    const { network, keys } = decodeDescriptor(parseEnvelope(bytes).payload);
    return { network, signer: await loadControlKey(keysDir, keys.control) };
  };
  const post = async (device: string, payload: Uint8Array) => {
    sealing ??= load();
    sealing.catch(() => {
      sealing = undefined;
    });
    const { network, signer } = await sealing;
    const envelope = seal({
      ...{ contentType: CONTENT_TYPES.cbor, payload, signer },
      externalAad: downAad(network, 'config', device),
    });
    const response = await request(`/v1/down/${encodeURIComponent(device)}/config`, {
      method: 'POST',
      headers: { 'content-type': 'application/cose' },
      body: Buffer.from(envelope),
    });
    const answer = (await response.json().catch(() => null)) as Record<string, unknown> | null;
    return { status: response.status, answer };
  };

  return {
    send: async (device, payload) => {
      let { status, answer } = await post(device, payload);
      if (answer?.code === 'ERR_SIGNATURE_INVALID') {
        sealing = undefined;
        ({ status, answer } = await post(device, payload));
      }
      if (status === 200) return answer?.sent === true;
      const detail = `broker: answered ${status} ${String(answer?.code ?? '')} ${String(answer?.detail ?? '')}`;
      if (answer?.code === 'ERR_DEVICE_UNKNOWN') {
        throw new AnalyticsError('ERR_CONFIG_DEVICE', `device ${device}: not enrolled`);
      }
      throw unavailable(detail.trim());
    },
    evidenceSize: async () => {
      const response = await request('/admin/status');
      const answer = (await response.json().catch(() => null)) as {
        evidence?: { entries?: unknown };
      } | null;
      const size = answer?.evidence?.entries;
      if (response.ok && typeof size === 'number' && Number.isSafeInteger(size)) return size;
      throw unavailable(`broker: answered ${response.status} to /admin/status`);
    },
  };
}

function unavailable(message: string): AnalyticsError {
  return new AnalyticsError('ERR_CONFIG_UNAVAILABLE', message);
}
