// A page of the staff that shows work in progress: loads itself again while [data-reload] is there.

const SECONDS = 2;

if (document.querySelector("[data-reload]")) {
  setTimeout(() => location.reload(), SECONDS * 1000);
}
