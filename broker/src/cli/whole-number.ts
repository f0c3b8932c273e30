/** A number that a flag takes: what is none would become the default, unnoticed. */

import { InvalidArgumentError } from 'commander';

/** @throws {InvalidArgumentError} for anything but decimal digits. */
export function wholeNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a whole number');
}
