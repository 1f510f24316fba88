/** Each record is given once, in its partition's order; what is not named in the answer stays as it was. */
export function transform({ value }) {
  if (value === null) return {}; // a tombstone is carried as it is
  const order = JSON.parse(value.toString());
  if (order.test) return null; // left out
  const { creditCard: _, ...rest } = order;
  return { value: JSON.stringify(rest) };
}
