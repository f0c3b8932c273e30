/** One device as a card: made once, updated in place. The whole card is one button. */
import { readingLine, readingText } from '../src/reading-text.ts';
import { el, setText } from './dom.ts';
import { formatAge } from './format.ts';
import type { Card, Reading } from './model.ts';
import { sparkline } from './sparkline.ts';

/** Further readings on a card, each a line of its own: nothing is cut to make room for another. */
const OTHERS = 3;
/** A device that was silent for longer is shown faded. */
const STALE_MS = 120_000;

const SOURCES: Readonly<Record<string, string>> = {
  sensor: 'Readings of a sensor',
  replay: 'Recorded data, played again',
  simulated: 'Made by a program',
};

export interface CardView {
  readonly root: HTMLElement;
  readonly spark: SVGSVGElement;
  update(card: Card): void;
  /** Ages and fading, every second. */
  tick(nowMs: number): void;
}

/** A view of `first`; `open` is called with the card as it then is. */
export function cardView(first: Card, open: (card: Card) => void): CardView {
  let card = first;
  const dot = el('span', { class: 'dot' });
  const title = el('span', { class: 'card-title' });
  const tag = el('span', { class: 'tag' });
  const place = el('span', { class: 'card-place' });
  const age = el('span', { class: 'card-age' });
  const label = el('span', { class: 'card-label' });
  const value = el('span', { class: 'card-value' });
  const unit = el('span', { class: 'card-unit' });
  const others = el('span', { class: 'card-others' });
  const spark = sparkline();
  const root = el(
    'button',
    { class: 'card', type: 'button', 'aria-haspopup': 'dialog' },
    el('span', { class: 'card-head' }, dot, title, tag),
    el('span', { class: 'card-meta' }, place, age),
    el('span', { class: 'card-main' }, label, el('span', { class: 'card-number' }, value, unit)),
    spark,
    others,
  );
  root.addEventListener('click', () => open(card));

  const update = (next: Card): void => {
    card = next;
    root.dataset.device = card.device;
    const presence = card.online === null ? 'presence unknown' : card.online ? 'online' : 'offline';
    dot.className = `dot ${card.online === null ? 'unknown' : card.online ? 'on' : 'off'}`;
    dot.title = presence;
    setText(title, card.title);
    title.title = `${card.title}\n${card.device}`;
    tag.hidden = card.source === null;
    tag.className = `tag tag-${card.source !== null && card.source in SOURCES ? card.source : 'other'}`;
    tag.title = SOURCES[card.source ?? ''] ?? '';
    setText(tag, card.source ?? '');
    setText(place, card.group ?? '');
    const { primary } = card;
    setText(label, primary?.label ?? 'No readings yet');
    label.title = primary === null ? '' : `${primary.profile}/${primary.metric}`;
    const text = primary === null ? null : readingText(primary.value, primary.unit);
    setText(value, text?.value ?? '–');
    value.classList.toggle('is-text', typeof primary?.value === 'string');
    setText(unit, text?.unit ?? '');
    others.replaceChildren(...card.others.slice(0, OTHERS).map(otherReading));
    if (card.others.length > OTHERS) {
      others.append(el('span', { class: 'more' }, `${card.others.length - OTHERS} more`));
    }
    root.setAttribute('aria-label', spoken(card, presence));
  };
  const tick = (nowMs: number): void => {
    const { newestMs } = card;
    setText(age, newestMs === null ? '' : formatAge(nowMs - newestMs));
    root.classList.toggle('is-stale', newestMs === null || nowMs - newestMs > STALE_MS);
  };
  update(first);
  return { root, spark, update, tick };
}

function otherReading({ label, value, unit, profile, metric }: Reading): HTMLElement {
  return el(
    'span',
    { class: 'other', title: `${profile}/${metric}` },
    el('span', { class: 'other-label' }, label),
    el('span', { class: 'other-value' }, readingLine(value, unit)),
  );
}

function spoken({ title, primary, source }: Card, presence: string): string {
  const reading =
    primary === null
      ? 'no readings yet'
      : `${primary.label} ${readingLine(primary.value, primary.unit)}`;
  return [title, presence, source, reading].filter((part) => part !== null).join(', ');
}
