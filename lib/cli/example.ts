// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

const examples = new WeakMap<Command, string>();

/** Gives a command an example, which its help and the manual show. */
export function example(command: Command, line: string): void {
  examples.set(command, line);
  command.addHelpText('after', `\nExample:\n  ${line}`);
}

/** The example of a command, if it has one. */
export const exampleOf = (command: Command): string | undefined => examples.get(command);
