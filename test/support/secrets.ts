/** Looks for secrets in what a program has left behind: as they are, and in every form in which programs write texts down. */

/** Letters of base64 that a longer text shares with what stands before or after it; at most one on each side. */
const edge = 1;

/** Every way in which a secret may stand in a text. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const html = secret.replace(
    /[&<>"']/g,
    (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[character] ?? '',
  );
  // Base64 of a longer text that holds it, by where in a group of three bytes it begins.
  const inside = [0, 1, 2].map((before) => {
    const whole = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replaceAll('=', '');
    return whole.slice(before === 0 ? 0 : before + edge, (before + bytes.length) % 3 === 0 ? undefined : -edge);
  });
  const forms = [
    secret,
    JSON.stringify(secret).slice(1, -1),
    JSON.stringify(JSON.stringify(secret).slice(1, -1)).slice(1, -1),
    encodeURIComponent(secret),
    new URLSearchParams([['', secret]]).toString().slice(1),
    html,
    bytes.toString('hex'),
    ...inside,
    ...inside.map((one) => one.replaceAll('+', '-').replaceAll('/', '_')),
  ];
  return [...new Set(forms)];
}

/** The text, and what stands in it in base64, as payloads of Temporal do; that may hold base64 once more. */
function withPayloads(text: string): string {
  const encoded = text.match(/[A-Za-z0-9+/]{16,}={0,2}/g) ?? [];
  return [text, ...encoded.map((one) => Buffer.from(one, 'base64').toString('latin1'))].join('\n');
}

/**
 * @param secrets by what they are
 * @returns what was found, named
 */
export function secretsIn(text: string, secrets: ReadonlyMap<string, string>): string[] {
  const searched = withPayloads(text);
  return [...secrets]
    .filter(([, secret]) => formsOf(secret).some((form) => searched.includes(form)))
    .map(([name]) => name);
}
