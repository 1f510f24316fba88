import { Command } from 'commander';
import type { Answering } from '../cli.ts';

export function schemaCommand(answering: Answering): Command {
  return new Command('schema').description("print the plan's JSON Schema, for editors and checks").action(
    answering(async () => {
      const [{ z }, { planSchema }] = await Promise.all([import('zod'), import('../../contract/plan.ts')]);
      const schema = { title: 'kafka-cutover plan', ...z.toJSONSchema(planSchema, { io: 'input' }) };
      return { json: schema, text: JSON.stringify(schema, null, 2) };
    }),
  );
}
