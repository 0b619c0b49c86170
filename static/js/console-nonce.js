// xterm.js makes <style> elements for its colours; the page's policy lets only those with its nonce count.
"use strict";
{
  const nonce = document.currentScript.nonce;
  const create = document.createElement;
  document.createElement = function (name, options) {
    const element = create.call(this, name, options);
    if (String(name).toLowerCase() === "style") element.nonce = nonce;
    return element;
  };
}
