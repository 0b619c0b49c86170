// xterm.js makes <style> elements for its colours; the page's policy lets only those with its nonce count.
// Colours beyond the palette, and the marks of a search, it writes as style attributes, which the policy forbids
// altogether; the same text set as a property is allowed.
"use strict";
{
  const nonce = document.currentScript.nonce;
  const create = document.createElement;
  document.createElement = function (name, options) {
    const element = create.call(this, name, options);
    if (String(name).toLowerCase() === "style") element.nonce = nonce;
    return element;
  };
  const set = Element.prototype.setAttribute;
  HTMLElement.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else set.call(this, name, value);
  };
}
