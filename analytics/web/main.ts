/** The page: login without a token, dashboard with one. */
import './styles.css';
import { api } from './api.ts';
import { type Dashboard, showDashboard } from './dashboard.ts';
import { showLogin } from './login.ts';
import { forgetToken, keepToken, startToken } from './session.ts';

const host = document.querySelector<HTMLElement>('#app')!;
let dashboard: Dashboard | null = null;

function enter(token: string): void {
  dashboard?.stop();
  keepToken(token);
  dashboard = showDashboard(host, {
    api: api(token),
    loggedOut: (failure) => {
      forgetToken();
      ask(failure?.message ?? '');
    },
  });
}

function ask(message: string): void {
  dashboard = null;
  showLogin(host, { message, entered: enter });
}

// A new #token=… in an open tab is another login.
addEventListener('hashchange', () => {
  if (!location.hash.includes('token=')) return;
  const token = startToken();
  if (token !== null) enter(token);
});

const token = startToken();
if (token === null) ask('');
else enter(token);
