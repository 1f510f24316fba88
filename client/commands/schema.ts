import { Command } from 'commander';
import type { Answering } from '../terminal.ts';

export function schemaCommand(answering: Answering): Command {
  return new Command('schema').description("print the plan's JSON Schema, for editors and checks").action(
    answering(async () => {
      const [{ z }, { planSchema }, { inWords }] = await Promise.all([
        import('zod'),
        import('../../contract/plan.ts'),
        import('../../contract/plan-words.ts'),
      ]);
      const keys = inWords(z.toJSONSchema(planSchema, { io: 'input' }) as Parameters<typeof inWords>[0]);
      const schema = { title: 'kafka-cutover plan', ...keys };
      return { json: schema, text: JSON.stringify(schema, null, 2) };
    }),
  );
}
