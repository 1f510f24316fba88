/** Completion scripts for shells, made of the commands as they are defined: nothing runs while a person types. */
import type { Command } from 'commander';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

interface Completed {
  /** `stack up` is `['stack', 'up']`. */
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly { readonly flag: string; readonly description: string }[];
  /** What the first arguments may be, where that is a closed list; `file`: a path. */
  readonly words: readonly string[];
  readonly takesFile: boolean;
}

export function completionScript(shell: Shell, root: Command): string {
  const commands = completed(root);
  return { bash, zsh, fish }[shell](commands);
}

function completed(command: Command, path: readonly string[] = []): Completed[] {
  const visible = command.createHelp().visibleCommands(command);
  const own: Completed = {
    path,
    description: command.description(),
    options: [
      ...command.options.filter((option) => !option.hidden),
      { long: '--help', description: 'how it is used' },
    ].flatMap(({ long, description }) => (long ? [{ flag: long, description }] : [])),
    words: [
      ...visible.map((inner) => inner.name()),
      ...command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
    ],
    takesFile: command.registeredArguments.some((argument) => argument.name() === 'file'),
  };
  return [
    own,
    ...visible.filter((inner) => inner.name() !== 'help').flatMap((inner) => completed(inner, [...path, inner.name()])),
  ];
}

const name = 'kafka-cutover';
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** Files complete wherever nothing else does (`-o default`). */
function bash(commands: readonly Completed[]): string {
  const cases = commands.map(({ path, options, words }) => {
    const all = [...words, ...options.map(({ flag }) => flag)].join(' ');
    return `    ${quoted(path.join(' '))}) words=${quoted(all)} ;;`;
  });
  const nested = commands.filter(({ path }) => path.length === 2).map(({ path }) => path[0]);
  return `# bash completion of ${name}: source <(${name} completion bash)
_kafka_cutover() {
  local words='' command="\${COMP_WORDS[1]}"
  [ "$COMP_CWORD" -eq 1 ] && command=''
  case "$command" in
    ${[...new Set(nested)].join('|')}) [ "$COMP_CWORD" -gt 2 ] && command="$command \${COMP_WORDS[2]}" ;;
  esac
  case "$command" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _kafka_cutover ${name}
`;
}

function zsh(commands: readonly Completed[]): string {
  const described = (text: string) => text.replace(/[[\]:]/g, ' ');
  const [root, ...others] = commands;
  const top = others.filter(({ path }) => path.length === 1);
  const list = top.map(({ path, description }) => `    ${quoted(`${path[0]}:${described(description)}`)}`);
  const cases = top.map(({ path: [command = ''], options, words, takesFile }) => {
    const specs = options.map(({ flag, description }) => quoted(`${flag}[${described(description)}]`));
    const rest = takesFile || words.length === 0 ? quoted('*:file:_files') : quoted(`*:what:(${words.join(' ')})`);
    return `    ${command}) _arguments ${[...specs, rest].join(' ')} ;;`;
  });
  const rootFlags = (root?.options ?? []).map(({ flag }) => flag).join(' ');
  return `#compdef ${name}
# zsh completion of ${name}: source <(${name} completion zsh)
_kafka_cutover() {
  local -a commands=(
${list.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe 'command' commands
    compadd -- ${rootFlags}
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = "_kafka_cutover" ]; then _kafka_cutover "$@"; else compdef _kafka_cutover ${name}; fi
`;
}

function fish(commands: readonly Completed[]): string {
  const lines = commands.flatMap(({ path, description, options, words, takesFile }) => {
    const [command] = path;
    const here = command === undefined ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${command}`;
    const rule = (what: string) => `complete -c ${name} -n ${quoted(here)} ${what}`;
    return [
      ...(path.length === 1
        ? [`complete -c ${name} -n __fish_use_subcommand -f -a ${command} -d ${quoted(description)}`]
        : []),
      ...(command !== undefined && words.length > 0 ? [rule(`-f -a ${quoted(words.join(' '))}`)] : []),
      ...(takesFile ? [rule('-F')] : []),
      ...options.map(({ flag, description: said }) => rule(`-l ${flag.slice(2)} -d ${quoted(said)}`)),
    ];
  });
  return `# fish completion of ${name}: ${name} completion fish | source\n${lines.join('\n')}\n`;
}
