/** What is asked for before it is there: listeners know their ports before the descriptor can name them. */

import type { DescriptorDesk } from '../descriptor-desk.ts';

export class Later {
  /** Whether everything is open. */
  isReady = false;
  private opened: DescriptorDesk | null = null;

  open(desk: DescriptorDesk): void {
    this.opened = desk;
  }

  get descriptorDeskOrNull(): DescriptorDesk | null {
    return this.opened;
  }

  readonly descriptorDesk = (): DescriptorDesk => {
    if (this.opened === null) throw new Error('descriptor: asked for before it is there');
    return this.opened;
  };

  readonly descriptor = (): DescriptorDesk['current'] => this.descriptorDesk().current;
}
