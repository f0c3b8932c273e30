/** What a device is set to from afar, in its dialog. Hidden where nothing was ever set, or the API cannot say. */
import { wishLines } from '../src/wish-lines.ts';
import type { Api, ApiConfig } from './api.ts';
import { el } from './dom.ts';

/** How often a state without an answer is asked for again. */
const AGAIN_MS = 3000;

const STANDINGS: Readonly<Record<string, string>> = {
  waiting: 'waiting for the device',
  applied: 'applied',
  refused: 'refused by the device',
  'rolled-back': 'taken back by the device',
  expired: 'expired',
};

export interface SettingsPanel {
  readonly element: HTMLElement;
  stop(): void;
}

/** Fills itself, and follows a state that waits until `stop`. */
export function settingsPanel(api: Api, device: string): SettingsPanel {
  const element = el('section', { class: 'settings', hidden: '', 'aria-label': 'Settings' });
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isStopped = false;
  const load = async (): Promise<void> => {
    const config = await api.config(device).catch(() => null);
    if (isStopped || config?.wanted == null) return;
    element.replaceChildren(...contentOf(config));
    element.hidden = false;
    if (config.wanted.standing === 'waiting') timer = setTimeout(load, AGAIN_MS);
  };
  void load();
  return {
    element,
    stop: () => {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}

function contentOf({ wanted, inForce }: ApiConfig): HTMLElement[] {
  const { version, expiresMs, by, standing, wishes, reports } = wanted!;
  const last = reports.at(-1);
  const until = new Date(expiresMs).toLocaleDateString([], { dateStyle: 'medium' });
  const isBad = standing === 'refused' || standing === 'rolled-back';
  const state = el(
    'span',
    { class: isBad ? 'standing is-bad' : 'standing' },
    STANDINGS[standing] ?? standing,
  );
  const inForceText =
    isBad && inForce !== null
      ? ` In force: ${inForce === 0 ? "the owner's settings" : `version ${inForce}`}.`
      : '';
  const entry = last === undefined ? '' : `, entry ${last.entry} of the evidence log`;
  const head = el(
    'p',
    {},
    el('strong', {}, 'Settings from afar: '),
    `version ${version} by ${by}, until ${until}: `,
    state,
    `${entry}.${inForceText}`,
  );
  const rows = wishLines(wishes).map(([name, value]) =>
    el('div', {}, el('dt', {}, name), el('dd', { title: value }, value)),
  );
  const reasons = isBad ? (last?.reasons ?? []).map((reason) => el('li', {}, reason)) : [];
  return [
    head,
    ...(rows.length === 0 ? [] : [el('dl', { class: 'facts' }, ...rows)]),
    ...(reasons.length === 0 ? [] : [el('ul', { class: 'reasons' }, ...reasons)]),
  ];
}
