// An embedded console: no cookie and no sign-in. With the secret behind the # of its address the page binds the console
// to a key of its own, which lives in its memory only: whoever learns the secret later has nothing.
const form = document.getElementById("ticket");
const key = crypto.getRandomValues(new Uint8Array(32));
form.elements.secret.value = location.hash.slice(1);
form.elements.key.value = btoa(String.fromCharCode(...key)).replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
history.replaceState(null, "", location.pathname); // neither the address bar nor the history keeps it
