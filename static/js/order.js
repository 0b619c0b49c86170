// Comforts of the order form: plans of the chosen place only, a summary, a counter. The form works without it.
const form = document.getElementById("order");
const out = (name) => form.querySelector(`[data-summary="${name}"]`);
const picked = (name) => form.querySelector(`input[name="${name}"]:checked`);

function place(changed) {
  const chosen = picked("place");
  if (!chosen) return;
  for (const group of form.querySelectorAll("fieldset[data-place]")) {
    group.hidden = group.dataset.place !== chosen.value;
  }
  const plan = picked("plan");
  if (changed && (!plan || plan.dataset.place !== chosen.value)) {
    const name = plan?.dataset.plan;
    if (plan) plan.checked = false;
    const here = [...form.querySelectorAll(`input[name="plan"][data-place="${chosen.value}"]:not(:disabled)`)];
    const same = here.find((other) => other.dataset.plan === name) || here[0];
    if (same) same.checked = true;
  }
}

const tooSmall = (plan, image) => plan && image
  && (+plan.dataset.memory < +image.dataset.memory || +plan.dataset.disk < +image.dataset.disk);

function note(plan, image) {
  for (const other of form.querySelectorAll('input[name="plan"]')) {
    other.closest(".tile").classList.toggle("tile-small", Boolean(tooSmall(other, image)));
  }
  const words = form.querySelector("#summary-note");
  const small = tooSmall(plan, image);
  words.hidden = !small;
  words.textContent = small ? `${image.dataset.image} needs ${image.dataset.memory} MiB of memory and ${image.dataset.disk} GiB of disk: choose a larger plan.` : "";
}

function summary() {
  const plan = picked("plan");
  const image = picked("image");
  const keys = form.querySelectorAll('input[name="ssh_keys"]:checked').length + (form.elements.new_key.value.trim() ? 1 : 0);
  const text = {
    name: form.elements.name.value.trim() || "–",
    place: picked("place")?.dataset.placeName || "–",
    plan: plan?.dataset.plan || "–",
    size: plan?.dataset.size || "",
    image: image?.dataset.image || "–",
    login: keys ? `${keys} SSH key${keys === 1 ? "" : "s"}` : "root password",
    month: plan?.dataset.month || "–",
    hour: plan?.dataset.hour || "–",
  };
  for (const [name, words] of Object.entries(text)) {
    if (out(name) && out(name).textContent !== words) out(name).textContent = words;
  }
  note(plan, image);
}

function count() {
  const area = form.elements.user_data;
  const size = new Blob([area.value.replace(/\r\n/g, "\n")]).size;
  const limit = +area.dataset.limit;
  const place = document.getElementById("user-data-count");
  place.textContent = `${(size / 1024).toFixed(1)} of ${limit / 1024} KiB`;
  place.classList.toggle("text-red", size > limit);
}

if (form) {
  form.addEventListener("change", (event) => { place(event.target.name === "place"); summary(); });
  form.addEventListener("input", () => { summary(); count(); });
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    const button = document.getElementById("order-submit");
    button.classList.add("btn-loading");
    button.setAttribute("aria-disabled", "true");
  });
  // Back from the next page: the browser may show this form as it was left.
  addEventListener("pageshow", () => {
    delete form.dataset.sent;
    document.getElementById("order-submit").classList.remove("btn-loading");
  });
  place(true);
  summary();
  count();
}
