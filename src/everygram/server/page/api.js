// Asking the service: JSON in and out, problems as errors, patience where it is busy.

const TRIES = 6;
const KEPT = "everygram-key";

export class Problem extends Error {
  constructor(status, said, retryAfter) {
    super(said.detail || said.title || `HTTP status ${status}`);
    this.status = status;
    this.title = said.title || "The service did not answer";
    this.kind = (said.type || "").split(":").pop();
    this.retryAfter = retryAfter;
  }
}

// Whether a document was asked for that was there once.
export const wasDeleted = (error) => error instanceof Problem && error.message.endsWith("it was deleted");

// The key of this tab, if the service wants one. It is forgotten with the tab.
export const key = {
  get: () => sessionStorage.getItem(KEPT) || "",
  set: (value) => (value ? sessionStorage.setItem(KEPT, value) : sessionStorage.removeItem(KEPT)),
};

export const base = () => new URL(".", location.href).href.replace(/\/$/, "");

export const pathOf = (index, operation = "") =>
  `/v1/indexes/${encodeURIComponent(index)}${operation ? "/" + operation : ""}`;

// What the service answers to a body, or without one to GET. waiting: told of each pause, in
// seconds, while the service is busy. Raises Problem, and AbortError when the signal says so.
export async function ask(path, body, { signal, waiting = () => {} } = {}) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(path, body, signal);
    } catch (error) {
      const busy = error instanceof Problem && (error.status === 503 || error.status === 429);
      if (!busy || !error.retryAfter || tries === TRIES) throw error;
      await pause(Math.min(error.retryAfter, 30), signal, waiting);
      waiting(0);
    }
  }
}

async function once(path, body, signal) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let answer;
  try {
    answer = await fetch(base() + path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "The service cannot be reached", detail: "Is it still running?" });
  }
  let said = {};
  try {
    said = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (answer.ok) throw new Problem(answer.status, { title: "The answer is not JSON" });
  }
  if (answer.ok) return said;
  throw new Problem(answer.status, said, Number(answer.headers.get("retry-after")) || 0);
}

async function pause(seconds, signal, waiting) {
  for (let left = Math.ceil(seconds); left > 0; left -= 1) {
    waiting(left);
    await new Promise((done, failed) => {
      const stop = () => failed(new DOMException("aborted", "AbortError"));
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", stop);
        done();
      }, 1000);
      signal?.addEventListener("abort", () => (clearTimeout(timer), stop()), { once: true });
      if (signal?.aborted) stop();
    });
  }
}
