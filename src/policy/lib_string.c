/* The `string` library of the sandbox.
 *
 * Functions that take one pass over their argument are the stock ones (what they
 * allocate is charged by the allocator); find, match, gmatch, gsub run on the bounded
 * matcher, rep is bounded, format takes at most two digits of width and shows no
 * addresses. dump, pack and unpack are not there. */
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <string.h>

#include "base/limits.h"
#include "policy/pattern.h"
#include "policy/sandbox.h"

static int s_rep(lua_State *L)
{
    size_t len, sep_len;
    const char *s = luaL_checklstring(L, 1, &len);
    lua_Integer n = luaL_checkinteger(L, 2);
    const char *sep = luaL_optlstring(L, 3, "", &sep_len);
    if (n <= 0 || (len == 0 && sep_len == 0)) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((lua_Unsigned)n > SANDBOX_BLOCK_BYTES_MAX / 2 / (len + sep_len)) {
        return luaL_error(L, "resulting string too large");
    }
    size_t total = (size_t)n * len + (size_t)(n - 1) * sep_len;
    sandbox_charge(L, (uint64_t)n / 8 + total / 64);
    luaL_Buffer b;
    char *p = luaL_buffinitsize(L, &b, total);
    for (lua_Integer i = 0; i < n; i++) {
        memcpy(p, s, len);
        p += len;
        if (sep_len > 0 && i < n - 1) {
            memcpy(p, sep, sep_len);
            p += sep_len;
        }
    }
    luaL_pushresultsize(&b, total);
    return 1;
}

/* 1-based start as scripts give it -> 0-based offset; len + 1 or more: past the end. */
static size_t start_of(lua_Integer at, size_t len)
{
    if (at > 0) {
        return (size_t)at - 1;
    }
    if (at == 0 || at < -(lua_Integer)len) {
        return 0;
    }
    return len - (size_t)(-at);
}

static int find_plain(lua_State *L, const char *s, size_t len, size_t at, const char *p,
                      size_t plen)
{
    sandbox_charge(L, (len - at) / 64);
    const char *hit = plen == 0 ? s + at : memmem(s + at, len - at, p, plen);
    if (hit == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, hit - s + 1);
    lua_pushinteger(L, hit - s + (ptrdiff_t)plen);
    return 2;
}

static bool has_specials(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] == 0 || strchr("^$*+?.([%-", p[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static int find_or_match(lua_State *L, bool find)
{
    size_t len, plen;
    const char *s = luaL_checklstring(L, 1, &len), *p = luaL_checklstring(L, 2, &plen);
    size_t at = start_of(luaL_optinteger(L, 3, 1), len);
    if (at > len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || !has_specials(p, plen))) {
        return find_plain(L, s, len, at, p, plen);
    }
    struct pattern m;
    pattern_init(&m, L, s, len, p + plen);
    bool anchor = plen > 0 && *p == '^';
    p += anchor;
    for (const char *from = s + at; from <= s + len; from++) {
        const char *end = pattern_match(&m, from, p);
        if (end != NULL) {
            if (!find) {
                return pattern_push_all(&m, from, end);
            }
            lua_pushinteger(L, from - s + 1);
            lua_pushinteger(L, end - s);
            return 2 + pattern_push_all(&m, NULL, NULL);
        }
        if (anchor) {
            break;
        }
    }
    lua_pushnil(L);
    return 1;
}

static int s_find(lua_State *L) { return find_or_match(L, true); }
static int s_match(lua_State *L) { return find_or_match(L, false); }

/* Upvalues: string, pattern, offset to go on from, end of the last match (-1: none). */
static int gmatch_step(lua_State *L)
{
    size_t len, plen;
    const char *s = lua_tolstring(L, lua_upvalueindex(1), &len);
    const char *p = lua_tolstring(L, lua_upvalueindex(2), &plen);
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    struct pattern m;
    pattern_init(&m, L, s, len, p + plen);
    for (; at <= (lua_Integer)len; at++) {
        const char *end = pattern_match(&m, s + at, p);
        if (end != NULL && end - s != last) {
            lua_pushinteger(L, end - s);
            lua_copy(L, -1, lua_upvalueindex(3));
            lua_replace(L, lua_upvalueindex(4));
            return pattern_push_all(&m, s + at, end);
        }
    }
    return 0;
}

static int s_gmatch(lua_State *L)
{
    size_t len;
    (void)luaL_checklstring(L, 1, &len);
    (void)luaL_checkstring(L, 2);
    size_t at = start_of(luaL_optinteger(L, 3, 1), len);
    lua_settop(L, 2);
    lua_pushinteger(L, at > len ? (lua_Integer)len + 1 : (lua_Integer)at);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_step, 4);
    return 1;
}

/* Adds a replacement string with its %0..%9 references. */
static void add_template(struct pattern *m, luaL_Buffer *b, const char *s, const char *e)
{
    size_t len;
    const char *t = lua_tolstring(m->L, 3, &len);
    for (size_t i = 0; i < len; i++) {
        if (t[i] != '%') {
            luaL_addchar(b, t[i]);
            continue;
        }
        i++;
        if (i < len && t[i] == '%') {
            luaL_addchar(b, '%');
        } else if (i < len && t[i] == '0') {
            luaL_addlstring(b, s, (size_t)(e - s));
        } else if (i < len && t[i] >= '1' && t[i] <= '9') {
            pattern_push(m, t[i] - '1', s, e);
            (void)luaL_tolstring(m->L, -1, NULL);
            lua_remove(m->L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(m->L, "invalid use of '%%' in replacement string");
        }
    }
}

/* Adds what replaces the match [s, e); true when it differs. */
static void add_replacement(struct pattern *m, luaL_Buffer *b, const char *s, const char *e)
{
    lua_State *L = m->L;
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION: {
        lua_pushvalue(L, 3);
        int n = pattern_push_all(m, s, e);
        lua_call(L, n, 1);
        break;
    }
    case LUA_TTABLE:
        pattern_push(m, 0, s, e);
        lua_gettable(L, 3);
        break;
    default: add_template(m, b, s, e); return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, s, (size_t)(e - s));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    } else {
        luaL_addvalue(b);
    }
}

static int s_gsub(lua_State *L)
{
    size_t len, plen;
    const char *src = luaL_checklstring(L, 1, &len), *p = luaL_checklstring(L, 2, &plen);
    int type = lua_type(L, 3);
    luaL_argexpected(L,
                     type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                         type == LUA_TTABLE,
                     3, "string/function/table");
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)len + 1), n = 0;
    bool anchor = plen > 0 && *p == '^';
    struct pattern m;
    pattern_init(&m, L, src, len, p + plen);
    p += anchor;
    const char *s = src, *last = NULL;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    while (n < max) {
        const char *end = pattern_match(&m, s, p);
        if (end != NULL && end != last) {
            n++;
            add_replacement(&m, &b, s, end);
            s = last = end;
        } else if (s < src + len) {
            luaL_addchar(&b, *s++);
        } else {
            break;
        }
        if (anchor) {
            break;
        }
    }
    luaL_addlstring(&b, s, (size_t)(src + len - s));
    luaL_pushresult(&b);
    lua_pushinteger(L, n);
    return 2;
}

/* Checks one conversion; returns its letter and moves *p behind it. */
static char conversion(lua_State *L, const char **p)
{
    const char *s = *p;
    s += strspn(s, "-+ #0");
    size_t width = strspn(s, "0123456789");
    s += width;
    size_t precision = 0;
    if (*s == '.') {
        s++;
        precision = strspn(s, "0123456789");
        s += precision;
    }
    if (width > 2 || precision > 2 || *s == 0 || strchr("diuoxXcsqaAeEfFgG%", *s) == NULL) {
        luaL_error(L, "invalid conversion '%%%s' to 'format'", *p);
    }
    *p = s + 1;
    return *s;
}

/* Upvalue 1: the stock format, which then sees only sane conversions and texts. */
static int s_format(lua_State *L)
{
    size_t len;
    const char *p = luaL_checklstring(L, 1, &len), *end = p + len;
    int top = lua_gettop(L), arg = 1;
    while (p < end) {
        if (*p++ != '%') {
            continue;
        }
        char what = conversion(L, &p);
        if (what == '%') {
            continue;
        }
        if (++arg > top) {
            return luaL_argerror(L, arg, "no value");
        }
        if (what == 's' && lua_type(L, arg) != LUA_TSTRING) {
            sandbox_tostring(L, arg, NULL);
            lua_replace(L, arg);
            lua_settop(L, top);
        }
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, top, 1);
    return 1;
}

void sandbox_string_lib(lua_State *L)
{
    static const char *const stock[] = { "byte",    "char", "len",   "lower",
                                         "reverse", "sub",  "upper", NULL };
    static const luaL_Reg own[] = {
        { "rep", s_rep },       { "find", s_find }, { "match", s_match },
        { "gmatch", s_gmatch }, { "gsub", s_gsub }, { NULL, NULL },
    };
    lua_newtable(L);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0);
    for (const char *const *name = stock; *name != NULL; name++) {
        lua_getfield(L, -1, *name);
        lua_setfield(L, -3, *name);
    }
    lua_getfield(L, -1, "format");
    lua_pushcclosure(L, s_format, 1);
    lua_setfield(L, -3, "format");
    lua_pop(L, 1);
    luaL_setfuncs(L, own, 0);
}
