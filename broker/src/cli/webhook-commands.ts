/** `fieldproof-broker webhook`. */

import type { Command } from 'commander';
import { type CommonFlags, common, createClient, print } from './common.ts';

interface Answer {
  readonly url: string;
  readonly ok: boolean;
  readonly status: number | null;
  readonly durationMs: number;
  readonly why: string;
}

export function addWebhookCommands(program: Command): void {
  const webhook = program.command('webhook').description('events sent to webhookUrl');
  common(webhook.command('test').description('send a sample and show the answer')).action(test);
}

async function test(flags: CommonFlags): Promise<void> {
  const answer = (await createClient(flags).call('POST', '/admin/webhook/test')) as Answer;
  print(flags, answer, () => formatAnswer(answer));
  if (!answer.ok) process.exitCode = 1;
}

function formatAnswer({ url, ok, status, durationMs, why }: Answer): string {
  if (ok) return `${url} took it: HTTP status ${status}, ${durationMs} ms`;
  return `${url} did not take it: ${why}, ${durationMs} ms`;
}
