/** What the live page does in the browser. The token stays in the form: in no cookie, no storage, no address. */
export const script = `
const main = document.querySelector('main');
const connection = document.querySelector('[data-connection]');
const path = location.pathname;
const events = new EventSource(path + '/events');
events.addEventListener('open', () => { connection.textContent = 'live'; });
events.addEventListener('error', () => { connection.textContent = 'the server of this page does not answer'; });
events.addEventListener('look', ({ data }) => { main.innerHTML = JSON.parse(data); });
events.addEventListener('end', ({ data }) => { connection.textContent = JSON.parse(data); events.close(); });

const dialog = document.querySelector('dialog');
const form = dialog?.querySelector('form');
let gate = null;
main.addEventListener('click', ({ target }) => {
  const button = target.closest('button[data-gate]');
  if (!button || !dialog) return;
  gate = { ...button.dataset };
  dialog.querySelector('h2').textContent = 'Gate ' + gate.gate + (gate.wave && gate.wave !== 'all' ? ' (' + gate.wave + ')' : '');
  dialog.querySelector('[data-digest]').textContent = gate.digest;
  dialog.querySelector('[data-answer]').textContent = '';
  dialog.showModal();
});
form?.addEventListener('submit', async (event) => {
  const message = event.submitter?.value;
  if (message === 'close') { form.token.value = ''; return; }
  event.preventDefault();
  const answer = dialog.querySelector('[data-answer]');
  answer.textContent = 'sending ...';
  const body = { message, gate: gate.gate, wave: gate.wave, digest: gate.digest, by: form.by.value, reason: form.reason.value };
  try {
    const response = await fetch(path + '/decisions', {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer ' + form.token.value },
      body: JSON.stringify(body),
    });
    const said = await response.json();
    answer.textContent = response.ok ? said.text : said.error.message;
  } catch (error) {
    answer.textContent = 'not sent: ' + error.message;
  }
});
`;
