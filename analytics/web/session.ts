/**
 * The token of this tab. `#token=…` in the address is taken over and removed from the address bar and
 * the history entry; it lives in sessionStorage, which ends with the tab.
 */

const KEY = 'fieldproof-token';

/** The token to begin with, or null. */
export function startToken(): string | null {
  const match = /(?:^#|&)token=([^&]*)/.exec(location.hash);
  if (match?.[1] !== undefined) {
    history.replaceState(null, '', location.pathname + location.search);
    const token = decoded(match[1]).trim();
    if (token !== '') {
      keepToken(token);
      return token;
    }
  }
  return sessionStorage.getItem(KEY);
}

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
