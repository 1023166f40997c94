// Questions to the daemon. The session is a cookie that no script sees, and a key that only this tab has.

const KEY = 'picket-key';

/** Why a question was not answered. */
export class Refused extends Error {
  constructor(status, why) {
    super(why);
    this.status = status;
  }
}

async function post(what, body, signal) {
  const response = await fetch(`/api/${what}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Picket-Key': sessionStorage.getItem(KEY) ?? '' },
    body: JSON.stringify(body),
    signal,
  });
  if (response.ok) return response;
  const why = await response.json().then((b) => b.error, () => response.statusText);
  throw new Refused(response.status, why);
}

/** Comes in with the token of the link, if there is one; it disappears from the address bar at once. */
export async function login() {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (!token) return;
  history.replaceState(null, '', location.pathname);
  const { key } = await (await post('login', { token })).json();
  sessionStorage.setItem(KEY, key);
}

/** Asks one question. */
export async function ask(what, body = {}) {
  return (await post(what, body)).json();
}

/** What passes, one value each, until the signal ends it. */
export async function* stream(wish, signal) {
  const response = await post('stream', wish, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      if (part.startsWith('data: ')) yield JSON.parse(part.slice(6));
    }
  }
}
