// From characters to keys. A guest sees which keys are pressed and makes characters of them by its own keyboard layout,
// so whoever types for somebody has to press the keys that give these characters there.

// The keys that carry characters, by the names that browsers give to their places, row by row.
const PLACES = [
  "Backquote", "Digit1", "Digit2", "Digit3", "Digit4", "Digit5", "Digit6", "Digit7", "Digit8", "Digit9", "Digit0", "Minus", "Equal",
  "KeyQ", "KeyW", "KeyE", "KeyR", "KeyT", "KeyY", "KeyU", "KeyI", "KeyO", "KeyP", "BracketLeft", "BracketRight",
  "KeyA", "KeyS", "KeyD", "KeyF", "KeyG", "KeyH", "KeyJ", "KeyK", "KeyL", "Semicolon", "Quote", "Backslash",
  "IntlBackslash", "KeyZ", "KeyX", "KeyC", "KeyV", "KeyB", "KeyN", "KeyM", "Comma", "Period", "Slash",
];

// For each layout what the keys give alone, with Shift and with AltGr; a space where there is nothing, or nothing that
// another key does not give already. `dead` are those that wait for the next key: the space bar makes them themselves.
export const LAYOUTS = {
  us: {
    name: "English (US)",
    rows: [
      "`1234567890-=qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./",
      "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"| ZXCVBNM<>?",
      "                                                ",
    ],
    dead: "",
  },
  uk: {
    name: "English (UK)",
    rows: [
      "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
      "¬!\"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?",
      "    €                                           ",
    ],
    dead: "",
  },
  de: {
    name: "German",
    rows: [
      "^1234567890ß´qwertzuiopü+asdfghjklöä#<yxcvbnm,.-",
      "°!\"§$%&/()=?`QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_",
      "  ²³   {[]}\\ @ €        ~            |      µ   ",
    ],
    dead: "^´`",
  },
  fr: {
    name: "French",
    rows: [
      "²&é\"'(-è_çà)=azertyuiop $qsdfghjklmù*<wxcvbn,;:!",
      " 1234567890°+AZERTYUIOP £QSDFGHJKLM%µ>WXCVBN?./§",
      "  ~#{[|`\\^@]}  €        ¤                       ",
    ],
    dead: "",
  },
  es: {
    name: "Spanish",
    rows: [
      "º1234567890'¡qwertyuiop`+asdfghjklñ´ç<zxcvbnm,.-",
      "ª!\"·$%&/()=?¿QWERTYUIOP^*ASDFGHJKLÑ¨Ç>ZXCVBNM;:_",
      "\\|@#~ ¬        €       []          {}           ",
    ],
    dead: "`´^¨",
  },
};

const SHIFT = { code: "ShiftLeft", keysym: 0xffe1 };
const ALTGR = { code: "AltRight", keysym: 0xfe03 };
const LEVELS = [[], [SHIFT], [ALTGR]];
const PLAIN = { " ": { code: "Space", keysym: 0x20 }, "\n": { code: "Enter", keysym: 0xff0d }, "\t": { code: "Tab", keysym: 0xff09 } };

export const NAMED = {
  ControlLeft: 0xffe3, ShiftLeft: 0xffe1, AltLeft: 0xffe9, MetaLeft: 0xffeb, Delete: 0xffff, Backspace: 0xff08, Escape: 0xff1b, Tab: 0xff09,
  PrintScreen: 0xff61, Enter: 0xff0d,
  ...Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`F${index + 1}`, 0xffbe + index])),
};

function keysymOf(character) {
  const point = character.codePointAt(0);
  return point < 0x100 ? point : 0x01000000 + point;
}

// Character -> the keys to press one after the other, each with those to hold meanwhile.
function table({ rows, dead }) {
  const keys = new Map(Object.entries(PLAIN).map(([character, key]) => [character, [{ ...key, hold: [] }]]));
  rows.forEach((row, level) => [...row].forEach((character, index) => {
    if (character === " " || keys.has(character)) return;
    const key = { code: PLACES[index], keysym: keysymOf(character), hold: LEVELS[level] };
    keys.set(character, dead.includes(character) ? [{ ...key, keysym: 0 }, { ...PLAIN[" "], keysym: key.keysym, hold: [] }] : [key]);
  }));
  return keys;
}

// What to press for `text`, as `{code, keysym, down}` in order, and the characters that this keyboard does not have.
export function strokesFor(text, layout) {
  const keys = table(LAYOUTS[layout]);
  const events = [];
  const missing = new Set();
  let held = [];
  const hold = (wanted) => {
    for (const key of held.filter((one) => !wanted.includes(one))) events.push({ ...key, down: false });
    for (const key of wanted.filter((one) => !held.includes(one))) events.push({ ...key, down: true });
    held = wanted;
  };
  for (const character of text.replaceAll("\r\n", "\n").replaceAll("\r", "\n").normalize("NFC")) {
    const found = keys.get(character);
    if (!found) missing.add(character);
    for (const { code, keysym, hold: modifiers } of found ?? []) {
      hold(modifiers);
      events.push({ code, keysym, down: true }, { code, keysym, down: false });
    }
  }
  hold([]);
  return { events, missing: [...missing] };
}
