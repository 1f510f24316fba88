/** Gives the parsed answer also where the library throws because some item in it carries an error code. */
export async function answerOf<Answer>(sent: Promise<Answer>): Promise<Answer> {
  try {
    return await sent;
  } catch (error) {
    const response = (error as { response?: Answer }).response;
    if (response !== undefined) return response;
    throw error;
  }
}
