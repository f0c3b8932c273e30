/** Elements as expressions. Text is always set as text: nothing that a device says becomes markup. */

type Child = Node | string | null;

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; a null attribute is left out. */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string | null>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name, value);
  }
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** The same for SVG. */
export function svg<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string>> = {},
): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Sets the text only where it differs, so that selections and screen readers are left alone. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Our mark: a tick that begins at a sensor. */
export function logo(): SVGSVGElement {
  const mark = svg('svg', { viewBox: '0 0 32 32', class: 'logo', 'aria-hidden': 'true' });
  mark.append(
    svg('rect', { width: '32', height: '32', rx: '8', class: 'logo-back' }),
    svg('path', { d: 'M7 18.5l4.5 4.5L25 9.5', class: 'logo-tick' }),
    svg('circle', { cx: '9', cy: '10', r: '2.2', class: 'logo-dot' }),
  );
  return mark;
}
