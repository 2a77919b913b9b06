/* Command lines of the console, split into words (script_impl.h). */
#include <string.h>

#include "script/script_impl.h"

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* A JSON value at `i`: copies up to the matching bracket. Returns the place after it, or 0
 * when it does not end. */
static size_t json_word(struct span line, size_t i, struct buf *out)
{
    int depth = 0;
    bool text = false;
    for (size_t at = i; at < line.len; at++) {
        char c = line.data[at];
        if (text && c == '\\') {
            at++;
        } else if (c == '"') {
            text = !text;
        } else if (!text && (c == '{' || c == '[')) {
            depth++;
        } else if (!text && (c == '}' || c == ']') && --depth == 0) {
            buf_put(out, line.data + i, at + 1 - i);
            return at + 1;
        }
    }
    return 0;
}

/* One word at `i` (not blank). Returns the place after it, or 0 on an open quote. */
static size_t plain_word(struct span line, size_t i, struct buf *out)
{
    char quote = 0;
    for (; i < line.len; i++) {
        char c = line.data[i];
        if (quote == 0 && blank(c)) {
            break;
        }
        if (c == quote) {
            quote = 0;
        } else if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == '\\' && quote != '\'' && i + 1 < line.len) {
            buf_put_u8(out, (uint8_t)line.data[++i]);
        } else {
            buf_put_u8(out, (uint8_t)c);
        }
    }
    return quote == 0 ? i : 0;
}

int words_split(struct span line, struct buf *out, struct error *e)
{
    int count = 0;
    size_t i = 0;
    if (memchr(line.data, 0, line.len) != NULL) {
        (void)error_set(e, ERR_BADARG, "the line holds a zero byte");
        error_hint(e, "leave it out: a word would end there");
        return -1;
    }
    while (true) {
        while (i < line.len && blank(line.data[i])) {
            i++;
        }
        if (i == line.len) {
            break;
        }
        bool json = line.data[i] == '{' || line.data[i] == '[';
        i = json ? json_word(line, i, out) : plain_word(line, i, out);
        if (i == 0) {
            error_set(e, ERR_BADARG, json ? "a { or [ is not closed" : "a quote is not closed");
            error_hint(e, "write \\\" for a plain quote");
            return -1;
        }
        buf_put_u8(out, 0);
        count++;
    }
    return out->failed ? (error_set(e, ERR_NOMEM, "out of memory"), -1) : count;
}
