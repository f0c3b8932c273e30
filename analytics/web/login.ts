/** The page without a token: where to paste one, where to find one, and why the last one failed. */
import { el, logo } from './dom.ts';

/** Fills `host` with the form; `entered` is called with what the person typed. */
export function showLogin(
  host: HTMLElement,
  { message, entered }: { readonly message: string; readonly entered: (token: string) => void },
): void {
  const input = el('input', {
    ...{ id: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false' },
    ...{ placeholder: 'fpt_…', required: '', 'aria-describedby': 'token-help' },
  });
  const form = el(
    'form',
    { class: 'login' },
    logo(),
    el('h1', {}, 'Fieldproof'),
    el('p', { class: 'login-lead' }, 'Signed sensors, checked compute.'),
    message === '' ? null : el('p', { class: 'banner is-error', role: 'alert' }, message),
    el('label', { for: 'token' }, 'Access token'),
    input,
    el('button', { type: 'submit', class: 'button is-primary' }, 'Open the dashboard'),
    el(
      'p',
      { id: 'token-help', class: 'help' },
      'npm start prints a link that logs you in. The token is also in ',
      el('code', {}, 'data/control/admin-token'),
      '; an operator makes others with ',
      el('code', {}, 'fieldproof token create'),
      '.',
    ),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const token = input.value.trim();
    if (token !== '') entered(token);
  });
  host.replaceChildren(el('main', { class: 'login-page' }, form));
  input.focus();
}
