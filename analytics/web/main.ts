/** The page: login without a token, dashboard with one. */
import './styles.css';
import { api } from './api.ts';
import { showDashboard } from './dashboard.ts';
import { showLogin } from './login.ts';
import { forgetToken, keepToken, startToken } from './session.ts';

const host = document.querySelector<HTMLElement>('#app')!;

function enter(token: string): void {
  keepToken(token);
  const dashboard = showDashboard(host, {
    api: api(token),
    loggedOut: (failure) => {
      forgetToken();
      ask(failure?.message ?? '');
    },
  });
  // A new #token=… in an open tab is another login.
  addEventListener(
    'hashchange',
    () => {
      const next = startToken();
      if (next !== null && next !== token) {
        dashboard.stop();
        enter(next);
      }
    },
    { once: true },
  );
}

function ask(message: string): void {
  showLogin(host, { message, entered: enter });
}

const token = startToken();
if (token === null) ask('');
else enter(token);
