#!/usr/bin/env node
/** `fieldproof-broker`: runs a broker, and administers the one of a data folder. */

import { runCommand } from './program.ts';

await runCommand(process.argv.slice(2));
