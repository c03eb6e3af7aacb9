/** What a page sends, against its schema. */
import { HTTPException } from 'hono/http-exception'
import { validator } from 'hono/validator'
import type { z } from 'zod'

export function checkedBody<S extends z.ZodType>(schema: S) {
  return validator('json', (value): z.infer<S> => checked(schema, value))
}

export function checkedQuery<S extends z.ZodType>(schema: S) {
  return validator('query', (value): z.infer<S> => checked(schema, value))
}

function checked<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new HTTPException(400, { message: parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ') })
}
