/**
 * HTML as tagged templates. Whatever is put in is text and is escaped, unless it was made by `html` itself: names, reasons and messages come
 * from anybody who may create a topic or signal a workflow.
 */
import { printable } from '../terminal.ts';

/** What is HTML already. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Child = Markup | string | number | null | undefined | false | readonly Child[];

export function html(parts: TemplateStringsArray, ...children: readonly Child[]): Markup {
  let text = parts[0] ?? '';
  children.forEach((child, index) => {
    text += markupOf(child) + (parts[index + 1] ?? '');
  });
  return new Markup(text);
}

function markupOf(child: Child): string {
  if (child instanceof Markup) return child.text;
  if (Array.isArray(child)) return child.map(markupOf).join('');
  return child === null || child === undefined || child === false ? '' : escaped(String(child));
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Safe between tags and in quoted attributes; direction marks and control characters become question marks. */
export function escaped(text: string): string {
  return printable(text, '\n').replace(/[&<>"']/g, (character) => entities[character] ?? '');
}
