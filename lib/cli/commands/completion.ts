// SPDX-License-Identifier: MIT
// Completion by the shell, made from the commands themselves.
import { Argument, type Command, type Option } from 'commander';

import { shellWord as quote } from '../../start.js';
import { example } from '../example.js';
import { write } from '../output.js';

/** A command with its name behind those of the commands that it belongs to: `rule add`. */
interface Entry {
  path: string;
  command: Command;
}

function entries(command: Command, path = ''): Entry[] {
  const visible = command.createHelp().visibleCommands(command);
  return [
    { path, command },
    ...visible.flatMap((child) => entries(child, path ? `${path} ${child.name()}` : child.name())),
  ];
}

const isGroup = ({ command }: Entry): boolean => command.commands.length > 0;

const subcommands = (command: Command): Command[] => command.createHelp().visibleCommands(command);
const options = (command: Command): readonly Option[] => command.createHelp().visibleOptions(command);

/** What stands for a word in the usage, and what shells complete it with. */
const kinds: Partial<Record<string, 'devices' | 'filters' | 'files'>> = {
  DEV: 'devices',
  SRC: 'devices',
  'SRC=DST': 'devices',
  FILTER: 'filters',
  FILE: 'files',
  DST: 'files',
  TARGET: 'files',
};

/** What the value of an option is completed with: `--output <file>`. */
const kindOfValue = ({ flags }: Option): (typeof kinds)[string] | undefined =>
  kinds[/<([^>]+)>/.exec(flags)?.[1]?.toUpperCase() ?? ''];

const takesValue = ({ required, optional }: Option): boolean => required || optional;

const helpers = `
_blkfilter_devices() { lsblk --paths --noheadings --raw --output NAME 2>/dev/null; }
_blkfilter_filters() { sed 's/ [^ ]*$//' /sys/module/blkfilter/parameters/filters 2>/dev/null || echo cbt; }
`.trim();

const bashWords = {
  devices: '-W "$(_blkfilter_devices)"',
  filters: '-W "$(_blkfilter_filters)"',
  files: '-f',
};

const wordList = (names: string[]): string => `-W '${names.join(' ')}'`;

/** The branches of a case statement: what completes each pattern. Those that complete the same share one. */
function branches(pairs: [pattern: string, words: string][]): string {
  const patterns = new Map<string, string[]>();
  for (const [pattern, words] of pairs) {
    // Whatever comes at a star's place, which must not be quoted.
    const quoted = `'${pattern}'`.replace(/\*'$/, "'*");
    patterns.set(words, [...(patterns.get(words) ?? []), quoted]);
  }
  return Array.from(patterns, ([words, all]) => `\t${all.join(' | ')}) words=(${words}) ;;`).join('\n');
}

/** The completion of bash. */
function bash(program: Command): string {
  const all = entries(program);
  const values = all.flatMap(({ path, command }) =>
    options(command)
      .filter(takesValue)
      .map((option): [string, string] => {
        const kind = kindOfValue(option);
        return [`${path} ${option.long}`, kind ? bashWords[kind] : "-W ''"];
      }),
  );
  const flags = all.map(({ path, command }): [string, string] => [path, wordList(options(command).map(({ long }) => long ?? ''))]);
  const firsts = all.filter(isGroup).map(({ path, command }): [string, string] => {
    return [`${path} 0`, wordList(subcommands(command).map((one) => one.name()))];
  });
  const following = all.flatMap(({ path, command }) =>
    command.registeredArguments.flatMap((argument, index): [string, string][] => {
      const kind = kinds[argument.name()];
      const words = argument.argChoices ? wordList(argument.argChoices) : kind && bashWords[kind];
      return words === undefined ? [] : [[`${path} ${argument.variadic ? '*' : index}`, words]];
    }),
  );
  return `# blkfilter for bash; made by \`blkfilter completion bash\`.
${helpers}

_blkfilter() {
	local current=\${COMP_WORDS[COMP_CWORD]} previous='' command='' word i count=0 words=()
	# Which command it is, and how many arguments are there.
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=\${COMP_WORDS[i]}
		case "$command $previous" in
		${values.map(([pattern]) => `'${pattern}'`).join(' | ')})
			previous=
			continue
			;;
		esac
		previous=$word
		case "\${command:+$command }$word" in
		${all.slice(1).map(({ path }) => `'${path}'`).join(' | ')}) command="\${command:+$command }$word" ;;
		-* | *' -'*) ;;
		*) ((count++)) ;;
		esac
	done
	case "$command $previous" in
${branches(values)}
	*)
		case $current in
		-*)
			case $command in
${branches(flags)}
			esac
			;;
		*)
			case "$command $count" in
${branches([...firsts, ...following])}
			esac
			;;
		esac
		;;
	esac
	COMPREPLY=()
	((\${#words[@]})) && mapfile -t COMPREPLY < <(compgen "\${words[@]}" -- "$current")
}
complete -o filenames -F _blkfilter blkfilter
`;
}

/** Within a specification of _arguments, colons and brackets mean something. */
const plain = (text: string): string => text.replace(/[:[\]\\]/g, '\\$&');

const zshActions: Record<string, string> = {
  devices: '{compadd - $(_blkfilter_devices)}',
  filters: '{compadd - $(_blkfilter_filters)}',
  files: '_files',
};

/** The completion of zsh. */
function zsh(program: Command): string {
  const action = (kind: string | undefined): string => zshActions[kind ?? ''] ?? ' ';
  const optionSpec = (option: Option): string => {
    const value = takesValue(option) ? `:${plain(option.flags.split(' ')[1] ?? '')}:${action(kindOfValue(option))}` : '';
    return quote(`*${option.long}[${plain(option.description)}]${value}`);
  };
  const argumentSpec = (argument: Argument, index: number): string => {
    const choices = argument.argChoices && `(${argument.argChoices.join(' ')})`;
    return quote(`${argument.variadic ? '*' : index + 1}:${argument.name()}:${choices ?? action(kinds[argument.name()])}`);
  };
  const functionName = (path: string): string => ['_blkfilter', ...path.split(' ').filter(Boolean)].join('_');
  const body = ({ path, command }: Entry): string => {
    if (command.commands.length === 0) {
      return `\t_arguments -s ${[...options(command).map(optionSpec), ...command.registeredArguments.map(argumentSpec)].join(' \\\n\t\t')}`;
    }
    const described = subcommands(command).map((one) => quote(`${one.name()}:${one.description()}`));
    return `\tlocal -a commands=(
\t\t${described.join('\n\t\t')}
\t)
\tif ((CURRENT == 2)); then
\t\t_describe command commands
\t\treturn
\tfi
\tshift words
\t((CURRENT--))
\t(($+functions[${functionName(path)}_$words[1]])) && ${functionName(path)}_$words[1]`;
  };
  return `#compdef blkfilter
# blkfilter for zsh; made by \`blkfilter completion zsh\`.
${helpers}

${entries(program).slice(1).concat(entries(program).slice(0, 1)).map((entry) => `${functionName(entry.path)}() {\n${body(entry)}\n}`).join('\n\n')}

_blkfilter "$@"
`;
}

const shells = { bash, zsh };

export function addCompletion(program: Command): void {
  const command = program
    .command('completion')
    .description('print what makes a shell complete commands, options and devices')
    .addArgument(new Argument('SHELL', 'which shell').choices(Object.keys(shells)))
    .action(async (shell: keyof typeof shells) => write(shells[shell](program)));
  example(command, 'blkfilter completion bash >/etc/bash_completion.d/blkfilter');
}
