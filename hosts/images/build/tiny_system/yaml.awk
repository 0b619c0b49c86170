# Flattens the part of YAML (and JSON) that cloud-init seeds use: one line "path=value" per scalar,
# list items numbered from 0. A newline inside a value is written as the byte \001.

{ sub(/\r$/, ""); lines[++count] = $0 }
END { at = 1; node("", 0) }

function emit(path, text) { gsub(/\n/, "\001", text); print path "=" text }
function join_path(path, key) { return path == "" ? key : path "." key }
function indent(line) { match(line, /^ */); return RLENGTH }
function trim(text) { sub(/^[ \t]+/, "", text); sub(/[ \t]+$/, "", text); return text }
function odd_backslashes(text) { match(text, /\\*$/); return RLENGTH % 2 }

function skip_blank() {
    while (at <= count && lines[at] ~ /^[ \t]*(#.*)?$|^---|^\.\.\.$/) at++
}

# Length of the key (with its quotes) if `text` is "key: value" or "key:", else 0.
function key_length(text,   size) {
    if (match(text, /^"[^"]*"[ ]*:/) || match(text, /^'[^']*'[ ]*:/)) size = RLENGTH
    else if (text ~ /^[\[{"'|>#&*!%@`]/ || text ~ /^- /) return 0
    else if (match(text, /:( |$)/)) size = RSTART
    else return 0
    return substr(text, size + 1) ~ /^( |$)/ ? size - 1 : 0
}

function unquote_key(key) { key = trim(key); gsub(/^["']|["']$/, "", key); return key }

function node(path, least,   depth, text) {
    skip_blank()
    if (at > count || (depth = indent(lines[at])) < least) { emit(path, ""); return }
    text = substr(lines[at], depth + 1)
    if (text ~ /^-( |$)/) sequence(path, depth)
    else if (key_length(text)) mapping(path, depth)
    else scalar(path, text, least - 1)
}

function sequence(path, depth,   item) {
    item = 0
    for (;;) {
        skip_blank()
        if (at > count || indent(lines[at]) != depth) return
        if (substr(lines[at], depth + 1) !~ /^-( |$)/) return
        lines[at] = substr(lines[at], 1, depth) " " substr(lines[at], depth + 2)
        node(join_path(path, item++), depth + 1)
    }
}

function mapping(path, depth,   text, size, key, rest) {
    for (;;) {
        skip_blank()
        if (at > count || indent(lines[at]) != depth) return
        text = substr(lines[at], depth + 1)
        if (!(size = key_length(text))) { at++; continue }
        key = join_path(path, unquote_key(substr(text, 1, size)))
        rest = trim(substr(text, size + 2))
        if (rest ~ /^#/) rest = ""
        if (rest != "") { scalar(key, rest, depth); continue }
        at++
        skip_blank()
        if (at <= count && indent(lines[at]) == depth && lines[at] ~ /^ *-( |$)/)
            sequence(key, depth)
        else
            node(key, depth + 1)
    }
}

# A value that begins with `text` on the present line; what belongs to it is deeper than `depth`.
function scalar(path, text, depth,   first) {
    sub(/^!![a-z]+[ ]+/, "", text)
    first = substr(text, 1, 1)
    if (text ~ /^[|>][-+0-9]*([ ]+#.*)?$/) { block(path, text, depth); return }
    at++
    if (first == "[" || first == "{") {
        while (!balanced(text) && at <= count) {
            if (trim(lines[at]) == "") { text = text "\n"; at++ }
            else text = text (text ~ /\n$/ ? "" : " ") trim(lines[at++])
        }
        flow = text; flow_at = 1
        flow_node(path)
        return
    }
    if (first == "\"" || first == "'") {
        while (!closed(text, first) && at <= count) {
            if (first == "\"" && odd_backslashes(text))
                text = substr(text, 1, length(text) - 1) trim(lines[at++])
            else if (trim(lines[at]) == "") { text = text "\n"; at++ }
            else text = text (text ~ /\n$/ ? "" : " ") trim(lines[at++])
        }
        flow = text; flow_at = 1
        emit(path, quoted(first))
        return
    }
    sub(/[ \t]#.*$/, "", text)
    while (at <= count && indent(lines[at]) > depth && trim(lines[at]) !~ /^(#.*)?$/)
        text = trim(text) " " trim(lines[at++])
    text = trim(text)
    emit(path, text == "~" || text == "null" ? "" : text)
}

# A literal (|) or folded (>) block.
function block(path, header, depth,   own, text, line, first) {
    own = -1; first = 1; text = ""
    for (at++; at <= count; at++) {
        line = lines[at]
        if (trim(line) == "") { text = text "\n"; continue }
        if (indent(line) <= depth) break
        if (own < 0) own = indent(line)
        line = substr(line, own + 1)
        if (header ~ /^>/) text = text (first || text ~ /\n$/ ? "" : " ") line
        else text = text line "\n"
        first = 0
    }
    sub(/\n+$/, "", text)
    emit(path, text)
}

function closed(text, mark,   i, c) {
    for (i = 2; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (mark == "\"" && c == "\\") i++
        else if (c == mark) {
            if (mark == "'" && substr(text, i + 1, 1) == "'") i++
            else return 1
        }
    }
    return 0
}

function balanced(text,   i, c, deep, mark) {
    deep = 0; mark = ""
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (mark != "") {
            if (c == "\\" && mark == "\"") i++
            else if (c == mark) mark = ""
        } else if (c == "\"" || c == "'") mark = c
        else if (c == "[" || c == "{") deep++
        else if ((c == "]" || c == "}") && --deep == 0) return 1
    }
    return 0
}

function flow_space() { while (substr(flow, flow_at, 1) ~ /^[ \t\n]$/) flow_at++ }

# The quoted text at flow_at, without its marks and escapes.
function quoted(mark,   c, text) {
    text = ""
    for (flow_at++; flow_at <= length(flow); flow_at++) {
        c = substr(flow, flow_at, 1)
        if (c == mark) {
            if (mark == "'" && substr(flow, flow_at + 1, 1) == "'") flow_at++
            else { flow_at++; return text }
        } else if (c == "\\" && mark == "\"") {
            c = substr(flow, ++flow_at, 1)
            if (c == "n") c = "\n"
            else if (c == "t") c = "\t"
            else if (c == "r") c = "\r"
            else if (c == "e") c = "\033"
            else if (c == "x") c = code(2)
            else if (c == "u") c = code(4)
        }
        text = text c
    }
    return text
}

# The character of a \x or \u escape; ASCII only, anything else becomes "?".
function code(digits,   value, i) {
    value = 0
    for (i = 0; i < digits; i++)
        value = value * 16 + index("0123456789abcdef", tolower(substr(flow, ++flow_at, 1))) - 1
    return value < 128 ? sprintf("%c", value) : "?"
}

function flow_plain(   start) {
    start = flow_at
    while (flow_at <= length(flow) && substr(flow, flow_at, 1) !~ /^[],}]$/ &&
        substr(flow, flow_at, 2) !~ /^:( |$)/) flow_at++
    return trim(substr(flow, start, flow_at - start))
}

function flow_text(   c) {
    flow_space()
    c = substr(flow, flow_at, 1)
    return c == "\"" || c == "'" ? quoted(c) : flow_plain()
}

function flow_node(path,   c, item, key) {
    flow_space()
    c = substr(flow, flow_at, 1)
    if (c != "[" && c != "{") {
        key = flow_text()
        emit(path, c != "\"" && c != "'" && (key == "null" || key == "~") ? "" : key)
        return
    }
    item = 0
    flow_at++
    while (flow_at <= length(flow)) {
        flow_space()
        if (substr(flow, flow_at, 1) ~ /^[]}]$/) { flow_at++; return }
        if (substr(flow, flow_at, 1) == ",") { flow_at++; continue }
        if (c == "[") { flow_node(join_path(path, item++)); continue }
        key = flow_text()
        flow_space()
        if (substr(flow, flow_at, 1) == ":") flow_at++
        flow_node(join_path(path, key))
    }
}
