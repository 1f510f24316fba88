/** Block Kit as Slack refuses it: keys that a block does not have, and limits (docs.slack.dev/reference/block-kit). */

type Thing = Record<string, unknown>;

const keysOf: Readonly<Record<string, readonly string[]>> = {
  header: ['type', 'text', 'block_id'],
  section: ['type', 'text', 'fields', 'block_id'],
  context: ['type', 'elements', 'block_id'],
  actions: ['type', 'elements', 'block_id'],
  input: ['type', 'label', 'element', 'block_id', 'optional', 'hint'],
  button: ['type', 'text', 'action_id', 'value', 'style'],
  plain_text_input: ['type', 'action_id', 'multiline', 'max_length'],
  plain_text: ['type', 'text', 'emoji'],
  mrkdwn: ['type', 'text', 'verbatim'],
  modal: ['type', 'callback_id', 'private_metadata', 'title', 'submit', 'close', 'blocks'],
};

/** What Slack would say against the blocks of a message; empty where it takes them. */
export function wrongBlocks(blocks: unknown, max = 50): string[] {
  if (!Array.isArray(blocks)) return ['blocks is no list'];
  const wrong = blocks.length > max ? [`${blocks.length} blocks`] : [];
  return [
    ...wrong,
    ...blocks.flatMap((block, index) => wrongBlock(block as Thing).map((line) => `block ${index}: ${line}`)),
  ];
}

export function wrongView(view: Thing): string[] {
  const { title, submit, close, private_metadata: metadata = '', blocks } = view;
  const asksSomething = (blocks as Thing[]).some(({ type }) => type === 'input');
  return [
    ...unknownKeys(view),
    ...wrongText(title, 'plain_text', 24),
    ...(submit === undefined ? (asksSomething ? ['input without submit'] : []) : wrongText(submit, 'plain_text', 24)),
    ...(close === undefined ? [] : wrongText(close, 'plain_text', 24)),
    ...(String(metadata).length > 3_000 ? ['private_metadata is too long'] : []),
    ...wrongBlocks(blocks, 100),
  ];
}

function wrongBlock(block: Thing): string[] {
  switch (block.type) {
    case 'header':
      return [...unknownKeys(block), ...wrongText(block.text, 'plain_text', 150)];
    case 'section': {
      const fields = (block.fields ?? []) as Thing[];
      return [
        ...unknownKeys(block),
        ...(block.text === undefined && fields.length === 0 ? ['neither text nor fields'] : []),
        ...(block.text === undefined ? [] : wrongText(block.text, 'mrkdwn', 3_000)),
        ...(fields.length > 10 ? [`${fields.length} fields`] : []),
        ...fields.flatMap((field) => wrongText(field, 'mrkdwn', 2_000)),
      ];
    }
    case 'context': {
      const elements = block.elements as Thing[];
      return [
        ...unknownKeys(block),
        ...(elements.length === 0 || elements.length > 10 ? [`${elements.length} elements`] : []),
        ...elements.flatMap((element) => wrongText(element, 'mrkdwn', 3_000)),
      ];
    }
    case 'actions': {
      const elements = block.elements as Thing[];
      const ids = elements.map(({ action_id }) => action_id);
      return [
        ...unknownKeys(block),
        ...(elements.length === 0 || elements.length > 25 ? [`${elements.length} elements`] : []),
        ...(new Set(ids).size < ids.length ? ['two elements of one action_id'] : []),
        ...elements.flatMap(wrongButton),
      ];
    }
    case 'input':
      return [
        ...unknownKeys(block),
        ...wrongText(block.label, 'plain_text', 2_000),
        ...unknownKeys(block.element as Thing),
      ];
    default:
      return [`unknown block ${block.type}`];
  }
}

function wrongButton(button: Thing): string[] {
  return [
    ...unknownKeys(button),
    ...wrongText(button.text, 'plain_text', 75),
    ...(String(button.value ?? '').length > 2_000 ? ['value is too long'] : []),
    ...(String(button.action_id ?? '').length > 255 ? ['action_id is too long'] : []),
    ...(button.style !== undefined && !['primary', 'danger'].includes(String(button.style)) ? ['unknown style'] : []),
  ];
}

function wrongText(value: unknown, type: string, max: number): string[] {
  const { type: found, text } = (value ?? {}) as Thing;
  if (found !== type || typeof text !== 'string') return [`wanted ${type}, found ${JSON.stringify(value)}`];
  const wrong = text.length === 0 || text.length > max ? [`a text of ${text.length} characters, at most ${max}`] : [];
  // What calls people or makes links is never ours.
  const calls = type === 'mrkdwn' && /<[!@#h]/.test(text) ? ['a text that calls somebody'] : [];
  return [...unknownKeys(value as Thing), ...wrong, ...calls];
}

function unknownKeys(thing: Thing): string[] {
  const known = keysOf[String(thing.type)];
  if (!known) return [`unknown type ${thing.type}`];
  return Object.keys(thing)
    .filter((key) => !known.includes(key))
    .map((key) => `${thing.type} has no ${key}`);
}
