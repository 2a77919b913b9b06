/* Lua patterns, matched step by step so that the budget can end them.
 *
 * The stock matcher backtracks in C, where no hook is called: ("a"):rep(30) against
 * ("a*"):rep(30).."b" runs for years. This one has the same language and the same
 * structure (a recursive matcher over the pattern, after Lua's own lstrlib.c, Copyright
 * 1994-2022 Lua.org, PUC-Rio, MIT licence) and pays one instruction for each 4 steps.
 *
 * R1 every loop iteration and every recursion counts a step before it looks further.
 * R2 recursion is at most DEPTH_MAX deep: the C stack is bounded. */
#include "policy/pattern.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "policy/sandbox.h"

#define DEPTH_MAX   200
#define STEPS_BATCH 64
#define OPEN        (-1) /* a capture not closed yet */
#define POSITION    (-2)
#define ESCAPE      '%'

static const char *match(struct pattern *m, const char *s, const char *p);

static void step(struct pattern *m)
{
    if (++m->steps % STEPS_BATCH == 0) {
        sandbox_charge(m->L, STEPS_BATCH / 4);
    }
}

void pattern_init(struct pattern *m, lua_State *L, const char *src, size_t src_len,
                  const char *pat_end)
{
    m->L = L;
    m->src = src;
    m->src_end = src + src_len;
    m->pat_end = pat_end;
    m->depth = 0;
    m->steps = 0;
    m->level = 0;
}

static unsigned char byte_of(const char *p) { return (unsigned char)*p; }

/* The end of the single-character class that starts at p. */
static const char *class_end(struct pattern *m, const char *p)
{
    char first = *p++;
    if (first == ESCAPE) {
        if (p == m->pat_end) {
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        }
        return p + 1;
    }
    if (first != '[') {
        return p;
    }
    if (p < m->pat_end && *p == '^') {
        p++;
    }
    do { /* a ']' that comes first stands for itself */
        step(m);
        if (p >= m->pat_end) {
            luaL_error(m->L, "malformed pattern (missing ']')");
        }
        char c = *p++;
        if (c == ESCAPE) {
            p++;
        }
    } while (p >= m->pat_end || *p != ']');
    return p + 1;
}

static bool in_letter_class(int c, int class)
{
    bool in;
    switch (tolower(class)) {
    case 'a': in = isalpha(c) != 0; break;
    case 'c': in = iscntrl(c) != 0; break;
    case 'd': in = isdigit(c) != 0; break;
    case 'g': in = isgraph(c) != 0; break;
    case 'l': in = islower(c) != 0; break;
    case 'p': in = ispunct(c) != 0; break;
    case 's': in = isspace(c) != 0; break;
    case 'u': in = isupper(c) != 0; break;
    case 'w': in = isalnum(c) != 0; break;
    case 'x': in = isxdigit(c) != 0; break;
    default: return class == c;
    }
    return isupper(class) ? !in : in;
}

/* p at '[', end at its ']'. */
static bool in_set(struct pattern *m, int c, const char *p, const char *end)
{
    bool yes = true;
    if (p[1] == '^') {
        yes = false;
        p++;
    }
    while (++p < end) {
        step(m);
        if (*p == ESCAPE) {
            p++;
            if (in_letter_class(c, byte_of(p))) {
                return yes;
            }
        } else if (p + 2 < end && p[1] == '-') {
            if (byte_of(p) <= c && c <= byte_of(p + 2)) {
                return yes;
            }
            p += 2;
        } else if (byte_of(p) == c) {
            return yes;
        }
    }
    return !yes;
}

/* Does the class [p, end) match the character at s? */
static bool single(struct pattern *m, const char *s, const char *p, const char *end)
{
    step(m);
    if (s >= m->src_end) {
        return false;
    }
    int c = byte_of(s);
    switch (*p) {
    case '.': return true;
    case ESCAPE: return in_letter_class(c, byte_of(p + 1));
    case '[': return in_set(m, c, p, end - 1);
    default: return byte_of(p) == c;
    }
}

static const char *balance(struct pattern *m, const char *s, const char *p)
{
    if (p >= m->pat_end - 1) {
        luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    }
    if (s >= m->src_end || *s != *p) {
        return NULL;
    }
    unsigned char open = byte_of(p), close = byte_of(p + 1);
    int deep = 1;
    while (++s < m->src_end) {
        step(m);
        if (byte_of(s) == close) {
            if (--deep == 0) {
                return s + 1;
            }
        } else if (byte_of(s) == open) {
            deep++;
        }
    }
    return NULL;
}

static const char *expand_max(struct pattern *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t i = 0;
    while (single(m, s + i, p, end)) {
        i++;
    }
    for (; i >= 0; i--) {
        const char *rest = match(m, s + i, end + 1);
        if (rest != NULL) {
            return rest;
        }
    }
    return NULL;
}

static const char *expand_min(struct pattern *m, const char *s, const char *p, const char *end)
{
    for (;; s++) {
        const char *rest = match(m, s, end + 1);
        if (rest != NULL) {
            return rest;
        }
        if (!single(m, s, p, end)) {
            return NULL;
        }
    }
}

static const char *capture_open(struct pattern *m, const char *s, const char *p, ptrdiff_t what)
{
    if (m->level >= PATTERN_CAPTURES_MAX) {
        luaL_error(m->L, "too many captures");
    }
    m->capture[m->level].start = s;
    m->capture[m->level].len = what;
    m->level++;
    const char *rest = match(m, s, p);
    if (rest == NULL) {
        m->level--;
    }
    return rest;
}

static const char *capture_close(struct pattern *m, const char *s, const char *p)
{
    int i = m->level - 1;
    while (i >= 0 && m->capture[i].len != OPEN) {
        i--;
    }
    if (i < 0) {
        luaL_error(m->L, "invalid pattern capture");
    }
    m->capture[i].len = s - m->capture[i].start;
    const char *rest = match(m, s, p);
    if (rest == NULL) {
        m->capture[i].len = OPEN;
    }
    return rest;
}

static const char *back_reference(struct pattern *m, const char *s, int digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->level || m->capture[i].len < 0) {
        luaL_error(m->L, "invalid capture index %%%d", i + 1);
    }
    size_t len = (size_t)m->capture[i].len;
    sandbox_charge(m->L, len / 64);
    if ((size_t)(m->src_end - s) >= len && memcmp(m->capture[i].start, s, len) == 0) {
        return s + len;
    }
    return NULL;
}

/* %f[set]: between a character outside the set and one inside. */
static const char *frontier(struct pattern *m, const char *s, const char *p)
{
    if (p >= m->pat_end || *p != '[') {
        luaL_error(m->L, "missing '[' after '%%f' in pattern");
    }
    const char *end = class_end(m, p);
    int before = s == m->src ? 0 : byte_of(s - 1);
    int here = s < m->src_end ? byte_of(s) : 0;
    return !in_set(m, before, p, end - 1) && in_set(m, here, p, end - 1) ? match(m, s, end) : NULL;
}

/* One item of the pattern that is a class with an optional repetition. */
static const char *repeated(struct pattern *m, const char *s, const char *p)
{
    const char *end = class_end(m, p);
    switch (end < m->pat_end ? *end : 0) {
    case '?': {
        const char *rest = single(m, s, p, end) ? match(m, s + 1, end + 1) : NULL;
        return rest != NULL ? rest : match(m, s, end + 1);
    }
    case '+': return single(m, s, p, end) ? expand_max(m, s + 1, p, end) : NULL;
    case '*': return expand_max(m, s, p, end);
    case '-': return expand_min(m, s, p, end);
    default: return single(m, s, p, end) ? match(m, s + 1, end) : NULL;
    }
}

/* An item that starts with '%'; falls through to a class for letters. */
static const char *escaped(struct pattern *m, const char *s, const char *p)
{
    char what = p + 1 < m->pat_end ? p[1] : 0;
    const char *rest;
    if (what == 'b') {
        rest = balance(m, s, p + 2);
        return rest != NULL ? match(m, rest, p + 4) : NULL;
    }
    if (what == 'f') {
        return frontier(m, s, p + 2);
    }
    if (isdigit((unsigned char)what)) {
        rest = back_reference(m, s, what);
        return rest != NULL ? match(m, rest, p + 2) : NULL;
    }
    return repeated(m, s, p);
}

static const char *match_item(struct pattern *m, const char *s, const char *p)
{
    switch (*p) {
    case '(':
        return p + 1 < m->pat_end && p[1] == ')' ? capture_open(m, s, p + 2, POSITION)
                                                 : capture_open(m, s, p + 1, OPEN);
    case ')': return capture_close(m, s, p + 1);
    case ESCAPE: return escaped(m, s, p);
    case '$':
        if (p + 1 == m->pat_end) {
            return s == m->src_end ? s : NULL;
        }
        break;
    default: break;
    }
    return repeated(m, s, p);
}

/* Plain single characters in a row are taken in a loop, so that the depth limit bounds
 * nesting and repetition, not the pattern's length. */
static const char *match(struct pattern *m, const char *s, const char *p)
{
    if (++m->depth > DEPTH_MAX) {
        luaL_error(m->L, "pattern too complex");
    }
    const char *result = s;
    for (;;) {
        step(m);
        if (p == m->pat_end) {
            break;
        }
        bool special = strchr("()$", *p) != NULL ||
                       (*p == ESCAPE && p + 1 < m->pat_end &&
                        (p[1] == 'b' || p[1] == 'f' || isdigit((unsigned char)p[1])));
        const char *end = special ? NULL : class_end(m, p);
        if (special || (end < m->pat_end && strchr("?+*-", *end) != NULL)) {
            result = match_item(m, s, p);
            break;
        }
        if (!single(m, s, p, end)) {
            result = NULL;
            break;
        }
        result = ++s;
        p = end;
    }
    m->depth--;
    return result;
}

const char *pattern_match(struct pattern *m, const char *s, const char *pat)
{
    ASSERT(s != NULL);
    m->level = 0;
    m->depth = 0;
    return match(m, s, pat);
}

void pattern_push(struct pattern *m, int i, const char *s, const char *e)
{
    if (i >= m->level) {
        if (i != 0) {
            luaL_error(m->L, "invalid capture index %%%d", i + 1);
        }
        lua_pushlstring(m->L, s, (size_t)(e - s));
        return;
    }
    ptrdiff_t len = m->capture[i].len;
    if (len == OPEN) {
        luaL_error(m->L, "unfinished capture");
    }
    if (len == POSITION) {
        lua_pushinteger(m->L, m->capture[i].start - m->src + 1);
    } else {
        lua_pushlstring(m->L, m->capture[i].start, (size_t)len);
    }
}

int pattern_push_all(struct pattern *m, const char *s, const char *e)
{
    int n = m->level == 0 && s != NULL ? 1 : m->level;
    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++) {
        pattern_push(m, i, s, e);
    }
    return n;
}
